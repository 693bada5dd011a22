//! What must hold in every zone of the data, now and after an update.

use super::super::civil::CivilTime;
use super::super::zone::{Occurrence, Zone};
use super::{Timestamp, cron_in};

/// Every change of every zone, found by looking at each half day from 1840 to 2110.
fn changes(zone: Zone) -> Vec<(i64, i64, i64)> {
    let step = 43_200;
    let mut changes = Vec::new();
    let mut instant = -4_102_444_800;
    let mut offset = zone.offset_at(instant);
    while instant < 4_417_977_600 {
        let next = instant + step;
        let new = zone.offset_at(next);
        if new != offset {
            let change = zone.change_between(instant, next).instant;
            changes.push((change, offset, new));
        }
        (instant, offset) = (next, new);
    }
    changes
}

fn zones() -> impl Iterator<Item = Zone> {
    chrono_tz::TZ_VARIANTS
        .iter()
        .map(|zone| Zone::named(zone.name()).unwrap())
}

#[test]
fn changes_are_apart_and_occurrences_where_the_clock_shows_the_time() {
    for zone in zones() {
        let mut last = i64::MIN;
        for (change, old, new) in changes(zone) {
            // The evaluator takes it that no civil time is both left out and shown, or shown more than twice.
            let (begin, end) = (change + old.min(new), change + old.max(new));
            assert!(begin >= last, "{} at {change}", zone.name());
            last = end;
            for around in [-1, 0, 1] {
                for civil in [change + old + around, change + new + around] {
                    let civil = CivilTime::from_secs(civil);
                    match zone.occurrence(civil) {
                        Occurrence::Once(instant) => assert_eq!(zone.civil_at(instant), civil),
                        Occurrence::Twice { first, second } => {
                            assert!(first < second);
                            assert_eq!((zone.civil_at(first), zone.civil_at(second)), (civil, civil));
                            assert_eq!(zone.change_between(first, second).instant, change);
                        }
                        Occurrence::Never(gap) => {
                            assert_eq!(gap.instant, change);
                            assert!(gap.before <= civil && civil < gap.after);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn fires_increase_through_all_of_history() {
    let zones = [
        "Africa/Monrovia",
        "America/Juneau",
        "Asia/Manila",
        "Pacific/Apia",
        "Africa/Casablanca",
    ];
    for zone in zones {
        for expression in ["0 0 * * *", "30 2 * * SUN", "*/30 2 * * SUN", "59 23 L * *"] {
            let schedule = cron_in(zone, expression);
            let start = Timestamp::from_secs(-4_102_444_800);
            let mut last = start;
            for fire in schedule.fires_after(start, start).take(4_000) {
                assert!(fire.scheduled_for > last, "{zone} {expression} at {last}");
                last = fire.scheduled_for;
            }
        }
    }
}
