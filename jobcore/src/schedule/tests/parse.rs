//! What expressions mean, and what is said about those that mean nothing.

use super::super::{CronError, MAX_EXPRESSION};
use super::{Schedule, cron, fires};
use std::error::Error;

/// The dates of the next fires after the beginning of 2026 (a Thursday), or the times where the date stays.
fn next(expression: &str, count: usize) -> Vec<String> {
    fires(&cron(expression), "2025-12-31T23:59:59Z", count)
        .iter()
        .map(|fire| fire.scheduled_for.to_string().replace(":00Z", ""))
        .collect()
}

#[test]
fn fields_mean_what_cron_users_expect() {
    for (expression, expected) in [
        (
            "0 9 * * MON-FRI",
            ["2026-01-01T09:00", "2026-01-02T09:00", "2026-01-05T09:00"],
        ),
        (
            "*/20 * * * *",
            ["2026-01-01T00:00", "2026-01-01T00:20", "2026-01-01T00:40"],
        ),
        (
            "5/25 8 * * *",
            ["2026-01-01T08:05", "2026-01-01T08:30", "2026-01-01T08:55"],
        ),
        (
            "10-30/10 0 * * *",
            ["2026-01-01T00:10", "2026-01-01T00:20", "2026-01-01T00:30"],
        ),
        (
            "1,2,1 0 * * ?",
            ["2026-01-01T00:01", "2026-01-01T00:02", "2026-01-02T00:01"],
        ),
        (
            "0 22-2/2 * * *",
            ["2026-01-01T00:00", "2026-01-01T02:00", "2026-01-01T22:00"],
        ),
        (
            "0 0 28-2/2 * *",
            ["2026-01-01T00:00", "2026-01-28T00:00", "2026-01-30T00:00"],
        ),
        (
            "0 0 * * fri-Mon",
            ["2026-01-02T00:00", "2026-01-03T00:00", "2026-01-04T00:00"],
        ),
        (
            "0 0 * * 7",
            ["2026-01-04T00:00", "2026-01-11T00:00", "2026-01-18T00:00"],
        ),
        (
            "0 0 * * 0",
            ["2026-01-04T00:00", "2026-01-11T00:00", "2026-01-18T00:00"],
        ),
        (
            "0 0 * * 6-7",
            ["2026-01-03T00:00", "2026-01-04T00:00", "2026-01-10T00:00"],
        ),
        (
            "0 0 * * 7/3",
            ["2026-01-03T00:00", "2026-01-04T00:00", "2026-01-07T00:00"],
        ),
        (
            "0 0 L * *",
            ["2026-01-31T00:00", "2026-02-28T00:00", "2026-03-31T00:00"],
        ),
        (
            "0 0 L-3 * *",
            ["2026-01-28T00:00", "2026-02-25T00:00", "2026-03-28T00:00"],
        ),
        (
            "0 0 L-29 * *",
            ["2026-01-02T00:00", "2026-03-02T00:00", "2026-04-01T00:00"],
        ),
        (
            "0 0 LW * *",
            ["2026-01-30T00:00", "2026-02-27T00:00", "2026-03-31T00:00"],
        ),
        (
            "0 0 15W * *",
            ["2026-01-15T00:00", "2026-02-16T00:00", "2026-03-16T00:00"],
        ),
        (
            "0 0 1w * *",
            ["2026-01-01T00:00", "2026-02-02T00:00", "2026-03-02T00:00"],
        ),
        (
            "0 0 31W * *",
            ["2026-01-30T00:00", "2026-03-31T00:00", "2026-05-29T00:00"],
        ),
        (
            "0 0 1,L * *",
            ["2026-01-01T00:00", "2026-01-31T00:00", "2026-02-01T00:00"],
        ),
        (
            "0 0 * * 5L",
            ["2026-01-30T00:00", "2026-02-27T00:00", "2026-03-27T00:00"],
        ),
        (
            "0 0 * * fril",
            ["2026-01-30T00:00", "2026-02-27T00:00", "2026-03-27T00:00"],
        ),
        (
            "0 0 * * FRI#L",
            ["2026-01-30T00:00", "2026-02-27T00:00", "2026-03-27T00:00"],
        ),
        (
            "0 0 * * MON#2",
            ["2026-01-12T00:00", "2026-02-09T00:00", "2026-03-09T00:00"],
        ),
        (
            "0 0 * * 4#5",
            ["2026-01-29T00:00", "2026-04-30T00:00", "2026-07-30T00:00"],
        ),
        (
            "0 0 * * MON#1,WED#1",
            ["2026-01-05T00:00", "2026-01-07T00:00", "2026-02-02T00:00"],
        ),
        (
            "0 0 * * 7#2",
            ["2026-01-11T00:00", "2026-02-08T00:00", "2026-03-08T00:00"],
        ),
        (
            "0 0 * * 7L",
            ["2026-01-25T00:00", "2026-02-22T00:00", "2026-03-29T00:00"],
        ),
        (
            "0 0 1 2 SUN#5",
            ["2026-02-01T00:00", "2027-02-01T00:00", "2028-02-01T00:00"],
        ),
        (
            "0 0 13 * FRI",
            ["2026-01-02T00:00", "2026-01-09T00:00", "2026-01-13T00:00"],
        ),
        (
            "0 0 */2 * FRI",
            ["2026-01-09T00:00", "2026-01-23T00:00", "2026-02-13T00:00"],
        ),
        (
            "0 0 29 2 *",
            ["2028-02-29T00:00", "2032-02-29T00:00", "2036-02-29T00:00"],
        ),
        (
            "0 0 * FEB MON#5",
            ["2044-02-29T00:00", "2072-02-29T00:00", "2112-02-29T00:00"],
        ),
        (
            "0 0 1 nov-FEB/2 *",
            ["2026-01-01T00:00", "2026-11-01T00:00", "2027-01-01T00:00"],
        ),
        (
            "0 0 12 1 1 ? 2026-2099/3",
            ["2026-01-01T12:00", "2029-01-01T12:00", "2032-01-01T12:00"],
        ),
        (
            "0 0 0 1 1 ? 2030,2028,2099",
            ["2028-01-01T00:00", "2030-01-01T00:00", "2099-01-01T00:00"],
        ),
        (
            "\t@Daily ",
            ["2026-01-01T00:00", "2026-01-02T00:00", "2026-01-03T00:00"],
        ),
        (
            "@hourly",
            ["2026-01-01T00:00", "2026-01-01T01:00", "2026-01-01T02:00"],
        ),
        (
            "@weekly",
            ["2026-01-04T00:00", "2026-01-11T00:00", "2026-01-18T00:00"],
        ),
        (
            "@monthly",
            ["2026-01-01T00:00", "2026-02-01T00:00", "2026-03-01T00:00"],
        ),
        (
            "@yearly",
            ["2026-01-01T00:00", "2027-01-01T00:00", "2028-01-01T00:00"],
        ),
    ] {
        assert_eq!(next(expression, 3), expected, "{expression}");
    }
    assert_eq!(
        next("15,45 59 23 31 12 *", 2),
        ["2026-12-31T23:59:15Z", "2026-12-31T23:59:45Z"]
    );
}

#[test]
fn errors_name_the_place_and_what_would_be_right() {
    for (expression, column, length, message) in [
        ("75 * * * *", 1, 2, "minute 75 is not in 0-59"),
        (
            "0 9 * * FRO",
            9,
            3,
            "`FRO` is no day of the week; write 0-7 (0 and 7 are Sunday) or SUN-SAT",
        ),
        ("0 9 * * FRIDAY", 9, 6, "`FRIDAY` is too long a name; write `FRI`"),
        ("0 9 1 13 *", 7, 2, "month 13 is not in 1-12"),
        ("0 24 * * *", 3, 2, "hour 24 is not in 0-23"),
        ("0 9 0 * *", 5, 1, "day of the month 0 is not in 1-31"),
        ("0 9 * * 8", 9, 1, "day of the week 8 is not in 0-7"),
        ("0 9 * * MON#6", 13, 1, "week of the month 6 is not in 1-5"),
        ("*/0 * * * *", 3, 1, "step 0 is not in 1 or more"),
        ("*/90 * * * *", 3, 2, "for every 90 minutes use `every`"),
        ("1, * * * *", 3, 1, "a minute is missing here: 0-59"),
        ("1,x * * * *", 3, 1, "`x` is no minute; write 0-59"),
        ("5- * * * *", 3, 1, "a minute is missing here"),
        (
            "5:30 * * * *",
            2,
            3,
            "`:30` can't stand here; a comma, or the next field",
        ),
        ("0 9 1-5W * *", 8, 1, "`W` follows a single day of the month"),
        ("0 9 * * L", 9, 1, "`5L` or `FRIL` is the last Friday"),
        (
            "0 L * * *",
            3,
            1,
            "`L` means the last day of the month and no hour",
        ),
        (
            "? * * * *",
            1,
            1,
            "`?` stands alone in the day or the weekday field",
        ),
        ("0 0 0 1 1 * 2030-2028", 17, 1, "runs backwards; write 2028-2030"),
        ("0 0 0 1 1 * 1969", 13, 4, "year 1969 is not in 1970-2099"),
        ("0 9 * *", 8, 1, "4 of 5 fields"),
        ("", 1, 1, "0 of 5 fields"),
        ("0 0 0 1 1 * 2030 x y", 18, 3, "more than the 7 fields"),
        ("@fortnightly", 1, 12, "write @yearly"),
        ("@daily 5", 8, 1, "nothing may follow `@daily`"),
        ("0 9 – * *", 5, 1, "`–` has no meaning here"),
        (
            "0 0 30 2 *",
            5,
            6,
            "this never fires: no date has day `30`, month `2`",
        ),
        ("0 0 0 29 2 ? 2027", 7, 6, "this never fires"),
        ("0 0 31 2,4,6 ?", 5, 10, "this never fires"),
        ("99999999999 * * * *", 1, 11, "minute 99999999999 is not in 0-59"),
    ] {
        let error = Schedule::cron(expression).unwrap_err();
        let place = source(&error).unwrap().downcast_ref::<CronError>().unwrap();
        assert_eq!(
            (place.column(), place.length()),
            (column, length),
            "{expression}: {error}"
        );
        assert!(place.message().contains(message), "{expression}: {error}");
        assert_eq!(
            error.to_string(),
            format!("cron: column {column}: {}", place.message())
        );
    }
}

#[test]
fn long_expressions_are_refused() {
    let list = |values: usize| format!("{} * * * *", vec!["1"; values].join(","));
    assert_eq!(list(46).len(), MAX_EXPRESSION - 1);
    assert!(Schedule::cron(&list(46)).is_ok());
    let error = Schedule::cron(&list(47)).unwrap_err();
    assert!(
        error.message().contains("101 characters and may have 100"),
        "{error}"
    );
}

fn source(error: &crate::Error) -> Option<&(dyn Error + 'static)> {
    Error::source(error)
}
