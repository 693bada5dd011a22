//! A journal whose entries carry an instant, so that the old ones are found without looking at all.

use super::journal::Journal;
use crate::store::Decision;
use crate::time::Timestamp;

/// Something with an instant by which it grows old.
pub(super) trait Dated {
    fn time(&self) -> Timestamp;
}

impl Dated for Decision {
    fn time(&self) -> Timestamp {
        self.decision_time
    }
}

/// Entries in the order in which they were pushed, which is nearly always the order of their instants.
#[derive(Debug)]
pub(super) struct Timeline<T> {
    journal: Journal<T>,
    latest: Timestamp,
    /// Whether no entry is older than one before it. Callers bring the time, and their clocks differ a little.
    is_ordered: bool,
}

impl<T> Default for Timeline<T> {
    fn default() -> Self {
        Self {
            journal: Journal::default(),
            latest: Timestamp::MIN,
            is_ordered: true,
        }
    }
}

impl<T: Dated> Timeline<T> {
    /// Appends an entry and returns its number.
    pub(super) fn push(&mut self, entry: T) -> u64 {
        let time = entry.time();
        self.is_ordered &= time >= self.latest;
        self.latest = self.latest.max(time);
        self.journal.push(entry)
    }

    /// The numbers of at most `limit` entries from before an instant, in order.
    pub(super) fn before(&self, before: Timestamp, limit: usize) -> Vec<u64> {
        let is_old = |entry: &T| entry.time() < before;
        let entries = self.journal.from(0);
        entries
            .take_while(|(_, entry)| !self.is_ordered || is_old(entry))
            .filter(|(_, entry)| is_old(entry))
            .map(|(number, _)| number)
            .take(limit)
            .collect()
    }

    /// The number that the next entry gets.
    pub(super) const fn end(&self) -> u64 {
        self.journal.end()
    }

    pub(super) fn get(&self, number: u64) -> Option<&T> {
        self.journal.get(number)
    }

    /// Removes an entry. Numbers of others stay.
    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        self.journal.remove(number)
    }

    /// The entries before `number`, newest first.
    pub(super) fn back_from(&self, number: u64) -> impl Iterator<Item = (u64, &T)> {
        self.journal.back_from(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Dated for i64 {
        fn time(&self) -> Timestamp {
            Timestamp::from_secs(*self)
        }
    }

    #[test]
    fn the_old_ones_are_found_in_any_order() {
        let mut timeline = Timeline::default();
        for second in [1, 2, 5, 7] {
            timeline.push(second);
        }
        assert_eq!(timeline.before(Timestamp::from_secs(5), 9), [0, 1]);
        timeline.push(3);
        assert_eq!(timeline.before(Timestamp::from_secs(5), 9), [0, 1, 4]);
        assert_eq!(timeline.before(Timestamp::from_secs(5), 2), [0, 1]);
    }
}
