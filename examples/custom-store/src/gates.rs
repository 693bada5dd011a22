//! Promotion: what is due becomes ready, and gates let pass what the pure engine says.

use std::collections::{BTreeMap, BTreeSet};

use jobcore::Timestamp;
use jobcore::engine::gate::{Candidate, GateState, Occupant, SKIPPED, SUPERSEDED, Step, counts, plan};
use jobcore::engine::part::abandoned;
use jobcore::engine::settle::JOB_DELETED;
use jobcore::gate::GateKey;
use jobcore::id::{ExecutorId, TaskId};
use jobcore::lane::Lane;
use jobcore::store::{Decision, DecisionKind, PromoteRequest, Promoted};
use jobcore::task::{Rank, Task, TaskState};

use crate::listing::clamp;
use crate::state::State;

/// A promotion on its way.
struct Promotion {
    now: Timestamp,
    left: usize,
    promoted: Promoted,
}

impl State {
    pub(crate) fn promote(&mut self, request: PromoteRequest) -> Promoted {
        let now = request.now;
        let mut promotion = Promotion {
            now,
            left: clamp(request.limit),
            promoted: Promoted::default(),
        };
        let gates = request.gates.unwrap_or_else(|| {
            self.promote_due(&mut promotion);
            self.skip_abandoned(&mut promotion);
            self.gates.keys().cloned().collect()
        });
        self.pass_gates(gates, &mut promotion);
        let waiting = self.live.values().map(|live| &live.task);
        let waiting = waiting.filter(|task| matches!(task.state, TaskState::Scheduled | TaskState::Blocked));
        let later = waiting
            .map(|task| task.due_time)
            .filter(|due_time| *due_time > now);
        let mut promoted = promotion.promoted;
        promoted.next_due_time = later.chain(promoted.next_due_time).min();
        promoted
    }

    fn promote_due(&mut self, promotion: &mut Promotion) {
        let tasks = self.live.values().map(|live| &live.task);
        let due = tasks.filter(|task| task.state == TaskState::Scheduled && task.due_time <= promotion.now);
        let mut due: Vec<(Timestamp, TaskId)> =
            due.map(|task| (task.due_time, task.task_id.clone())).collect();
        due.sort();
        for (_, task_id) in due {
            if !promotion.may_move() || self.settle_deleted(&task_id, promotion) {
                continue;
            }
            if let Some(live) = self.live.get_mut(&task_id) {
                live.task.state = TaskState::Ready;
                promotion.promoted.ready += 1;
            }
        }
    }

    /// Settles parts of broadcasts that nobody will start.
    fn skip_abandoned(&mut self, promotion: &mut Promotion) {
        let ready = self
            .live
            .values()
            .map(|live| &live.task)
            .filter(|task| task.state == TaskState::Ready);
        let mut parts: Vec<(Lane, Rank, TaskId, String)> = Vec::new();
        for task in ready {
            let Some(executor_id) = task.lane.executor().map(ExecutorId::from_stored) else {
                continue;
            };
            let abandoned = abandoned(&executor_id, self.executor(&executor_id).as_ref(), promotion.now);
            if let Some(abandoned) = abandoned.filter(|abandoned| task.due_time <= abandoned.due_by) {
                parts.push((
                    task.lane.clone(),
                    task.rank,
                    task.task_id.clone(),
                    abandoned.reason,
                ));
            }
        }
        parts.sort();
        for (_, _, task_id, reason) in parts {
            if promotion.may_move() {
                self.finish_here(&task_id, TaskState::Skipped, &reason, promotion);
            }
        }
    }

    /// Settles a task whose job is gone.
    fn settle_deleted(&mut self, task_id: &TaskId, promotion: &mut Promotion) -> bool {
        let gone = self
            .live
            .get(task_id)
            .is_some_and(|live| !self.jobs.contains_key(&live.task.job_id));
        if gone {
            self.finish_here(task_id, TaskState::Cancelled, JOB_DELETED, promotion);
        }
        gone
    }

    fn pass_gates(&mut self, gates: Vec<GateKey>, promotion: &mut Promotion) {
        let (_, waiting) = self.connected(gates.clone(), promotion.now);
        for task_id in waiting {
            let gone = self
                .live
                .get(&task_id)
                .is_some_and(|live| !self.jobs.contains_key(&live.task.job_id));
            if gone && promotion.may_move() {
                self.settle_deleted(&task_id, promotion);
            }
        }
        let (keys, waiting) = self.connected(gates, promotion.now);
        let view: BTreeMap<GateKey, GateState> = keys
            .into_iter()
            .map(|key| (key.clone(), self.view(&key)))
            .collect();
        let candidates = waiting
            .iter()
            .map(|task_id| Candidate::of(&self.live[task_id].task));
        let candidates: Vec<Candidate> = candidates.collect();
        let whole = plan(&view, &candidates, promotion.now, promotion.left);
        promotion.promoted.more |= whole.more;
        for (key, arrival_time) in whole.arrival_times {
            self.gates.entry(key).or_default().arrival_time = Some(arrival_time);
        }
        for (task_id, step) in whole.steps {
            self.carry_out(&task_id, step, promotion);
        }
    }

    /// The gates connected with these by due tasks that wait behind both, and those tasks.
    fn connected(&self, mut open: Vec<GateKey>, now: Timestamp) -> (BTreeSet<GateKey>, BTreeSet<TaskId>) {
        let (mut keys, mut tasks) = (BTreeSet::new(), BTreeSet::new());
        while let Some(key) = open.pop() {
            if keys.insert(key.clone()) {
                for task in self.waiting_at(&key, now) {
                    tasks.insert(task.task_id.clone());
                    open.extend_from_slice(&task.gates);
                }
            }
        }
        (keys, tasks)
    }

    fn view(&self, key: &GateKey) -> GateState {
        let row = self.gates.get(key).cloned().unwrap_or_default();
        let behind = self
            .live
            .values()
            .map(|live| &live.task)
            .filter(|task| task.gates.contains(key));
        let behind: Vec<&Task> = behind.collect();
        let occupants = behind.iter().filter(|task| task.passed);
        GateState {
            policy: row.policy,
            arrival_time: row.arrival_time,
            live: u32::try_from(behind.iter().filter(|task| counts(task)).count()).unwrap_or(u32::MAX),
            occupants: occupants.map(|task| Occupant::of(task)).collect(),
        }
    }

    fn carry_out(&mut self, task_id: &TaskId, step: Step, promotion: &mut Promotion) {
        match step {
            Step::Pass { due_time } => self.pass(task_id, due_time, promotion),
            Step::Wait { until } => {
                let next = &mut promotion.promoted.next_due_time;
                *next = next.iter().copied().chain(until).min();
            }
            Step::Skip => {
                self.decide(task_id, DecisionKind::OverlapSkipped, SKIPPED, promotion.now);
                self.finish_here(task_id, TaskState::Skipped, SKIPPED, promotion);
            }
            Step::Cancel => {
                self.decide(task_id, DecisionKind::OverlapCancelled, SUPERSEDED, promotion.now);
                self.finish_here(task_id, TaskState::Cancelled, SUPERSEDED, promotion);
            }
            Step::RequestCancel => {
                self.decide(task_id, DecisionKind::OverlapCancelled, SUPERSEDED, promotion.now);
                self.request_cancel(task_id, SUPERSEDED, None, promotion.now);
                promotion.promoted.cancelling.push(task_id.clone());
            }
        }
    }

    fn pass(&mut self, task_id: &TaskId, due_time: Timestamp, promotion: &mut Promotion) {
        let Some(live) = self.live.get_mut(task_id) else {
            return;
        };
        let task = &mut live.task;
        task.passed = true;
        if due_time > promotion.now {
            task.state = TaskState::Scheduled;
            task.due_time = due_time;
            task.rank = Rank::new(due_time, task.priority);
        } else {
            task.state = TaskState::Ready;
            promotion.promoted.ready += 1;
        }
    }

    fn finish_here(&mut self, task_id: &TaskId, state: TaskState, reason: &str, promotion: &mut Promotion) {
        let Some(live) = self.live.get(task_id) else {
            return;
        };
        promotion
            .promoted
            .settled
            .push((task_id.clone(), live.task.job_id.clone(), state));
        self.end(task_id, state, reason, promotion.now);
    }

    fn decide(&mut self, task_id: &TaskId, kind: DecisionKind, reason: &str, now: Timestamp) {
        let Some(live) = self.live.get(task_id) else {
            return;
        };
        self.decisions.add(Decision {
            job_id: live.task.job_id.clone(),
            scheduled_for: live.task.scheduled_for,
            count: 1,
            task_id: Some(task_id.clone()),
            kind,
            decision_time: now,
            reason: reason.to_owned(),
        });
    }
}

impl Promotion {
    /// Whether one more may be moved; counts it, or notes that there are more.
    fn may_move(&mut self) -> bool {
        self.promoted.more |= self.left == 0;
        let may = self.left > 0;
        self.left -= usize::from(may);
        may
    }
}
