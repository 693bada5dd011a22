//! The evaluator against croner, an independent one, where both mean the same: outside clock changes.

use std::str::FromStr;

use chrono::Utc;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{Schedule, cron};
use crate::Timestamp;

/// A field of numbers from `min` to `max`: everything, steps, a range, or a list.
fn numbers(min: u32, max: u32) -> BoxedStrategy<String> {
    prop_oneof![
        3 => Just("*".to_owned()),
        1 => (2..=(max - min).min(20)).prop_map(|step| format!("*/{step}")),
        1 => (min..=max, min..=max).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (min..=max, min..=max, 1..5u32).prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b))),
        3 => subsequence((min..=max).collect::<Vec<_>>(), 1..4)
            .prop_map(|list| list.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
    ]
    .boxed()
}

fn days() -> BoxedStrategy<String> {
    prop_oneof![
        4 => numbers(1, 31),
        1 => select(vec!["L", "LW", "1W", "15W", "31W", "1,15W", "10,L"]).prop_map(str::to_owned),
    ]
    .boxed()
}

fn weekdays() -> BoxedStrategy<String> {
    prop_oneof![
        3 => Just("*".to_owned()),
        2 => numbers(0, 6),
        1 => select(vec!["7", "MON-FRI", "SUN", "5L", "MON#2", "WED#5", "0#1,3#3", "5-7"]).prop_map(str::to_owned),
    ]
    .boxed()
}

fn expressions() -> impl Strategy<Value = String> {
    let months = prop_oneof![3 => Just("*".to_owned()), 1 => numbers(1, 12), 1 => Just("FEB".to_owned())];
    let seconds = prop_oneof![2 => Just(String::new()), 1 => numbers(0, 59)];
    (
        seconds,
        numbers(0, 59),
        numbers(0, 23),
        days(),
        months,
        weekdays(),
    )
        .prop_map(|(second, minute, hour, day, month, weekday)| {
            format!("{second} {minute} {hour} {day} {month} {weekday}")
                .trim()
                .to_owned()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn agrees_with_croner(expression in expressions(), start in 0i64..4_000_000_000) {
        // A stepped `*` in a day field makes both day fields count here, as in the cron of Vixie, and either in croner.
        let fields: Vec<_> = expression.split(' ').rev().collect();
        prop_assume!(!fields[0].starts_with("*/") && !fields[2].starts_with("*/"));
        let oracle = croner::Cron::from_str(&expression).unwrap();
        let start = Timestamp::from_secs(start);
        let mut expected = oracle.iter_after(start.to_datetime());
        let Ok(schedule) = Schedule::cron(&expression) else {
            prop_assert_eq!(expected.next(), None, "{} never fires", expression);
            return Ok(());
        };
        for fire in schedule.fires_after(start, start).take(5) {
            prop_assert_eq!(Some(fire.scheduled_for.to_datetime()), expected.next(), "{}", expression);
        }
    }
}

#[test]
fn the_oracle_can_disagree() {
    let utc = "2026-01-01T00:00:00Z".parse::<chrono::DateTime<Utc>>().unwrap();
    let other = croner::Cron::from_str("1 * * * *")
        .unwrap()
        .iter_after(utc)
        .next();
    let ours = cron("2 * * * *").next_after(utc.into(), utc.into()).unwrap();
    assert_ne!(other, Some(ours.scheduled_for.to_datetime()));
}
