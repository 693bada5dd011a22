//! Doubts: tasks that the store gave an executor and that it doesn't name. Pure.
//!
//! A sign of life may be old when it is read, so one that leaves a task out proves nothing by itself. The store names
//! such tasks only after their `start_before`; a sign of life *made* after that moment, by the clock by which the
//! executor refuses late messages, proves that the task will never be taken.

use std::collections::BTreeMap;

use crate::id::TaskId;
use crate::lease::{Fence, FencingToken, Holder};
use crate::store::Alive;
use crate::time::Timestamp;
use crate::transport::Beat;

/// Since when which tasks are missed, by executor.
#[derive(Debug, Default)]
pub(super) struct Doubts(BTreeMap<Holder, BTreeMap<(TaskId, FencingToken), Timestamp>>);

impl Doubts {
    /// Takes note of the answer to a sign of life: the leases whose tasks were certainly lost on their way.
    pub(super) fn weigh(&mut self, beat: &Beat, alive: &Alive) -> Vec<Fence> {
        let holder = &beat.from.holder;
        if beat.held.is_none() || alive.unnamed.is_empty() {
            self.0.remove(holder);
            return Vec::new();
        }
        let before = self.0.remove(holder).unwrap_or_default();
        let mut now = BTreeMap::new();
        let mut lost = Vec::new();
        for (task_id, token, attempt) in alive.unnamed.iter().cloned() {
            let key = (task_id.clone(), token);
            let since = before.get(&key).copied();
            if since.is_some_and(|since| beat.beat_time > since) {
                let holder = holder.clone();
                lost.push(Fence {
                    task_id,
                    token,
                    attempt,
                    holder,
                });
            }
            now.insert(key, since.unwrap_or(alive.now));
        }
        self.0.insert(holder.clone(), now);
        lost
    }

    /// Forgets executors other than these.
    pub(super) fn keep(&mut self, known: impl Fn(&Holder) -> bool) {
        self.0.retain(|holder, _| known(holder));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ExecutorId;
    use crate::json::Json;
    use crate::lease::Incarnation;
    use crate::store::ExecutorStatus;
    use crate::transport::{Address, Taking};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    fn beat(made: i64) -> Beat {
        let holder = Holder {
            executor_id: ExecutorId::new("e").unwrap(),
            incarnation: Incarnation(1),
        };
        Beat {
            from: Address {
                holder,
                inbox: Json::NULL,
            },
            sequence: 1,
            beat_time: at(made),
            taking: Taking::Tasks,
            held: Some(Vec::new()),
            resources: None,
        }
    }

    fn answer(now: i64, missed: bool) -> Alive {
        let unnamed = missed.then(|| (TaskId::new("t").unwrap(), FencingToken(1), 1));
        Alive {
            now: at(now),
            status: ExecutorStatus::Online,
            cancel: Vec::new(),
            unnamed: unnamed.into_iter().collect(),
            lost: Vec::new(),
        }
    }

    #[test]
    fn only_a_sign_of_life_made_after_the_first_doubt_proves_the_loss() {
        let mut doubts = Doubts::default();
        assert!(
            doubts.weigh(&beat(9), &answer(20, true)).is_empty(),
            "it may be old"
        );
        assert!(
            doubts.weigh(&beat(20), &answer(21, true)).is_empty(),
            "as old as the doubt"
        );
        assert_eq!(doubts.weigh(&beat(21), &answer(22, true)).len(), 1);
    }

    #[test]
    fn a_task_that_is_named_again_is_not_in_doubt() {
        let mut doubts = Doubts::default();
        assert!(doubts.weigh(&beat(19), &answer(20, true)).is_empty());
        assert!(doubts.weigh(&beat(21), &answer(21, false)).is_empty());
        assert!(doubts.weigh(&beat(22), &answer(22, true)).is_empty());
    }

    #[test]
    fn nothing_is_taken_from_an_executor_that_cannot_say_what_it_holds() {
        let mut doubts = Doubts::default();
        for second in 0..5 {
            let silent = Beat {
                held: None,
                ..beat(second)
            };
            assert!(doubts.weigh(&silent, &answer(second, true)).is_empty());
        }
    }
}
