//! What a schedule costs: a process holds a million of them.

use super::{Schedule, cron_in};

/// A cron schedule without bounds takes this much, and the text of its expression on the heap.
const BYTES: usize = 88;

#[test]
fn a_cron_schedule_takes_little_memory() {
    assert!(size_of::<Schedule>() <= BYTES, "{} bytes", size_of::<Schedule>());
    let schedule = cron_in("Europe/Berlin", "0 9 * * MON-FRI");
    // No heap but the text: neither bounds nor years are set.
    assert!(schedule.limits.is_none());
    let heap = match schedule.rule() {
        super::super::Rule::Cron { expression, .. } => expression.len(),
        other => panic!("{other:?}"),
    };
    assert!(size_of::<Schedule>() + heap <= 104);
}
