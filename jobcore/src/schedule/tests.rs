//! What schedules promise, by topic.

mod bounds;
mod brute_force;
mod calendar;
mod cost;
mod json;
mod oracle;
mod parse;
mod summer_time;
mod zones;

use super::{Fire, Schedule};
use crate::Timestamp;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn cron(expression: &str) -> Schedule {
    Schedule::cron(expression).unwrap()
}

fn cron_in(zone: &str, expression: &str) -> Schedule {
    cron(expression).in_zone(zone).unwrap()
}

fn fires(schedule: &Schedule, after: &str, count: usize) -> Vec<Fire> {
    let after = at(after);
    schedule.fires_after(after, after).take(count).collect()
}

/// The next fires as the preview shows them: RFC 3339 in local time, or `skipped` and the civil time.
fn preview(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
    let after = at(after);
    let entries = serde_json::to_value(schedule.preview(after, after, count)).unwrap();
    entries
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| match (entry["at"].as_str(), entry["skipped"].as_str()) {
            (Some(at), None) => at.to_owned(),
            (None, Some(skipped)) => format!("skipped {skipped}"),
            _ => panic!("{entry}"),
        })
        .collect()
}
