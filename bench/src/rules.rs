//! Distinct cron rules: some that come due all the time, any number that don't.

use jobcore::{Schedule, Timestamp};

use crate::failure::Result;

/// How many seconds pass from one fire of a busy rule to the next.
pub(crate) const BUSY_PERIOD: u64 = 5;

/// The nth busy rule: every five seconds, offset by n. No two of the first 5,000 are written alike: the years differ.
pub(crate) fn busy(n: u64) -> Result<Schedule> {
    let (offset, year) = (n % BUSY_PERIOD, 2099 - n / BUSY_PERIOD % 50);
    let from = 2026 - n / BUSY_PERIOD / 50 % 20;
    Ok(Schedule::cron(&format!(
        "{offset}/{BUSY_PERIOD} * * * * * {from}-{year}"
    ))?)
}

/// The nth quiet rule: once a year, at a second of its own, not within a month of `now`. No two of the first 17 million
/// are alike.
pub(crate) fn quiet(n: u64, now: Timestamp) -> Result<Schedule> {
    // Neighbours lie months apart, so that next fire times don't come in the order of the ids.
    let (second, minute, hour) = (n / 7 % 60, n / 420 % 60, n / 25_200 % 24);
    let month_now = u64::from(chrono_month(now));
    let month = (month_now + 1 + n % 7) % 12 + 1;
    let day = n / 604_800 % 28 + 1;
    Ok(Schedule::cron(&format!(
        "{second} {minute} {hour} {day} {month} *"
    ))?)
}

/// 1 to 12.
fn chrono_month(now: Timestamp) -> u32 {
    let text = now.to_string();
    text.get(5..7).and_then(|month| month.parse().ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::time::Duration;

    use super::*;

    #[test]
    fn busy_rules_are_distinct_and_evenly_spread() {
        let now: Timestamp = "2026-06-15T12:00:00Z".parse().unwrap();
        let rules = (0..1_000).map(|n| busy(n).unwrap()).collect::<Vec<_>>();
        let texts = rules
            .iter()
            .map(|rule| format!("{rule:?}"))
            .collect::<HashSet<_>>();
        assert_eq!(texts.len(), 1_000);
        let due_at_once = |rule: &&Schedule| {
            rule.next_after(now, now).unwrap().scheduled_for == now + Duration::from_secs(1)
        };
        assert_eq!(rules.iter().filter(due_at_once).count(), 200);
    }

    #[test]
    fn quiet_rules_are_distinct_and_stay_quiet() {
        for now in [
            "2026-01-31T23:59:59Z",
            "2026-06-15T12:00:00Z",
            "2026-12-01T00:00:00Z",
        ] {
            let now: Timestamp = now.parse().unwrap();
            let mut texts = HashSet::new();
            for n in (0..1_000_000).step_by(101) {
                let rule = quiet(n, now).unwrap();
                assert!(
                    rule.next_after(now, now).unwrap().scheduled_for > now + Duration::from_secs(24 * 3_600)
                );
                assert!(texts.insert(format!("{rule:?}")));
            }
        }
    }
}
