//! Calendars of exceptions.

use std::time::Duration;

use super::super::Calendar;
use super::{Schedule, at, cron_in, preview};
use crate::Timestamp;

fn calendar(build: impl Fn(Calendar) -> crate::Result<Calendar>) -> Calendar {
    build(Calendar::new()).unwrap()
}

#[test]
fn excluded_fires_are_passed_over_and_told() {
    let schedule = cron_in("Europe/Berlin", "0 9 * * *").excluding(calendar(|it| {
        it.dates("2026-12-24/2026-12-25")?
            .yearly("12-28")?
            .weekdays("sun")
    }));
    schedule.validate().unwrap();
    assert_eq!(
        preview(&schedule, "2026-12-23T12:00:00Z", 3),
        [
            "skipped 2026-12-24T09:00:00",
            "skipped 2026-12-25T09:00:00",
            "2026-12-26T09:00:00+01:00",
            "skipped 2026-12-27T09:00:00",
            "skipped 2026-12-28T09:00:00",
            "2026-12-29T09:00:00+01:00",
            "2026-12-30T09:00:00+01:00",
        ]
    );
    let after = at("2026-12-23T12:00:00Z");
    let entries = serde_json::to_value(schedule.preview(after, after, 3)).unwrap();
    let reasons: Vec<_> = entries
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|entry| entry["reason"].as_str())
        .collect();
    assert_eq!(
        reasons,
        [
            "excluded by 2026-12-24/2026-12-25",
            "excluded by 2026-12-24/2026-12-25",
            "excluded by SUN",
            "excluded by 12-28"
        ]
    );
}

#[test]
fn daily_windows_pass_midnight_and_follow_the_zone() {
    let schedule = cron_in("UTC", "0 * * * *").excluding(calendar(|it| {
        it.daily("18:00/24:00")?
            .daily("23:30/09:00")?
            .in_zone("Europe/Berlin")
    }));
    let next = |after| {
        schedule
            .next_after(at(after), at(after))
            .unwrap()
            .scheduled_for
            .to_string()
    };
    // 09:00 to 18:00 in Berlin, in winter and in summer.
    assert_eq!(next("2026-01-01T17:00:00Z"), "2026-01-02T08:00:00Z");
    assert_eq!(next("2026-01-02T15:00:00Z"), "2026-01-02T16:00:00Z");
    assert_eq!(next("2026-01-02T16:00:00Z"), "2026-01-03T08:00:00Z");
    assert_eq!(next("2026-07-01T17:00:00Z"), "2026-07-02T07:00:00Z");
}

#[test]
fn intervals_keep_their_grid_behind_an_exclusion() {
    let schedule = Schedule::every(Duration::from_secs(7 * 60))
        .starting(at("2026-01-01T00:00:00Z"))
        .excluding(calendar(|it| it.daily("01:00/02:00")));
    assert_eq!(
        preview(&schedule, "2026-01-01T00:55:00Z", 2)
            .iter()
            .filter(|line| !line.starts_with("skipped"))
            .collect::<Vec<_>>(),
        ["2026-01-01T00:56:00+00:00", "2026-01-01T02:06:00+00:00"]
    );
}

#[test]
fn what_is_wholly_excluded_is_refused() {
    let weekend = calendar(|it| it.weekdays("SAT")?.weekdays("SUN"));
    for schedule in [
        cron_in("Europe/Berlin", "0 9 * * SAT").excluding(weekend),
        cron_in("Europe/Berlin", "0 3 * * *").excluding(calendar(|it| it.daily("02:00/04:00"))),
        Schedule::once(at("2026-12-25T09:00:00Z")).excluding(calendar(|it| it.yearly("12-25"))),
        cron_in("UTC", "* * * * * *")
            .starting(at("2026-01-01T00:00:00Z"))
            .excluding(calendar(|it| it.dates("2026-01-01/9999-12-31"))),
    ] {
        let error = schedule.validate().unwrap_err();
        assert!(error.message().contains("every fire time is excluded"), "{error}");
    }
}

#[test]
fn entries_that_say_nothing_are_refused() {
    let refused = |result: crate::Result<Calendar>, message: &str| {
        let error = result.unwrap_err();
        assert!(error.message().contains(message), "{error}");
    };
    refused(Calendar::new().dates("24.12.2026"), "`24.12.2026` is no date");
    refused(
        Calendar::new().dates("2027-01-01/2026-12-24"),
        "ends before it begins",
    );
    refused(Calendar::new().yearly("02-30"), "`02-30` is no day of the year");
    refused(Calendar::new().weekdays("Sunday"), "`Sunday` is no weekday");
    refused(Calendar::new().daily("9-17"), "`9-17` is no part of a day");
    refused(Calendar::new().daily("9:00/17:00"), "`9:00` is no time of day");
    refused(Calendar::new().daily("09:00/09:00"), "the whole day");
    let halves = Calendar::new()
        .daily("20:00/08:00")
        .and_then(|it| it.daily("07:00/21:00"));
    refused(halves, "leave nothing of a day");
    let week = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
    let all = week
        .iter()
        .try_fold(Calendar::new(), |it, name| it.weekdays(name));
    refused(all, "all seven weekdays");
}

/// Second by second, an instant is excluded exactly when its civil time is; no stretch is passed over too far.
#[test]
fn stretches_end_where_the_clock_says_so() {
    let cases = [
        (
            "Europe/Berlin",
            "2026-10-25T00:00:00Z",
            calendar(|it| it.daily("02:10/02:40")),
        ),
        (
            "Europe/Berlin",
            "2026-10-25T00:00:00Z",
            calendar(|it| it.daily("02:30/03:30")),
        ),
        (
            "Europe/Berlin",
            "2026-03-29T00:00:00Z",
            calendar(|it| it.daily("01:30/02:30")),
        ),
        (
            "America/Sao_Paulo",
            "2018-02-18T00:00:00Z",
            calendar(|it| it.dates("2018-02-18")),
        ),
        (
            "America/Sao_Paulo",
            "2018-11-04T00:00:00Z",
            calendar(|it| it.dates("2018-11-04")),
        ),
        (
            "Pacific/Apia",
            "2011-12-30T10:00:00Z",
            calendar(|it| it.dates("2011-12-29/2011-12-30")),
        ),
        // Clocks went back at one minute past midnight.
        (
            "America/St_Johns",
            "2006-10-29T02:31:00Z",
            calendar(|it| it.dates("2006-10-29")),
        ),
        (
            "America/St_Johns",
            "2006-10-29T02:31:00Z",
            calendar(|it| it.dates("2006-10-29/2007-07-01")),
        ),
        (
            "America/St_Johns",
            "2006-10-29T02:31:00Z",
            calendar(|it| it.dates("2006-10-28")),
        ),
    ];
    for (zone, around, calendar) in cases {
        let around = at(around).as_micros() / 1_000_000;
        let zone = super::super::zone::Zone::named(zone).unwrap();
        let mut stretch_end = Timestamp::MIN;
        for second in around - 100_000..around + 100_000 {
            let instant = Timestamp::from_secs(second);
            let excluded = calendar.excluded(instant, zone);
            assert!(
                excluded.is_some() || instant > stretch_end,
                "{zone:?} {instant} lies in a stretch that ends at {stretch_end}"
            );
            if let Some(excluded) = excluded {
                assert!(excluded.last >= instant);
                stretch_end = excluded.last.max(stretch_end);
            }
        }
        assert!(stretch_end > Timestamp::MIN, "{zone:?}: nothing was excluded");
    }
}

#[test]
fn omissions_are_counted_from_fire_to_fire() {
    let schedule = cron_in("UTC", "0 9 * * *").excluding(calendar(|it| it.weekdays("SAT")?.weekdays("SUN")));
    let after = at("2026-01-01T00:00:00Z");
    let entries = serde_json::to_value(schedule.preview(after, after, 100)).unwrap();
    let entries = entries.as_array().unwrap();
    assert!(entries.iter().all(|entry| entry.get("through").is_none()));
    assert!(entries.len() > 130);
}
