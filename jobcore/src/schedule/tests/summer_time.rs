//! Named cases of clocks that jump.

use super::super::{GapPolicy, Reason, RepeatPolicy};
use super::{cron_in, fires, preview};

#[test]
fn a_time_in_a_gap_moves_to_its_end_or_is_skipped() {
    let nightly = cron_in("Europe/Berlin", "30 2 * * *");
    assert_eq!(
        preview(&nightly, "2026-03-28T00:00:00Z", 3),
        [
            "2026-03-28T02:30:00+01:00",
            "2026-03-29T03:00:00+02:00",
            "2026-03-30T02:30:00+02:00"
        ]
    );
    let moved = fires(&nightly, "2026-03-28T12:00:00Z", 1)[0];
    assert_eq!(
        moved.reason.unwrap().to_string(),
        "02:30 does not exist: clocks jump from 02:00 to 03:00; moved to the end of the gap"
    );
    assert_eq!(
        preview(&nightly.on_gap(GapPolicy::Skip), "2026-03-28T00:00:00Z", 2),
        [
            "2026-03-28T02:30:00+01:00",
            "skipped 2026-03-29T02:30:00",
            "2026-03-30T02:30:00+02:00"
        ]
    );
}

#[test]
fn several_times_in_a_gap_fire_once_at_its_end() {
    let after = cron_in("Europe/Berlin", "0,20,40 2,3 * * *");
    assert_eq!(
        preview(&after, "2026-03-28T23:00:00Z", 3),
        [
            "2026-03-29T03:00:00+02:00",
            "2026-03-29T03:20:00+02:00",
            "2026-03-29T03:40:00+02:00"
        ]
    );
    assert_eq!(
        preview(&after.on_gap(GapPolicy::Skip), "2026-03-28T23:00:00Z", 1),
        [
            "skipped 2026-03-29T02:00:00",
            "skipped 2026-03-29T02:20:00",
            "skipped 2026-03-29T02:40:00",
            "2026-03-29T03:00:00+02:00"
        ]
    );
}

#[test]
fn a_repeated_time_fires_in_the_first_pass_or_in_both() {
    let nightly = cron_in("Europe/Berlin", "30 2 * * *");
    let once = ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"];
    assert_eq!(preview(&nightly, "2026-10-24T12:00:00Z", 2), once);
    assert_eq!(
        preview(&nightly, "2026-10-25T01:10:00Z", 1),
        once[1..],
        "asked in the second pass"
    );
    let twice = nightly.on_overlap(RepeatPolicy::Twice);
    assert_eq!(
        preview(&twice, "2026-10-24T12:00:00Z", 3),
        [once[0], "2026-10-25T02:30:00+01:00", once[1]]
    );
    assert!(matches!(
        fires(&twice, "2026-10-25T00:30:00Z", 1)[0].reason,
        Some(Reason::SecondPass { .. })
    ));
}

#[test]
fn a_rule_that_begins_with_a_star_follows_elapsed_time() {
    // Neither policy matters; nothing is made up or said to be missing where every hour matches.
    let half_hourly = cron_in("Europe/Berlin", "*/30 * * * *").on_gap(GapPolicy::After);
    assert_eq!(
        preview(&half_hourly, "2026-03-29T00:00:00Z", 3),
        [
            "2026-03-29T01:30:00+01:00",
            "2026-03-29T03:00:00+02:00",
            "2026-03-29T03:30:00+02:00"
        ]
    );
    assert_eq!(
        preview(
            &half_hourly.on_overlap(RepeatPolicy::Once),
            "2026-10-25T00:00:00Z",
            4
        ),
        [
            "2026-10-25T02:30:00+02:00",
            "2026-10-25T02:00:00+01:00",
            "2026-10-25T02:30:00+01:00",
            "2026-10-25T03:00:00+01:00"
        ]
    );
    // 02:00 is named and missing: that is told, but not made up for.
    assert_eq!(
        preview(
            &cron_in("Europe/Berlin", "0 */2 * * *"),
            "2026-03-28T23:30:00Z",
            1
        ),
        ["skipped 2026-03-29T02:00:00", "2026-03-29T04:00:00+02:00"]
    );
    assert_eq!(
        preview(&cron_in("Europe/Berlin", "30 * * * *"), "2026-03-29T00:00:00Z", 2),
        ["2026-03-29T01:30:00+01:00", "2026-03-29T03:30:00+02:00"]
    );
}

#[test]
fn zones_with_unusual_jumps() {
    for (zone, expression, after, expected) in [
        // The day that Samoa skipped.
        (
            "Pacific/Apia",
            "0 9 * * *",
            "2011-12-29T00:00:00Z",
            [
                "2011-12-29T09:00:00-10:00",
                "2011-12-31T00:00:00+14:00",
                "2011-12-31T09:00:00+14:00",
            ],
        ),
        // Half an hour, forwards and back.
        (
            "Australia/Lord_Howe",
            "15 2 * * *",
            "2026-10-03T00:00:00Z",
            [
                "2026-10-04T02:30:00+11:00",
                "2026-10-05T02:15:00+11:00",
                "2026-10-06T02:15:00+11:00",
            ],
        ),
        (
            "Australia/Lord_Howe",
            "45 1 * * *",
            "2026-04-04T00:00:00Z",
            [
                "2026-04-05T01:45:00+11:00",
                "2026-04-06T01:45:00+10:30",
                "2026-04-07T01:45:00+10:30",
            ],
        ),
        // No midnight.
        (
            "America/Sao_Paulo",
            "0 0 * * *",
            "2018-11-03T12:00:00Z",
            [
                "2018-11-04T01:00:00-02:00",
                "2018-11-05T00:00:00-02:00",
                "2018-11-06T00:00:00-02:00",
            ],
        ),
        (
            "Africa/Cairo",
            "@daily",
            "2024-04-25T12:00:00Z",
            [
                "2024-04-26T01:00:00+03:00",
                "2024-04-27T00:00:00+03:00",
                "2024-04-28T00:00:00+03:00",
            ],
        ),
        (
            "Asia/Beirut",
            "15 0 * * *",
            "2022-03-26T12:00:00Z",
            [
                "2022-03-27T01:00:00+03:00",
                "2022-03-28T00:15:00+03:00",
                "2022-03-29T00:15:00+03:00",
            ],
        ),
        // Midnight twice, of which the second belongs to the day before.
        (
            "America/Sao_Paulo",
            "30 23 * * *",
            "2018-02-17T12:00:00Z",
            [
                "2018-02-17T23:30:00-02:00",
                "2018-02-18T23:30:00-03:00",
                "2018-02-19T23:30:00-03:00",
            ],
        ),
        // From local mean time, an odd number of seconds off, to standard time (UTC is shown while offsets have seconds).
        (
            "Europe/Berlin",
            "5 0 * * *",
            "1893-03-30T12:00:00Z",
            [
                "1893-03-30T23:11:32Z",
                "1893-04-01T00:06:32+01:00",
                "1893-04-02T00:05:00+01:00",
            ],
        ),
    ] {
        assert_eq!(
            preview(&cron_in(zone, expression), after, 3),
            expected,
            "{zone} {expression}"
        );
    }
}

#[test]
fn a_skipped_day_is_told_time_by_time_up_to_a_bound() {
    let schedule = cron_in("Pacific/Apia", "0 9 * * *").on_gap(GapPolicy::Skip);
    assert_eq!(
        preview(&schedule, "2011-12-30T00:00:00Z", 1),
        ["skipped 2011-12-30T09:00:00", "2011-12-31T09:00:00+14:00"]
    );
    let moved = fires(&cron_in("Pacific/Apia", "0 9 * * *"), "2011-12-30T00:00:00Z", 1)[0];
    assert_eq!(
        moved.reason.unwrap().to_string(),
        "2011-12-30 09:00 does not exist: clocks jump from 2011-12-30 00:00 to 2011-12-31 00:00; \
         moved to the end of the gap"
    );
    let dense = cron_in("Pacific/Apia", "0-59 0-23 * * *").on_gap(GapPolicy::Skip);
    let after = super::at("2011-12-30T09:59:00Z");
    let entries = serde_json::to_value(dense.preview(after, after, 1)).unwrap();
    let entries = entries.as_array().unwrap();
    assert_eq!(entries.len(), 22);
    assert_eq!(entries[20]["skipped"], "2011-12-30T00:20:00");
    assert_eq!(entries[20]["through"], "2011-12-30T23:59:59");
    assert_eq!(entries[21]["at"], "2011-12-31T00:00:00+14:00");
}
