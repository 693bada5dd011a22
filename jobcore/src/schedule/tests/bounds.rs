//! Intervals, single instants, bounds and jitter.

use std::time::Duration;

use proptest::prelude::*;

use super::super::jitter_seed;
use super::{Schedule, at, cron, fires};
use crate::Timestamp;

const MINUTE: Duration = Duration::from_secs(60);

fn next(schedule: &Schedule, after: &str, anchor: &str) -> Option<String> {
    schedule
        .next_after(at(after), at(anchor))
        .map(|fire| fire.scheduled_for.to_string())
}

#[test]
fn a_fixed_rate_keeps_its_grid() {
    let anchor = "2026-01-01T00:00:10Z";
    let schedule = Schedule::every(MINUTE);
    for (after, expected) in [
        ("2026-01-01T00:00:10Z", "2026-01-01T00:01:10Z"),
        ("2025-01-01T00:00:00Z", "2026-01-01T00:01:10Z"),
        ("2026-01-01T00:01:10Z", "2026-01-01T00:02:10Z"),
        ("2026-01-01T05:00:09.5Z", "2026-01-01T05:00:10Z"),
    ] {
        assert_eq!(next(&schedule, after, anchor).unwrap(), expected, "{after}");
    }
    let starting = schedule.starting(at("2026-01-01T00:00:00Z"));
    assert_eq!(
        next(&starting, "2025-01-01T00:00:00Z", anchor).unwrap(),
        "2026-01-01T00:00:00Z"
    );
    assert_eq!(
        next(&starting, "2026-01-01T00:00:00Z", anchor).unwrap(),
        "2026-01-01T00:01:00Z"
    );
}

#[test]
fn a_fixed_delay_counts_from_the_end_of_the_task() {
    let created = "2026-01-01T00:00:00Z";
    let schedule = Schedule::every_after(MINUTE);
    assert!(schedule.counts_from_end() && !Schedule::every(MINUTE).counts_from_end());
    assert_eq!(next(&schedule, created, created).unwrap(), "2026-01-01T00:01:00Z");
    assert_eq!(
        next(&schedule, "2026-01-01T00:01:17.3Z", created).unwrap(),
        "2026-01-01T00:02:17.300Z"
    );
    let starting = schedule.starting(at("2026-02-01T00:00:00Z"));
    assert_eq!(next(&starting, created, created).unwrap(), "2026-02-01T00:00:00Z");
    assert_eq!(
        next(&starting, "2026-02-01T00:00:05Z", created).unwrap(),
        "2026-02-01T00:01:05Z"
    );
}

#[test]
fn once_is_once() {
    let schedule = Schedule::once(at("2026-01-01T09:00:00Z"));
    let anchor = "2026-01-01T00:00:00Z";
    assert_eq!(next(&schedule, anchor, anchor).unwrap(), "2026-01-01T09:00:00Z");
    assert_eq!(next(&schedule, "2026-01-01T09:00:00Z", anchor), None);
}

#[test]
fn both_bounds_are_included() {
    let schedule = cron("0 * * * *")
        .starting(at("2026-01-01T02:00:00Z"))
        .ending(at("2026-01-01T04:00:00Z"));
    let fires: Vec<_> = fires(&schedule, "2025-01-01T00:00:00Z", 9)
        .iter()
        .map(|fire| fire.scheduled_for.to_string())
        .collect();
    assert_eq!(
        fires,
        [
            "2026-01-01T02:00:00Z",
            "2026-01-01T03:00:00Z",
            "2026-01-01T04:00:00Z"
        ]
    );
}

#[test]
fn what_can_never_fire_is_refused() {
    let (early, late) = (at("2026-01-01T00:00:00Z"), at("2026-02-01T00:00:00Z"));
    for (schedule, message) in [
        (
            Schedule::every(Duration::ZERO),
            "every: interval 0s is shorter than 1ms",
        ),
        (
            Schedule::every_after(Duration::from_micros(999)),
            "every: interval 999us is shorter",
        ),
        (
            Schedule::every(MINUTE).starting(late).ending(early),
            "end_time: 2026-01-01T00:00:00Z is before",
        ),
        (Schedule::once(late).ending(early), "never fires between"),
        (Schedule::once(early).starting(late), "never fires between"),
        (
            cron("0 0 29 2 *").starting(early).ending(late),
            "never fires between",
        ),
    ] {
        let error = schedule.validate().unwrap_err();
        assert!(error.message().contains(message), "{error}");
    }
    let in_a_gap = cron("0 30 2 29 3 ? 2026").in_zone("Europe/Berlin").unwrap();
    assert!(in_a_gap.validate().is_ok());
    let skipped = in_a_gap.on_gap(super::super::GapPolicy::Skip);
    assert!(skipped.validate().unwrap_err().message().contains("gap"));
    for schedule in [
        Schedule::every(MINUTE),
        Schedule::once(early),
        cron("@yearly").ending(early),
    ] {
        schedule.validate().unwrap();
    }
}

#[test]
fn the_ends_of_time_are_quiet() {
    for schedule in [
        cron("* * * * * *"),
        Schedule::every(MINUTE),
        Schedule::every_after(MINUTE),
    ] {
        assert!(schedule.next_after(Timestamp::MIN, Timestamp::MIN).is_some());
        assert_eq!(
            schedule.next_after(Timestamp::MAX, Timestamp::MIN),
            None,
            "{schedule}"
        );
    }
    for zone in ["Pacific/Kiritimati", "Pacific/Honolulu"] {
        for expression in ["0 0 1 1 *", "@hourly"] {
            let schedule = cron(expression).in_zone(zone).unwrap();
            assert!(schedule.next_after(Timestamp::MIN, Timestamp::MIN).is_some());
            let last = schedule.next_after(Timestamp::MAX, Timestamp::MIN);
            assert_eq!(last, None, "{expression} in {zone}");
        }
    }
}

#[test]
fn unknown_zones_are_refused_with_a_hint() {
    for (name, hint) in [
        ("europe/berlin", "did you mean `Europe/Berlin`?"),
        ("Berlin", "did you mean `Europe/Berlin`?"),
        ("Mars/Olympus", "such as `Europe/Berlin` or `UTC`"),
    ] {
        let error = cron("@daily").in_zone(name).unwrap_err();
        assert!(error.message().contains(hint), "{error}");
    }
    assert!(Schedule::every(MINUTE).in_zone("UTC").is_err());
    assert!(super::super::zone_data_version().starts_with("20"));
}

#[test]
fn jitter_is_the_same_everywhere_and_differs_between_jobs() {
    let schedule = cron("@hourly").jitter(MINUTE);
    let nominal = at("2026-01-01T00:00:00Z");
    let due = |job: &str| schedule.due_time(nominal, jitter_seed(job));
    // Stored due times must not move with a new version.
    assert_eq!(jitter_seed("nightly-report"), 0x3d4e_9826_79a7_b7ab);
    assert_eq!(due("nightly-report"), due("nightly-report"));
    assert_ne!(due("nightly-report"), due("nightly-cleanup"));
    let spread: std::collections::BTreeSet<_> = (0..100).map(|job| due(&format!("job-{job}"))).collect();
    assert!(spread.len() > 90);
    assert!(spread.last().unwrap().since(*spread.first().unwrap()) > MINUTE / 2);
    assert_eq!(cron("@hourly").due_time(nominal, 7), nominal);
}

proptest! {
    #[test]
    fn jitter_stays_within_its_bound_and_keeps_the_order(
        seed: u64, interval in 1u64..5_000, jitter in 0u64..20_000, start in 0i64..4_000_000_000,
    ) {
        let schedule = Schedule::every(Duration::from_millis(interval))
            .starting(Timestamp::from_secs(start))
            .jitter(Duration::from_millis(jitter));
        let mut last_due = Timestamp::MIN;
        for fire in schedule.fires_after(Timestamp::EPOCH, Timestamp::EPOCH).take(20) {
            let due = schedule.due_time(fire.scheduled_for, seed);
            prop_assert!(due >= fire.scheduled_for);
            prop_assert!(due.since(fire.scheduled_for) <= Duration::from_millis(jitter));
            prop_assert!(due > last_due);
            last_due = due;
        }
    }
}
