//! Promotion: what is due becomes ready, and gates let pass what the pure engine says.
//!
//! Many promote at once. Locks are taken in the order that everybody keeps: first the rows of all gates concerned, by key,
//! then those of tasks. So the gates are locked before what is due is looked at, though that is moved first.

use std::collections::HashMap;

use jobcore::Timestamp;
use jobcore::engine::gate::{Plan, Rooms, SKIPPED, SUPERSEDED, Step};
use jobcore::engine::settle::JOB_DELETED;
use jobcore::gate::{GateKey, GatePolicy};
use jobcore::id::TaskId;
use jobcore::store::{Decision, DecisionKind, PromoteRequest, Promoted};
use jobcore::task::{Rank, Task, TaskState};

use super::cancel::request_cancel;
use super::decisions::insert_decisions;
use super::due::{Due, due_tasks, make_ready, next_waiting};
use super::gate_plan::{FirmPlan, firm_plan, may_pass};
use super::gate_view::{LockedGates, Queue, first_waiting, waited_at};
use super::gates::{put_arrival_times, ripen};
use super::gone::gone_waiting;
use super::parts::abandoned_parts;
use super::stored_task::{StoredTask, replace_tasks};
use super::task_row::{Lock, tasks_by_id};
use super::transitions::{Transition, write_transitions};
use crate::connection::{Access, Cx, Operation};
use crate::error::Result;

/// How many gates a sweep looks at in one call, besides those that are connected with them.
const GATES_AT_ONCE: usize = 1_000;

/// Moves on what waits.
#[derive(Debug)]
pub(crate) struct Promote(pub(crate) PromoteRequest);

#[async_trait::async_trait]
impl Operation for Promote {
    type Answer = Promoted;
    const NAME: &'static str = "promote";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut promotion = Promotion {
            now: self.0.now,
            left: self.0.limit,
            promoted: Promoted::default(),
            next: None,
        };
        promotion.promoted.more = ripen(cx, promotion.now).await?;
        match &self.0.gates {
            Some(gates) => {
                let gates = LockedGates::lock(cx, gates.clone()).await?;
                promotion.pass_gates(cx, gates).await?;
            }
            None => promotion.sweep(cx).await?,
        }
        let next = next_waiting(cx, promotion.now).await?;
        promotion.promoted.next_due_time = next.into_iter().chain(promotion.next).min();
        Ok(promotion.promoted)
    }
}

/// A promotion on its way.
struct Promotion {
    now: Timestamp,
    /// How many tasks may still be moved.
    left: usize,
    promoted: Promoted,
    /// When a rate lets the next one pass.
    next: Option<Timestamp>,
}

impl Promotion {
    /// Moves what is due, and looks at the gates where something waits: some in each call, one call after the other.
    async fn sweep(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        let after = cx.caches().swept_to.lock().clone();
        let gates = waited_at(cx, after.as_ref(), GATES_AT_ONCE).await?;
        let last = gates.last().filter(|_| gates.len() == GATES_AT_ONCE).cloned();
        let gates = LockedGates::lock(cx, gates).await?;
        self.promote_due(cx).await?;
        self.skip_abandoned(cx).await?;
        self.pass_gates(cx, gates).await?;
        if !self.promoted.more {
            self.promoted.more = last.is_some();
            *cx.caches().swept_to.lock() = last;
        }
        Ok(())
    }

    /// `Scheduled` tasks that are due become `Ready`; those whose job is gone are settled.
    async fn promote_due(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        let Due { ready, deleted, more } = due_tasks(cx, self.now, self.left).await?;
        self.promoted.more |= more;
        self.promoted.ready += ready.len();
        self.left = self.left.saturating_sub(ready.len());
        make_ready(cx, &ready).await?;
        let deleted = tasks_by_id(cx, &deleted.iter().collect::<Vec<_>>(), Lock::Update).await?;
        self.settle_deleted(cx, deleted).await
    }

    /// Settles tasks whose job is gone.
    async fn settle_deleted(&mut self, cx: &mut Cx<'_>, tasks: Vec<StoredTask>) -> Result<()> {
        self.left = self.left.saturating_sub(tasks.len());
        let transitions = tasks
            .into_iter()
            .map(|stored| self.end(stored, TaskState::Cancelled, JOB_DELETED));
        let transitions = transitions.collect::<Vec<_>>();
        write_transitions(cx, transitions).await
    }

    /// Settles parts of broadcasts that nobody will start.
    async fn skip_abandoned(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        let (parts, more) = abandoned_parts(cx, self.now, self.left).await?;
        self.promoted.more |= more;
        self.left = self.left.saturating_sub(parts.len());
        let ends = parts.into_iter();
        let ends = ends.map(|(stored, reason)| self.end(stored, TaskState::Skipped, &reason));
        let transitions: Vec<Transition> = ends.collect();
        write_transitions(cx, transitions).await
    }

    fn end(&mut self, stored: StoredTask, state: TaskState, reason: &str) -> Transition {
        self.promoted
            .settled
            .push((stored.task.task_id.clone(), stored.task.job_id.clone(), state));
        Transition::end(stored, state, Some(reason.to_owned()), self.now)
    }

    /// Plans what is concerned by `gates`, and carries the plan out.
    async fn pass_gates(&mut self, cx: &mut Cx<'_>, gates: LockedGates) -> Result<()> {
        let (queues, grown) = gates.queues(cx).await?;
        // What leads on to further gates is left to the next call, which locks those as well.
        self.promoted.more |= grown;
        if queues.is_empty() {
            return Ok(());
        }
        self.settle_gone(cx, &queues).await?;
        let view = gates.view(cx).await?;
        let rooms = Rooms::new(&view, self.now, self.left);
        let candidates = first_waiting(cx, &queues, &rooms, self.now).await?;
        let policies = view.iter().map(|(key, gate)| (key.clone(), gate.policy.clone()));
        let policies: HashMap<GateKey, GatePolicy> = policies.collect();
        let FirmPlan { plan, tasks } = firm_plan(cx, view, candidates, self.now, self.left).await?;
        self.promoted.more |= plan.more;
        put_arrival_times(cx, &plan.arrival_times, &policies).await?;
        self.carry_out(cx, plan, tasks).await
    }

    /// Settles what waits in these queues and whose job is gone, so that it is in nobody's way.
    async fn settle_gone(&mut self, cx: &mut Cx<'_>, queues: &[Queue]) -> Result<()> {
        let task_ids = gone_waiting(cx, queues, self.now, self.left).await?;
        self.promoted.more |= task_ids.len() > self.left;
        let some: Vec<&TaskId> = task_ids.iter().take(self.left).collect();
        let mut gone = tasks_by_id(cx, &some, Lock::Update).await?;
        gone.retain(|stored| may_pass(&stored.task, self.now));
        gone.sort_unstable_by(|a, b| a.task.task_id.cmp(&b.task.task_id));
        self.settle_deleted(cx, gone).await
    }

    async fn carry_out(
        &mut self,
        cx: &mut Cx<'_>,
        decided: Plan,
        mut tasks: HashMap<TaskId, StoredTask>,
    ) -> Result<()> {
        let mut outcome = Carried::default();
        for (task_id, step) in decided.steps {
            if let Step::Wait { until } = step {
                self.next = self.next.into_iter().chain(until).min();
                continue;
            }
            let Some(stored) = tasks.remove(&task_id) else {
                continue;
            };
            match step {
                Step::Wait { .. } => {}
                Step::Pass { due_time } => outcome.rows.push(self.pass(stored, due_time)),
                Step::Skip => {
                    outcome.decide(&stored.task, DecisionKind::OverlapSkipped, SKIPPED, self.now);
                    outcome
                        .transitions
                        .push(self.end(stored, TaskState::Skipped, SKIPPED));
                }
                Step::Cancel => {
                    outcome.decide(&stored.task, DecisionKind::OverlapCancelled, SUPERSEDED, self.now);
                    outcome
                        .transitions
                        .push(self.end(stored, TaskState::Cancelled, SUPERSEDED));
                }
                Step::RequestCancel => {
                    outcome.decide(&stored.task, DecisionKind::OverlapCancelled, SUPERSEDED, self.now);
                    outcome.asked.push(stored);
                    self.promoted.cancelling.push(task_id);
                }
            }
        }
        request_cancel(cx, &mut outcome.asked, SUPERSEDED, None, self.now).await?;
        outcome.rows.append(&mut outcome.asked);
        replace_tasks(cx, &outcome.rows).await?;
        write_transitions(cx, outcome.transitions).await?;
        insert_decisions(cx, &outcome.decisions.iter().collect::<Vec<_>>()).await
    }

    fn pass(&mut self, mut stored: StoredTask, due_time: Timestamp) -> StoredTask {
        let task = &mut stored.task;
        task.passed = true;
        if due_time > self.now {
            task.state = TaskState::Scheduled;
            task.due_time = due_time;
            task.rank = Rank::new(due_time, task.priority);
        } else {
            task.state = TaskState::Ready;
            self.promoted.ready += 1;
        }
        stored
    }
}

/// What a plan writes.
#[derive(Default)]
struct Carried {
    rows: Vec<StoredTask>,
    asked: Vec<StoredTask>,
    transitions: Vec<Transition>,
    decisions: Vec<Decision>,
}

impl Carried {
    fn decide(&mut self, task: &Task, kind: DecisionKind, reason: &str, now: Timestamp) {
        self.decisions.push(Decision {
            job_id: task.job_id.clone(),
            scheduled_for: task.scheduled_for,
            count: 1,
            task_id: Some(task.task_id.clone()),
            kind,
            decision_time: now,
            reason: reason.to_owned(),
        });
    }
}
