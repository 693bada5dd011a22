//! Parts of broadcasts: what becomes of those whose executor won't start them.
//!
//! Placement fixes such a part to one executor, so that nobody else may take it, and without an end it would wait for
//! ever.

use std::time::Duration;

use crate::id::ExecutorId;
use crate::store::{ExecutorRecord, ExecutorStatus};
use crate::time::Timestamp;

/// How long after its last sign of life an executor that is offline may come back to the parts that wait for it: long
/// enough for a process, or its machine, to start again.
pub const RETURN_WITHIN: Duration = Duration::from_secs(300);

/// Which `Ready` parts are settled as `Skipped`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Abandoned {
    /// Those that were due at this instant.
    pub due_by: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// Which of the `Ready` parts in lanes of the executor `executor_id` nobody will start, as the store's record of it
/// says; `None` while it may start them.
///
/// - A disabled executor takes nothing new: all of them.
/// - One that is offline (it left, or was declared dead) has [`RETURN_WITHIN`] since its last heartbeat: then all.
/// - One that the store doesn't know has as long for each part since that was due.
///
/// What the executor holds is not concerned: it ends, or recovery takes it back, after which it waits like the others.
pub fn abandoned(
    executor_id: &ExecutorId,
    record: Option<&ExecutorRecord>,
    now: Timestamp,
) -> Option<Abandoned> {
    let gone = |due_by| {
        Some(Abandoned {
            due_by,
            reason: format!("executor {executor_id} is gone"),
        })
    };
    let Some(record) = record else {
        return gone(now - RETURN_WITHIN);
    };
    match record.status {
        ExecutorStatus::Disabled => Some(Abandoned {
            due_by: now,
            reason: format!("executor {executor_id} is disabled"),
        }),
        ExecutorStatus::Offline if record.last_heartbeat_time + RETURN_WITHIN <= now => gone(now),
        // One that drains is offline soon, or comes back.
        ExecutorStatus::Offline
        | ExecutorStatus::Online
        | ExecutorStatus::Busy
        | ExecutorStatus::Draining => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::lane::ExecutorProfile;
    use crate::lease::Incarnation;
    use crate::store::Reach;

    fn record(status: ExecutorStatus) -> ExecutorRecord {
        ExecutorRecord {
            executor_id: ExecutorId::new("e").unwrap(),
            incarnation: Incarnation(1),
            host: String::new(),
            port: 0,
            status,
            profile: ExecutorProfile {
                group: "default".into(),
                capabilities: Vec::new(),
                labels: BTreeMap::new(),
                capacity: 1,
            },
            reach: Reach::Direct,
            address: None,
            lease_duration: Duration::from_secs(4),
            last_heartbeat_time: Timestamp::from_secs(1_000),
            register_time: Timestamp::from_secs(1),
            resources: None,
        }
    }

    #[test]
    fn only_parts_that_nobody_will_start_are_abandoned() {
        let (soon, late) = (Timestamp::from_secs(1_299), Timestamp::from_secs(1_300));
        let cases = [
            (Some(ExecutorStatus::Online), late, None),
            (Some(ExecutorStatus::Busy), late, None),
            (Some(ExecutorStatus::Draining), late, None),
            (
                Some(ExecutorStatus::Disabled),
                soon,
                Some((soon, "executor e is disabled")),
            ),
            (Some(ExecutorStatus::Offline), soon, None),
            (
                Some(ExecutorStatus::Offline),
                late,
                Some((late, "executor e is gone")),
            ),
            (
                None,
                late,
                Some((Timestamp::from_secs(1_000), "executor e is gone")),
            ),
        ];
        for (status, now, expected) in cases {
            let record = status.map(record);
            let answer = abandoned(&ExecutorId::new("e").unwrap(), record.as_ref(), now);
            let expected = expected.map(|(due_by, reason)| Abandoned {
                due_by,
                reason: reason.to_owned(),
            });
            assert_eq!(answer, expected, "{status:?} at {now}");
        }
    }
}
