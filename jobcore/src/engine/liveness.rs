//! Liveness: when an executor's silence means that it died.

use std::time::Duration;

use crate::id::ExecutorId;
use crate::store::ExecutorRecord;
use crate::time::Timestamp;

/// What a scheduler knows about whether the silence of executors could be its own, or the store's, doing.
///
/// Silence counts only while the store took writes. After a gap in the scheduler's own writes, after its own start,
/// and after a jump of the store's clock, every executor gets a full lease time again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Since when the scheduler's own writes went through without a gap, by the store's clock.
    since: Timestamp,
    /// The last of them.
    last: Timestamp,
    /// How long the own writes may be apart before what was seen of others isn't trusted any more.
    longest_gap: Duration,
    /// Since when over half of the executors are silent at once.
    many_silent_since: Option<Timestamp>,
}

/// What to do about silent executors.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Verdict {
    /// Whether any executor may be declared dead now.
    pub expire: bool,
    /// Those that may not: the scheduler hasn't watched for the length of their lease.
    pub spare: Vec<ExecutorId>,
    /// Whether over half of at least three executors are silent, which waits one lease more and is worth an alarm.
    pub many_silent: bool,
}

impl Watch {
    /// Begins to watch. The scheduler's own writes are its heartbeats, of which one may be missed.
    pub fn new(now: Timestamp, heartbeat_interval: Duration) -> Self {
        let longest_gap = heartbeat_interval * 5 / 2;
        Self {
            longest_gap,
            since: now,
            last: now,
            many_silent_since: None,
        }
    }

    /// A write of the scheduler went through, at this instant of the store's clock.
    pub fn wrote(&mut self, now: Timestamp) {
        if now < self.last || now.since(self.last) > self.longest_gap {
            self.since = now;
        }
        self.last = now;
    }

    /// Judges the executors that the store believes alive.
    pub fn judge(&mut self, alive: &[ExecutorRecord], now: Timestamp) -> Verdict {
        let silent: Vec<&ExecutorRecord> = alive
            .iter()
            .filter(|executor| now > executor.last_heartbeat_time + executor.lease_duration)
            .collect();
        let many_silent = alive.len() >= 3 && silent.len() * 2 > alive.len();
        let since = *self.many_silent_since.get_or_insert(now);
        if !many_silent {
            self.many_silent_since = None;
        }
        let trusted = |executor: &ExecutorRecord| {
            let watched = now.since(self.since) >= executor.lease_duration;
            let waited = !many_silent || now.since(since) >= executor.lease_duration;
            now.since(self.last) <= self.longest_gap && watched && waited
        };
        let (dead, spared): (Vec<_>, Vec<_>) = silent.into_iter().partition(|executor| trusted(executor));
        let spare = spared
            .into_iter()
            .map(|executor| executor.executor_id.clone())
            .collect();
        Verdict {
            expire: !dead.is_empty(),
            spare,
            many_silent,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::lane::ExecutorProfile;
    use crate::lease::Incarnation;
    use crate::store::{ExecutorStatus, Reach};

    fn executor(name: &str, beat: i64) -> ExecutorRecord {
        let profile = ExecutorProfile {
            group: "default".into(),
            capabilities: vec![],
            labels: BTreeMap::new(),
            capacity: 1,
        };
        ExecutorRecord {
            executor_id: ExecutorId::new(name).unwrap(),
            incarnation: Incarnation(1),
            host: String::new(),
            port: 0,
            status: ExecutorStatus::Online,
            profile,
            reach: Reach::Direct,
            address: None,
            lease_duration: Duration::from_secs(4),
            last_heartbeat_time: at(beat),
            register_time: at(0),
            resources: None,
        }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    fn watched(from: i64, to: i64) -> Watch {
        let mut watch = Watch::new(at(from), Duration::from_secs(1));
        (from..=to).for_each(|second| watch.wrote(at(second)));
        watch
    }

    #[test]
    fn silence_longer_than_the_lease_is_death() {
        let verdict = watched(0, 10).judge(&[executor("a", 10), executor("b", 5)], at(10));
        assert!(verdict.expire && verdict.spare.is_empty());
        assert!(
            !watched(0, 10).judge(&[executor("b", 6)], at(10)).expire,
            "exactly the lease is still alive"
        );
    }

    #[test]
    fn a_gap_in_ones_own_writes_gives_everybody_a_lease_again() {
        let mut watch = watched(0, 10);
        watch.wrote(at(40));
        let verdict = watch.judge(&[executor("a", 10)], at(40));
        assert!(!verdict.expire && verdict.spare.len() == 1);
        (41..=44).for_each(|second| watch.wrote(at(second)));
        assert!(watch.judge(&[executor("a", 10)], at(44)).expire);
    }

    #[test]
    fn a_scheduler_that_just_started_declares_nobody_dead() {
        assert!(!watched(10, 13).judge(&[executor("a", 0)], at(13)).expire);
        assert!(watched(10, 14).judge(&[executor("a", 0)], at(14)).expire);
    }

    #[test]
    fn a_clock_that_jumps_back_begins_a_new_watch() {
        let mut watch = watched(0, 100);
        watch.wrote(at(50));
        assert!(!watch.judge(&[executor("a", 0)], at(50)).expire);
    }

    #[test]
    fn over_half_of_three_wait_one_lease_more() {
        let silent = [executor("a", 0), executor("b", 0), executor("c", 10)];
        let mut watch = watched(0, 10);
        let first = watch.judge(&silent, at(10));
        assert!(first.many_silent && !first.expire);
        (11..=14).for_each(|second| watch.wrote(at(second)));
        assert!(watch.judge(&silent, at(14)).expire);
    }
}
