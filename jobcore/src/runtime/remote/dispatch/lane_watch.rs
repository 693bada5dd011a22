//! Whether the heartbeat lane was followed: only then does a remote executor's silence mean anything.

use std::time::Duration;

use parking_lot::Mutex;

use crate::store::ExecutorRecord;
use crate::time::Timestamp;

/// Since when the heartbeat lane was read to its end again and again, without a longer gap.
#[derive(Debug)]
pub(crate) struct LaneWatch {
    longest_gap: Duration,
    span: Mutex<Option<Span>>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    since: Timestamp,
    last: Timestamp,
}

impl LaneWatch {
    /// Begins to watch. As long as the gaps are shorter than two missed heartbeats, the lane counts as followed.
    pub(super) fn new(heartbeat_interval: Duration) -> Self {
        Self {
            longest_gap: heartbeat_interval * 5 / 2,
            span: Mutex::new(None),
        }
    }

    /// The lane was read to its end, and all that it held was recorded.
    pub(super) fn reached(&self, now: Timestamp) {
        let mut span = self.span.lock();
        let unbroken = span.filter(|span| now >= span.last && now.since(span.last) <= self.longest_gap);
        let since = unbroken.map_or(now, |span| span.since);
        *span = Some(Span { since, last: now });
    }

    /// It can't be read, or what it held couldn't be recorded.
    pub(super) fn broken(&self) {
        *self.span.lock() = None;
    }

    /// Whether a remote executor is silent and the silence its own: the lane was followed for the length of its lease,
    /// and when it was last read to its end, nothing had come for longer than that.
    pub(crate) fn heard_nothing_of(&self, executor: &ExecutorRecord) -> bool {
        let lease = executor.lease_duration;
        self.span.lock().is_some_and(|span| {
            span.last.since(span.since) >= lease && span.last > executor.last_heartbeat_time + lease
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::id::ExecutorId;
    use crate::lane::ExecutorProfile;
    use crate::lease::Incarnation;
    use crate::store::{ExecutorStatus, Reach};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    /// An executor with a lease of 4 s whose last heartbeat was recorded then.
    fn silent_since(second: i64) -> ExecutorRecord {
        ExecutorRecord {
            executor_id: ExecutorId::new("e").unwrap(),
            incarnation: Incarnation(1),
            host: String::new(),
            port: 0,
            status: ExecutorStatus::Online,
            profile: ExecutorProfile {
                group: "default".into(),
                capabilities: vec![],
                labels: BTreeMap::new(),
                capacity: 1,
            },
            reach: Reach::Remote,
            address: None,
            lease_duration: Duration::from_secs(4),
            last_heartbeat_time: at(second),
            register_time: at(0),
            resources: None,
        }
    }

    fn followed(seconds: impl IntoIterator<Item = i64>) -> LaneWatch {
        let watch = LaneWatch::new(Duration::from_secs(1));
        seconds.into_iter().for_each(|second| watch.reached(at(second)));
        watch
    }

    #[test]
    fn silence_counts_while_the_lane_is_followed() {
        assert!(followed(0..=10).heard_nothing_of(&silent_since(5)));
        assert!(
            !followed(0..=10).heard_nothing_of(&silent_since(6)),
            "exactly the lease is still alive"
        );
    }

    #[test]
    fn who_did_not_listen_has_heard_nothing_of_nobody() {
        assert!(!followed([]).heard_nothing_of(&silent_since(0)));
        assert!(
            !followed(8..=10).heard_nothing_of(&silent_since(0)),
            "it has just begun to listen"
        );
        assert!(
            !followed((0..=5).chain(9..=10)).heard_nothing_of(&silent_since(0)),
            "it didn't listen for a while"
        );
        let watch = followed(0..=10);
        watch.broken();
        watch.reached(at(11));
        assert!(!watch.heard_nothing_of(&silent_since(0)), "the lane was broken");
    }

    #[test]
    fn what_has_not_been_read_yet_may_be_a_sign_of_life() {
        assert!(
            !followed(0..=8).heard_nothing_of(&silent_since(5)),
            "whatever the time is now"
        );
    }
}
