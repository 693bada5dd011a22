//! Promotion: what is due becomes ready, and gates let pass what the pure engine says.

use std::collections::HashMap;

use jobcore::Timestamp;
use jobcore::engine::gate::{Candidate, Connected, Plan, Rooms, SKIPPED, SUPERSEDED, Step, plan};
use jobcore::engine::settle::JOB_DELETED;
use jobcore::gate::GateKey;
use jobcore::id::TaskId;
use jobcore::store::{Decision, DecisionKind, PromoteRequest, Promoted};
use jobcore::task::{Rank, Task, TaskState};

use super::cancel::request_cancel;
use super::decisions::insert_decisions;
use super::gate_view::{connected, first_waiting, gone_waiting, view, waited_at};
use super::gates::ripen;
use super::parts::abandoned_parts;
use super::stored_task::{StoredTask, replace_tasks};
use super::task_row::{read_tasks, select_tasks, tasks_by_id};
use super::transitions::{Transition, write_transitions};
use crate::connection::{Cx, Operation};
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

    fn weight(&self) -> usize {
        self.0.limit
    }

    fn rows(&self) -> usize {
        0
    }

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut promotion = Promotion {
            now: self.0.now,
            left: self.0.limit,
            promoted: Promoted::default(),
            next: None,
        };
        promotion.promoted.more = ripen(cx, promotion.now).await?;
        match &self.0.gates {
            Some(gates) => promotion.pass_gates(cx, gates.clone()).await?,
            None => {
                promotion.promote_due(cx).await?;
                promotion.skip_abandoned(cx).await?;
                promotion.sweep(cx).await?;
            }
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
    /// `Scheduled` tasks that are due become `Ready`; those whose job is gone are settled.
    async fn promote_due(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        let update = "UPDATE tasks SET state = 2, pending = 0 WHERE task_id IN (SELECT task_id FROM tasks WHERE state = 1 \
                      AND due_time <= ?1 ORDER BY due_time, task_id LIMIT ?2) \
                      AND EXISTS (SELECT 1 FROM jobs WHERE jobs.job_id = tasks.job_id)";
        let (now, limit) = (self.now.as_micros(), i64::try_from(self.left).unwrap_or(i64::MAX));
        let ready = sqlx::query(update)
            .bind(now)
            .bind(limit)
            .execute(&mut *cx.sql)
            .await?
            .rows_affected();
        let ready = usize::try_from(ready).unwrap_or(usize::MAX);
        self.promoted.ready += ready;
        self.left = self.left.saturating_sub(ready);
        // What the update left of the first ones has no job; what follows them waits for the next call.
        let select =
            select_tasks!("WHERE t.state = 1 AND due_time <= ?1 ORDER BY due_time, task_id LIMIT ?2");
        let limit = i64::try_from(self.left).unwrap_or(i64::MAX).saturating_add(1);
        let mut orphaned = read_tasks(cx, sqlx::query_scalar(select).bind(now).bind(limit)).await?;
        self.promoted.more |= orphaned.len() > self.left;
        orphaned.truncate(self.left);
        self.settle_deleted(cx, orphaned).await
    }

    /// Settles tasks whose job is gone.
    async fn settle_deleted(&mut self, cx: &mut Cx<'_>, tasks: Vec<StoredTask>) -> Result<()> {
        self.left -= tasks.len();
        let transitions = tasks
            .into_iter()
            .map(|stored| self.end(stored, TaskState::Cancelled, JOB_DELETED));
        let transitions = transitions.collect::<Vec<_>>();
        write_transitions(cx, transitions).await
    }

    /// Settles parts of broadcasts that nobody will start.
    async fn skip_abandoned(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        let mut parts = abandoned_parts(cx, self.now, self.left).await?;
        self.promoted.more |= parts.len() > self.left;
        parts.truncate(self.left);
        self.left -= parts.len();
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

    /// Looks at the gates where something waits: some in each call, one call after the other.
    async fn sweep(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        let after = cx.caches.swept_to.clone();
        let gates = waited_at(cx, after.as_ref(), GATES_AT_ONCE).await?;
        let last = gates.last().filter(|_| gates.len() == GATES_AT_ONCE).cloned();
        self.pass_gates(cx, gates).await?;
        if !self.promoted.more {
            self.promoted.more = last.is_some();
            cx.caches.swept_to = last;
        }
        Ok(())
    }

    /// Plans what is concerned by `gates`, and carries the plan out.
    async fn pass_gates(&mut self, cx: &mut Cx<'_>, gates: Vec<GateKey>) -> Result<()> {
        let connected = connected(cx, gates).await?;
        if connected.queues().next().is_none() {
            return Ok(());
        }
        self.settle_gone(cx, &connected).await?;
        let view = view(cx, &connected).await?;
        let rooms = Rooms::new(&view, self.now, self.left);
        let task_ids = first_waiting(cx, &connected, &rooms, self.now).await?;
        let waiting = tasks_by_id(cx, &task_ids.iter().collect::<Vec<_>>()).await?;
        let candidates: Vec<Candidate> = waiting.iter().map(|stored| Candidate::of(&stored.task)).collect();
        let plan = plan(&view, &candidates, self.now, self.left);
        self.promoted.more |= plan.more;
        self.carry_out(cx, plan, by_id(waiting)).await
    }

    /// Settles what waits in these queues and whose job is gone, so that it is in nobody's way.
    async fn settle_gone(&mut self, cx: &mut Cx<'_>, connected: &Connected) -> Result<()> {
        let task_ids = gone_waiting(cx, connected, self.now, self.left).await?;
        self.promoted.more |= task_ids.len() > self.left;
        let some: Vec<&TaskId> = task_ids.iter().take(self.left).collect();
        let gone = tasks_by_id(cx, &some).await?;
        self.settle_deleted(cx, gone).await
    }

    async fn carry_out(
        &mut self,
        cx: &mut Cx<'_>,
        decided: Plan,
        mut waiting: HashMap<TaskId, StoredTask>,
    ) -> Result<()> {
        for (key, arrival_time) in &decided.arrival_times {
            sqlx::query("UPDATE gates SET arrival_time = ?2 WHERE gate_key = ?1")
                .bind(key.as_str().to_owned())
                .bind(arrival_time.as_micros())
                .execute(&mut *cx.sql)
                .await?;
        }
        let mut others = occupants_of(cx, &decided, &waiting).await?;
        let mut outcome = Carried::default();
        for (task_id, step) in decided.steps {
            let Some(stored) = waiting.remove(&task_id).or_else(|| others.remove(&task_id)) else {
                continue;
            };
            match step {
                Step::Pass { due_time } => outcome.rows.push(self.pass(stored, due_time)),
                Step::Wait { until } => self.next = self.next.into_iter().chain(until).min(),
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

/// The tasks that the plan moves and that don't wait: they passed before.
async fn occupants_of(
    cx: &mut Cx<'_>,
    decided: &Plan,
    waiting: &HashMap<TaskId, StoredTask>,
) -> Result<HashMap<TaskId, StoredTask>> {
    let ids: Vec<&TaskId> = decided
        .steps
        .iter()
        .map(|(task_id, _)| task_id)
        .filter(|task_id| !waiting.contains_key(*task_id))
        .collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    tasks_by_id(cx, &ids).await.map(by_id)
}

fn by_id(tasks: Vec<StoredTask>) -> HashMap<TaskId, StoredTask> {
    let tasks = tasks.into_iter();
    tasks
        .map(|stored| (stored.task.task_id.clone(), stored))
        .collect()
}

/// The earliest instant later than now at which something that waits comes due.
async fn next_waiting(cx: &mut Cx<'_>, now: Timestamp) -> Result<Option<Timestamp>> {
    let select = "SELECT min(due_time) FROM ( \
                  SELECT (SELECT min(due_time) FROM tasks WHERE state = 1 AND due_time > ?1) AS due_time UNION ALL \
                  SELECT (SELECT min(due_time) FROM gate_tasks INDEXED BY gate_tasks_due WHERE blocked = 2 AND due_time > ?1))";
    let next: Option<i64> = sqlx::query_scalar(select)
        .bind(now.as_micros())
        .fetch_one(&mut *cx.sql)
        .await?;
    Ok(next.map(Timestamp::from_micros))
}
