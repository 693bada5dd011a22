//! What the program prints.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::process::{Command, Output};

use serde_json::{Value, json};

fn cron_preview(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cron-preview"))
        .args(args)
        .output()
        .unwrap()
}

fn stdout(args: &[&str]) -> String {
    let output = cron_preview(args);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{args:?}: {text}"
    );
    text
}

fn json_of(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(&[&["--json"], args].concat())).unwrap()
}

fn error(args: &[&str]) -> String {
    let output = cron_preview(args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    assert!(output.stdout.is_empty(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

const SPRING: [&str; 4] = ["--zone", "Europe/Berlin", "--from", "2026-03-28T00:00:00Z"];
const AUTUMN: [&str; 4] = ["--zone", "Europe/Berlin", "--from", "2026-10-24T12:00:00Z"];

#[test]
fn the_beginning_of_summer_time_moves_a_fire_and_says_why() {
    let text = stdout(&[&SPRING[..], &["--count", "5", "30 2 * * *"]].concat());
    let lines: Vec<_> = text.lines().collect();
    assert!(
        lines[0].starts_with("cron `30 2 * * *` in Europe/Berlin · gap: after · overlap: once · zone data 2")
    );
    assert_eq!(
        lines[2..],
        [
            "Sat 2026-03-28 02:30:00  +01:00",
            "Sun 2026-03-29 03:00:00  +02:00   02:30 does not exist: clocks jump from 02:00 to 03:00; \
             moved to the end of the gap",
            "Mon 2026-03-30 02:30:00  +02:00",
            "Tue 2026-03-31 02:30:00  +02:00",
            "Wed 2026-04-01 02:30:00  +02:00",
        ]
    );
}

#[test]
fn a_skipped_time_has_a_line_and_does_not_count() {
    let args = [&SPRING[..], &["--count", "2", "--gap", "skip", "30 2 * * *"]].concat();
    let text = stdout(&args);
    assert_eq!(
        text.lines().skip(2).collect::<Vec<_>>(),
        [
            "Sat 2026-03-28 02:30:00  +01:00",
            "Sun 2026-03-29 02:30:00  skipped  does not exist: clocks jump from 02:00 to 03:00",
            "Mon 2026-03-30 02:30:00  +02:00",
        ]
    );
    assert_eq!(
        json_of(&args),
        json!([
            {"at": "2026-03-28T02:30:00+01:00"},
            {"skipped": "2026-03-29T02:30:00", "reason": "does not exist: clocks jump from 02:00 to 03:00"},
            {"at": "2026-03-30T02:30:00+02:00"},
        ])
    );
}

#[test]
fn the_end_of_summer_time_fires_once_or_twice() {
    let instants = |args: &[&str]| -> Vec<String> {
        let entries = json_of(&[&AUTUMN[..], args].concat());
        let at = |entry: &Value| entry["at"].as_str().unwrap().to_owned();
        entries.as_array().unwrap().iter().map(at).collect()
    };
    assert_eq!(
        instants(&["--count", "2", "30 2 * * *"]),
        ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    );
    assert_eq!(
        instants(&["--count", "2", "--overlap", "twice", "30 2 * * *"]),
        ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00"]
    );
}

#[test]
fn a_rule_that_follows_elapsed_time_says_so() {
    let text = stdout(&[&AUTUMN[..], &["--count", "1", "*/30 * * * *"]].concat());
    assert!(
        text.contains("minute or hour begins with *: follows elapsed time"),
        "{text}"
    );
}

#[test]
fn an_end_of_all_fire_times_is_told() {
    let from = ["--from", "2026-01-01T00:00:00Z"];
    let text = stdout(&[&from[..], &["0 0 12 1 1 ? 2027"]].concat());
    assert!(
        text.ends_with("\n\nFri 2027-01-01 12:00:00  +00:00\nno further fire times\n"),
        "{text}"
    );
    let past = [&from[..], &["0 0 12 1 1 ? 2025"]].concat();
    assert!(stdout(&past).ends_with("no fire time after 2026-01-01T00:00:00Z\n"));
    assert_eq!(json_of(&past), json!([]));
}

#[test]
fn without_options_the_next_ten_from_now_are_shown() {
    assert_eq!(stdout(&["@hourly"]).lines().count(), 12);
    assert_eq!(json_of(&["@hourly"]).as_array().unwrap().len(), 10);
}

#[test]
fn errors_show_the_place() {
    assert_eq!(
        error(&["0 75 * * *"]),
        "error: hour 75 is not in 0-23\n\n  0 75 * * *\n    ^^\n"
    );
    assert_eq!(
        error(&["0 0 30 2 *"]),
        "error: this never fires: no date has day `30`, month `2` and weekday `*`\n\n  0 0 30 2 *\n      ^^^^^^\n"
    );
    assert!(error(&["0 9 * *"]).ends_with("\n\n  0 9 * *\n         ^\n"));
    assert!(error(&["--zone", "Berlin", "@daily"]).contains("did you mean `Europe/Berlin`?"));
    assert!(error(&["0", "9", "*", "*", "*"]).contains("put it in quotes"));
    assert!(error(&["--from", "yesterday", "@daily"]).contains("such as 2026-03-28T00:00:00Z"));
    let in_the_gap = ["--zone", "Europe/Berlin", "--gap", "skip", "0 30 2 29 3 ? 2026"];
    assert!(error(&in_the_gap).contains("never fires"));
    assert!(error(&["--count", "0", "@daily"]).contains("--count"));
}

#[test]
fn help_teaches_the_expressions_and_summer_time() {
    let text = stdout(&["--help"]);
    for taught in [
        "MON#2",
        "L-3",
        "15W",
        "Summer time:",
        "--gap",
        "--overlap",
        "Examples:",
    ] {
        assert!(text.contains(taught), "{taught} is missing from\n{text}");
    }
}
