//! Tokens and incarnations, which stores may number as they like: counted in the order in which they appear.

use std::collections::BTreeMap;

use jobcore::Timestamp;
use jobcore::attempt::Attempt;
use jobcore::id::ExecutorId;
use jobcore::lease::{Fence, FencingToken, Holder, Incarnation};
use jobcore::store::{
    ClaimOutcome, ExecutorRecord, Heartbeat, HeartbeatOutcome, Held, Recovered, Registration,
    SetExecutorStatus,
};
use jobcore::task::Task;

/// Beyond what a store gives: stands for numbers that it never gave.
const UNKNOWN: u64 = 1 << 40;

/// Translates between a store's own numbers and counted ones, 1 for the first that appeared.
#[derive(Debug)]
pub(super) struct Names {
    tokens: Vec<u64>,
    incarnations: BTreeMap<ExecutorId, Vec<u64>>,
    /// Whether the store's own times can be compared.
    timed: bool,
}

impl Names {
    pub(super) fn new(timed: bool) -> Self {
        Self {
            tokens: Vec::new(),
            incarnations: BTreeMap::new(),
            timed,
        }
    }

    fn real(known: &[u64], counted: u64) -> u64 {
        let index = usize::try_from(counted).unwrap_or(usize::MAX).checked_sub(1);
        match index {
            None => 0,
            Some(index) => known.get(index).copied().unwrap_or(UNKNOWN + counted),
        }
    }

    fn counted(known: &mut Vec<u64>, real: u64) -> u64 {
        if real == 0 {
            return 0;
        }
        let index = known
            .iter()
            .position(|number| *number == real)
            .unwrap_or_else(|| {
                known.push(real);
                known.len() - 1
            });
        index as u64 + 1
    }

    fn real_token(&self, token: FencingToken) -> FencingToken {
        FencingToken(Self::real(&self.tokens, token.0))
    }

    fn counted_token(&mut self, token: FencingToken) -> FencingToken {
        FencingToken(Self::counted(&mut self.tokens, token.0))
    }

    pub(super) fn real_holder(&self, holder: Holder) -> Holder {
        let known = self
            .incarnations
            .get(&holder.executor_id)
            .map_or(&[][..], Vec::as_slice);
        Holder {
            incarnation: Incarnation(Self::real(known, holder.incarnation.0)),
            ..holder
        }
    }

    fn counted_incarnation(&mut self, executor_id: &ExecutorId, incarnation: Incarnation) -> Incarnation {
        let known = self.incarnations.entry(executor_id.clone()).or_default();
        Incarnation(Self::counted(known, incarnation.0))
    }

    pub(super) fn counted_holder(&mut self, holder: Holder) -> Holder {
        Holder {
            incarnation: self.counted_incarnation(&holder.executor_id, holder.incarnation),
            ..holder
        }
    }

    pub(super) fn make_fence_real(&self, fence: &mut Fence) {
        fence.token = self.real_token(fence.token);
        fence.holder = self.real_holder(fence.holder.clone());
    }

    pub(super) fn real_status(&self, change: SetExecutorStatus) -> SetExecutorStatus {
        match change {
            SetExecutorStatus::Leave(holder) => SetExecutorStatus::Leave(self.real_holder(holder)),
            other => other,
        }
    }

    pub(super) fn real_heartbeat(&self, beat: Heartbeat) -> Heartbeat {
        let held = match beat.held {
            Held::Leases(tokens) => {
                Held::Leases(tokens.into_iter().map(|token| self.real_token(token)).collect())
            }
            Held::Tasks(tasks) => {
                let tasks = tasks.into_iter();
                Held::Tasks(tasks.map(|(id, token)| (id, self.real_token(token))).collect())
            }
        };
        Heartbeat {
            holder: self.real_holder(beat.holder),
            held,
            closed: beat
                .closed
                .into_iter()
                .map(|token| self.real_token(token))
                .collect(),
            ..beat
        }
    }

    fn own_time(&self, time: Timestamp) -> Timestamp {
        if self.timed { time } else { Timestamp::EPOCH }
    }

    pub(super) fn counted_registration(
        &mut self,
        executor_id: &ExecutorId,
        answer: Registration,
    ) -> Registration {
        Registration {
            incarnation: self.counted_incarnation(executor_id, answer.incarnation),
            now: self.own_time(answer.now),
        }
    }

    pub(super) fn counted_claim(&mut self, outcome: ClaimOutcome) -> ClaimOutcome {
        let ClaimOutcome::Claimed(mut lease) = outcome else {
            return outcome;
        };
        lease.token = self.counted_token(lease.token);
        lease.holder = self.counted_holder(lease.holder);
        for claimed in &mut lease.tasks {
            claimed.task = self.counted_task(claimed.task.clone());
        }
        ClaimOutcome::Claimed(lease)
    }

    pub(super) fn counted_heartbeats(&mut self, outcomes: Vec<HeartbeatOutcome>) -> Vec<HeartbeatOutcome> {
        let outcomes = outcomes.into_iter();
        outcomes
            .map(|outcome| {
                let HeartbeatOutcome::Alive(mut alive) = outcome else {
                    return outcome;
                };
                alive.now = self.own_time(alive.now);
                for (_, token, _) in &mut alive.unnamed {
                    *token = self.counted_token(*token);
                }
                for (_, token) in &mut alive.lost {
                    // What the store never gave was named by the caller.
                    if token.0 < UNKNOWN {
                        *token = self.counted_token(*token);
                    }
                }
                HeartbeatOutcome::Alive(alive)
            })
            .collect()
    }

    pub(super) fn counted_recovered(&mut self, mut recovered: Recovered) -> Recovered {
        for task in &mut recovered.tasks {
            task.holder = self.counted_holder(task.holder.clone());
        }
        recovered
    }

    pub(super) fn counted_task(&mut self, task: Task) -> Task {
        Task {
            token: self.counted_token(task.token),
            holder: task.holder.map(|holder| self.counted_holder(holder)),
            ..task
        }
    }

    pub(super) fn counted_attempt(&mut self, attempt: Attempt) -> Attempt {
        Attempt {
            token: self.counted_token(attempt.token),
            ..attempt
        }
    }

    pub(super) fn counted_executor(&mut self, record: ExecutorRecord) -> ExecutorRecord {
        ExecutorRecord {
            incarnation: self.counted_incarnation(&record.executor_id, record.incarnation),
            last_heartbeat_time: self.own_time(record.last_heartbeat_time),
            register_time: self.own_time(record.register_time),
            ..record
        }
    }
}
