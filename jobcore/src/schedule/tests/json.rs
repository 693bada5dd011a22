//! Schedules as people write them.

use serde_json::{from_value, json, to_value};

use super::Schedule;

#[test]
fn every_form_is_read_and_written_in_full() {
    let full = json!({
        "cron": {"expression": "30 2 * * *", "time_zone": "Europe/Berlin", "gap": "skip", "overlap": "twice"},
        "start_time": "2026-01-01T00:00:00Z",
        "end_time": "2026-12-31T23:59:59Z",
        "jitter": 30,
        "excluding": {
            "time_zone": "America/New_York",
            "dates": ["2026-12-24/2027-01-01", "2027-06-01"],
            "yearly": ["05-01"],
            "weekdays": ["SUN", "SAT"],
            "daily": ["22:00/06:00"]
        }
    });
    for (written, read_back) in [
        (full.clone(), full),
        (
            json!({"cron": "0 9 * * *"}),
            json!({"cron": {"expression": "0 9 * * *", "time_zone": "UTC", "gap": "after", "overlap": "once"}}),
        ),
        (
            json!({"cron": {"expression": " @daily "}}),
            json!({"cron": {"expression": "@daily", "time_zone": "UTC", "gap": "after", "overlap": "once"}}),
        ),
        (json!({"every": "1h 30m"}), json!({"every": 5400})),
        (json!({"every": 90, "jitter": "0s"}), json!({"every": 90})),
        (json!({"every_after": "250ms"}), json!({"every_after": 0.25})),
        (
            json!({"once": "2026-03-28T10:00:00+01:00"}),
            json!({"once": "2026-03-28T09:00:00Z"}),
        ),
    ] {
        let schedule: Schedule = from_value(written.clone()).unwrap();
        assert_eq!(to_value(&schedule).unwrap(), read_back, "{written}");
        assert_eq!(from_value::<Schedule>(read_back).unwrap(), schedule);
    }
}

#[test]
fn mistakes_are_named() {
    for (written, message) in [
        (
            json!({"cron": "75 * * * *"}),
            "cron: column 1: minute 75 is not in 0-59",
        ),
        (
            json!({"cron": {"expression": "@daily", "zone": "UTC"}}),
            "unknown field `zone`",
        ),
        (
            json!({"cron": {"expression": "@daily", "time_zone": "Berlin"}}),
            "did you mean `Europe/Berlin`",
        ),
        (
            json!({"cron": {"expression": "@daily", "gap": "before"}}),
            "expected `after` or `skip`",
        ),
        (json!({"cron": 5}), "expected a cron expression, or an object"),
        (json!({"crom": "@daily"}), "unknown field `crom`"),
        (
            json!({}),
            "exactly one of `cron`, `every`, `every_after` and `once`",
        ),
        (json!({"cron": "@daily", "every": "5m"}), "exactly one of"),
        (json!({"every": "often"}), "`often` is no duration"),
        (json!({"every": -5}), "or a number of seconds"),
        (json!({"every": "0s"}), "shorter than 1ms"),
        (json!({"once": "tomorrow"}), "`tomorrow` is no RFC 3339 instant"),
        (
            json!({"cron": "@daily", "excluding": {"weekdays": ["Sunday"]}}),
            "`Sunday` is no weekday",
        ),
        (
            json!({"every": "5m", "start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}),
            "is before start_time",
        ),
    ] {
        let error = from_value::<Schedule>(written.clone()).unwrap_err().to_string();
        assert!(error.contains(message), "{written}: {error}");
    }
}

#[test]
fn a_schedule_in_a_log_line_says_what_it_is() {
    for (written, line) in [
        (
            json!({"cron": {"expression": "@daily", "time_zone": "Asia/Tokyo"}}),
            "cron `@daily` in Asia/Tokyo",
        ),
        (json!({"every": "5m"}), "every 5m"),
        (json!({"every_after": "5m"}), "5m after the last"),
        (
            json!({"once": "2026-03-28T09:00:00Z"}),
            "once at 2026-03-28T09:00:00Z",
        ),
    ] {
        assert_eq!(from_value::<Schedule>(written).unwrap().to_string(), line);
    }
}

/// New zone data may take a schedule its only fire; its job must still be found to be mended.
#[test]
fn a_schedule_that_no_longer_fires_can_be_read_but_not_saved() {
    let written =
        json!({"cron": {"expression": "0 30 2 29 3 ? 2026", "time_zone": "Europe/Berlin", "gap": "skip"}});
    let schedule: Schedule = from_value(written).unwrap();
    assert!(schedule.validate().is_err());
}
