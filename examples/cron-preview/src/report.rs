//! The preview as text for people.

use std::fmt::Write;

use jobcore::schedule::{CivilTime, CronError, PreviewEntry, Rule, Schedule, zone_data_version};
use jobcore::{Error, Timestamp};

/// A head that says what is shown, then a line for each fire or skipped time.
pub(crate) fn text(schedule: &Schedule, entries: &[PreviewEntry], from: Timestamp, count: usize) -> String {
    let mut text = head(schedule);
    let mut fires = 0;
    for entry in entries {
        text += &line(entry);
        fires += usize::from(matches!(entry, PreviewEntry::Fire { .. }));
    }
    match fires {
        0 => text += &format!("no fire time after {from}\n"),
        _ if fires < count => text += "no further fire times\n",
        _ => {}
    }
    text
}

fn head(schedule: &Schedule) -> String {
    let policies = match schedule.rule() {
        _ if schedule.follows_elapsed_time() => {
            "minute or hour begins with *: follows elapsed time".to_owned()
        }
        Rule::Cron { gap, overlap, .. } => format!("gap: {gap:?} · overlap: {overlap:?}").to_lowercase(),
        _ => String::new(),
    };
    format!("{schedule} · {policies} · zone data {}\n\n", zone_data_version())
}

fn line(entry: &PreviewEntry) -> String {
    let mut line = String::new();
    let written = match entry {
        PreviewEntry::Fire { fire, at } => {
            let offset = offset(at.offset_seconds());
            match fire.reason {
                Some(reason) => writeln!(line, "{}  {offset:7}  {reason}", clock(at.civil())),
                None => writeln!(line, "{}  {offset}", clock(at.civil())),
            }
        }
        PreviewEntry::Skipped {
            civil,
            through,
            reason,
            ..
        } => {
            let through = through.map(|end| format!(", and on through {}", clock(end)));
            let through = through.unwrap_or_default();
            writeln!(line, "{}  {:7}  {reason}{through}", clock(*civil), "skipped")
        }
        // Whatever a later version tells beyond fires and skipped times.
        other => writeln!(line, "{other:?}"),
    };
    debug_assert!(written.is_ok(), "a String takes any text");
    line
}

fn clock(civil: CivilTime) -> String {
    let text = civil.to_string();
    let (date, time) = text.split_once('T').unwrap_or((&text, ""));
    format!("{} {date} {time}", civil.weekday())
}

/// `+02:00`, with seconds where a zone had them.
fn offset(seconds: i32) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let seconds = seconds.unsigned_abs();
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match second {
        0 => format!("{sign}{hour:02}:{minute:02}"),
        _ => format!("{sign}{hour:02}:{minute:02}:{second:02}"),
    }
}

/// What is wrong, and the place in the expression if it is there.
pub(crate) fn error(error: &Error, expression: &str) -> String {
    match place(error) {
        Some(place) => format!(
            "error: {}\n\n  {}\n  {}{}\n",
            place.message(),
            expression.replace('\t', " "),
            " ".repeat(place.column() - 1),
            "^".repeat(place.length()),
        ),
        None => format!("error: {error}\n"),
    }
}

fn place(error: &Error) -> Option<&CronError> {
    let error: &dyn std::error::Error = error;
    error.source()?.downcast_ref()
}
