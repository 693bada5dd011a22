//! The evaluator against the definition: every second of a few days is looked at, and the fires are those of the rule.

use proptest::prelude::*;
use proptest::sample::select;

use super::super::civil::CivilTime;
use super::super::zone::Zone;
use super::super::{GapPolicy, RepeatPolicy};
use super::{Schedule, cron_in};
use crate::Timestamp;

/// Zones and the instants of changes in them.
const CHANGES: &[(&str, &str)] = &[
    ("Europe/Berlin", "2026-03-29T01:00:00Z"),
    ("Europe/Berlin", "2026-10-25T01:00:00Z"),
    ("America/New_York", "2026-03-08T07:00:00Z"),
    ("America/New_York", "2026-11-01T06:00:00Z"),
    ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
    ("Australia/Lord_Howe", "2026-04-04T15:00:00Z"),
    ("America/Sao_Paulo", "2018-11-04T03:00:00Z"),
    ("America/Sao_Paulo", "2018-02-18T02:00:00Z"),
    ("Africa/Cairo", "2024-04-25T22:00:00Z"),
    ("Asia/Beirut", "2022-03-26T22:00:00Z"),
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("America/St_Johns", "2006-10-29T02:31:00Z"),
    ("Europe/Berlin", "1893-03-31T23:06:32Z"),
    ("Europe/Amsterdam", "1937-06-30T22:40:28Z"),
    ("Africa/Monrovia", "1972-01-07T00:44:30Z"),
    ("America/Juneau", "1867-10-19T00:31:41Z"),
    ("Asia/Manila", "1844-12-31T15:56:00Z"),
    ("Antarctica/Troll", "2026-03-29T01:00:00Z"),
];

/// A rule as plain lists of values.
#[derive(Debug, Clone)]
struct Rule {
    seconds: Vec<u32>,
    minutes: Vec<u32>,
    hours: Vec<u32>,
    elapsed: bool,
}

impl Rule {
    fn expression(&self) -> String {
        let list = |values: &[u32]| values.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let minutes = if self.elapsed {
            "*/1".to_owned()
        } else {
            list(&self.minutes)
        };
        format!("{} {minutes} {} * * *", list(&self.seconds), list(&self.hours))
    }

    fn matches(&self, civil: CivilTime) -> bool {
        let second = civil.second_of_day();
        self.hours.contains(&(second / 3_600))
            && (self.elapsed || self.minutes.contains(&(second / 60 % 60)))
            && self.seconds.contains(&(second % 60))
    }

    /// All fires from `from` to `to`, in seconds, found by walking through every second.
    fn fires(&self, zone: Zone, gap: GapPolicy, repeat: RepeatPolicy, from: i64, to: i64) -> Vec<i64> {
        let both = self.elapsed || repeat == RepeatPolicy::Twice;
        let mut fires = Vec::new();
        // No change is longer than a day: what was shown before that isn't shown again.
        let mut latest = zone.civil_at(from - 90_000).as_secs();
        for instant in from - 90_000..=to {
            let civil = zone.civil_at(instant);
            let first_pass = civil.as_secs() > latest;
            let jumped =
                (latest + 1..civil.as_secs()).any(|left_out| self.matches(CivilTime::from_secs(left_out)));
            let made_up = jumped && !self.elapsed && gap == GapPolicy::After;
            if made_up || (self.matches(civil) && (first_pass || both)) {
                fires.push(instant);
            }
            latest = latest.max(civil.as_secs());
        }
        fires.retain(|fire| (from..=to).contains(fire));
        fires
    }
}

fn rules() -> impl Strategy<Value = Rule> {
    let values = |max: u32, count: usize| proptest::collection::vec(0..max, 1..count);
    (
        values(60, 2),
        values(60, 4),
        values(24, 3),
        values(4, 3),
        any::<bool>(),
    )
        .prop_map(|(seconds, minutes, mut hours, night, elapsed)| {
            hours.extend(night);
            hours.push(23);
            Rule {
                seconds,
                minutes,
                hours,
                elapsed,
            }
        })
}

fn seconds(schedule: &Schedule, after: i64, until: i64) -> Vec<i64> {
    let after = Timestamp::from_secs(after);
    schedule
        .fires_after(after, after)
        .map(|fire| fire.scheduled_for.as_micros() / 1_000_000)
        .take_while(|second| *second <= until)
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn fires_are_those_that_the_definition_gives(
        rule in rules(),
        (zone, change) in select(CHANGES),
        gap in select(vec![GapPolicy::After, GapPolicy::Skip]),
        repeat in select(vec![RepeatPolicy::Once, RepeatPolicy::Twice]),
        asked in proptest::collection::vec(-40_000i64..30_000, 16),
        near in proptest::collection::vec(-8_000i64..8_000, 16),
    ) {
        let change = change.parse::<Timestamp>().unwrap().as_micros() / 1_000_000;
        let schedule = cron_in(zone, &rule.expression()).on_gap(gap).on_overlap(repeat);
        let (from, to) = (change - 40_000, change + 120_000);
        let expected = rule.fires(Zone::named(zone).unwrap(), gap, repeat, from, to);
        prop_assert_eq!(&seconds(&schedule, from - 1, to), &expected);
        // Asked from anywhere in between, the answer is the least later fire, also within a second.
        for after in asked.into_iter().chain(near) {
            let after = change + after;
            let Some(least) = expected.iter().copied().find(|fire| *fire > after) else {
                continue;
            };
            for fraction in [0, 1, 999_999] {
                let instant = Timestamp::from_micros(after * 1_000_000 + fraction);
                let next = schedule.next_after(instant, instant).unwrap();
                prop_assert_eq!(next.scheduled_for.as_micros() / 1_000_000, least);
            }
        }
    }
}
