//! Promotion: what is due becomes ready, and gates let pass what the pure engine says.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jobcore::Timestamp;
use jobcore::engine::gate::{Candidate, GateState, Occupant, Plan, SKIPPED, SUPERSEDED, Step, plan};
use jobcore::engine::settle::JOB_DELETED;
use jobcore::gate::{GateKey, GatePolicy};
use jobcore::id::TaskId;
use jobcore::overlap::OverlapPolicy;
use jobcore::store::{Decision, DecisionKind, PromoteRequest, Promoted};
use jobcore::task::{Rank, Task, TaskState};
use sqlx::Row;

use super::cancel::request_cancel;
use super::columns::maybe_instant;
use super::decisions::insert_decisions;
use super::stored_job::jobs_by_id;
use super::stored_task::{StoredTask, replace_tasks};
use super::task_row::{read_tasks, select_tasks, tasks_by_id};
use super::transitions::{Transition, write_transitions};
use crate::connection::{Cx, Operation};
use crate::error::{Failure, Result};

/// How many tasks of one gate are looked at in one call: more than it may move, so that tasks which another gate holds
/// back don't hide those behind them.
const MAX_CANDIDATES: i64 = 2_000;

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

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut promotion = Promotion {
            now: self.0.now,
            left: self.0.limit,
            promoted: Promoted::default(),
            next: None,
        };
        let gates = match &self.0.gates {
            Some(gates) => gates.iter().cloned().collect(),
            None => {
                promotion.promote_due(cx).await?;
                gates_with_waiting(cx).await?
            }
        };
        promotion.pass_gates(cx, gates).await?;
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
        let update = "UPDATE tasks SET state = 2 WHERE task_id IN (SELECT task_id FROM tasks WHERE state = 1 \
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

    fn end(&mut self, stored: StoredTask, state: TaskState, reason: &str) -> Transition {
        self.promoted
            .settled
            .push((stored.task.task_id.clone(), stored.task.job_id.clone(), state));
        Transition::end(stored, state, Some(reason.to_owned()), self.now)
    }

    /// Plans what is concerned by `gates`, and carries the plan out.
    async fn pass_gates(&mut self, cx: &mut Cx<'_>, gates: BTreeSet<GateKey>) -> Result<()> {
        let (view, waiting) = connected(cx, gates, self.now).await?;
        let jobs = jobs_by_id(
            cx,
            waiting
                .values()
                .map(|stored| stored.task.job_id.clone())
                .collect(),
        )
        .await?;
        let (mut waiting, mut orphaned): (BTreeMap<_, _>, Vec<StoredTask>) = (waiting, Vec::new());
        waiting.retain(|_, stored| {
            let has_job = jobs.contains_key(&stored.task.job_id);
            if !has_job {
                orphaned.push(stored.clone());
            }
            has_job
        });
        self.promoted.more |= orphaned.len() > self.left;
        orphaned.truncate(self.left);
        self.settle_deleted(cx, orphaned).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        if self.left == 0 {
            self.promoted.more = true;
            return Ok(());
        }
        let candidates: Vec<Candidate> = waiting.values().map(|stored| candidate(&stored.task)).collect();
        let mut decided = plan(&view, &candidates, self.now);
        if decided.steps.iter().filter(|(_, step)| is_move(step)).count() > self.left {
            self.promoted.more = true;
            let some = first_moved(&decided, candidates, self.left);
            decided = plan(&view, &some, self.now);
        }
        self.carry_out(cx, decided, waiting).await
    }

    async fn carry_out(
        &mut self,
        cx: &mut Cx<'_>,
        decided: Plan,
        mut waiting: BTreeMap<TaskId, StoredTask>,
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
    waiting: &BTreeMap<TaskId, StoredTask>,
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
    let tasks = tasks_by_id(cx, &ids).await?;
    Ok(tasks
        .into_iter()
        .map(|stored| (stored.task.task_id.clone(), stored))
        .collect())
}

/// All gates connected with `gates` by tasks that wait behind both, and those tasks.
async fn connected(
    cx: &mut Cx<'_>,
    gates: BTreeSet<GateKey>,
    now: Timestamp,
) -> Result<(BTreeMap<GateKey, GateState>, BTreeMap<TaskId, StoredTask>)> {
    let mut view = BTreeMap::new();
    let mut waiting = BTreeMap::new();
    let mut open = gates;
    while let Some(key) = open.pop_first() {
        if view.contains_key(&key) {
            continue;
        }
        let Some(state) = gate_state(cx, &key).await? else {
            continue;
        };
        for stored in candidates_of(cx, &key, &state, now).await? {
            open.extend(
                stored
                    .task
                    .gates
                    .iter()
                    .filter(|other| !view.contains_key(*other))
                    .cloned(),
            );
            waiting.insert(stored.task.task_id.clone(), stored);
        }
        view.insert(key, state);
    }
    Ok((view, waiting))
}

async fn gate_state(cx: &mut Cx<'_>, key: &GateKey) -> Result<Option<GateState>> {
    let select = "SELECT policy, arrival_time, \
                  (SELECT count(*) FROM gate_tasks WHERE gate_key = ?1 AND blocked = 0) FROM gates WHERE gate_key = ?1";
    let row = sqlx::query(select)
        .bind(key.as_str().to_owned())
        .fetch_optional(&mut *cx.sql)
        .await?;
    let Some(row) = row else { return Ok(None) };
    let policy: GatePolicy = serde_json::from_str(row.try_get(0)?)
        .map_err(|error| Failure::corrupt(format_args!("policy of gate {key}: {error}")))?;
    let occupants = match policy.overlap {
        OverlapPolicy::Allow => Vec::new(),
        _ => occupants(cx, key).await?,
    };
    Ok(Some(GateState {
        policy,
        arrival_time: maybe_instant(&row, 1)?,
        live: row.try_get::<i64, _>(2)?.try_into().unwrap_or(u32::MAX),
        occupants,
    }))
}

async fn occupants(cx: &mut Cx<'_>, key: &GateKey) -> Result<Vec<Occupant>> {
    let select = "SELECT t.task_id, t.state IN (3, 4), t.cancel_deadline IS NOT NULL FROM gate_tasks g \
                  JOIN tasks t ON t.task_id = g.task_id WHERE g.blocked IN (0, 1) AND g.gate_key = ?1 AND g.passed = 1";
    let rows = sqlx::query(select)
        .bind(key.as_str().to_owned())
        .fetch_all(&mut *cx.sql)
        .await?;
    rows.iter()
        .map(|row| {
            Ok(Occupant {
                task_id: TaskId::from_stored(row.try_get::<&str, _>(0)?),
                held: row.try_get(1)?,
                cancelling: row.try_get(2)?,
            })
        })
        .collect()
}

/// The due tasks behind a gate, without those that it would certainly let wait.
async fn candidates_of(
    cx: &mut Cx<'_>,
    key: &GateKey,
    state: &GateState,
    now: Timestamp,
) -> Result<Vec<StoredTask>> {
    let by_rank = select_tasks!(
        "WHERE task_id IN (SELECT task_id FROM gate_tasks WHERE gate_key = ?1 AND blocked = 1 AND due_time <= ?2 \
         ORDER BY passed DESC, rank LIMIT ?3)"
    );
    let by_due_time = select_tasks!(
        "WHERE task_id IN (SELECT task_id FROM gate_tasks WHERE gate_key = ?1 AND blocked = 1 AND due_time <= ?2 \
         ORDER BY passed DESC, due_time, rank LIMIT ?3)"
    );
    let overlap = state.policy.overlap != OverlapPolicy::Allow;
    let full = state.policy.max_live.is_some_and(|max| state.live >= max);
    if full && !overlap {
        return Ok(Vec::new());
    }
    let select = sqlx::query_scalar(if overlap { by_due_time } else { by_rank })
        .bind(key.as_str().to_owned())
        .bind(now.as_micros())
        .bind(MAX_CANDIDATES);
    read_tasks(cx, select).await
}

/// The gates where something waits, due or not: from one to the next, so that a long line behind one costs nothing.
async fn gates_with_waiting(cx: &mut Cx<'_>) -> Result<BTreeSet<GateKey>> {
    let select = "WITH RECURSIVE w(gate_key) AS ( \
                  SELECT min(gate_key) FROM gate_tasks WHERE blocked = 1 \
                  UNION ALL \
                  SELECT (SELECT min(g.gate_key) FROM gate_tasks g WHERE g.blocked = 1 AND g.gate_key > w.gate_key) \
                  FROM w WHERE w.gate_key IS NOT NULL) \
                  SELECT gate_key FROM w WHERE gate_key IS NOT NULL";
    let keys: Vec<String> = sqlx::query_scalar(select).fetch_all(&mut *cx.sql).await?;
    Ok(keys.into_iter().map(GateKey::from_stored).collect())
}

/// The earliest instant later than now at which something that waits comes due.
async fn next_waiting(cx: &mut Cx<'_>, now: Timestamp) -> Result<Option<Timestamp>> {
    let select = "SELECT min(due_time) FROM ( \
                  SELECT (SELECT min(due_time) FROM tasks WHERE state = 1 AND due_time > ?1) AS due_time UNION ALL \
                  SELECT (SELECT min(due_time) FROM gate_tasks INDEXED BY gate_tasks_due WHERE blocked = 1 AND due_time > ?1))";
    let next: Option<i64> = sqlx::query_scalar(select)
        .bind(now.as_micros())
        .fetch_one(&mut *cx.sql)
        .await?;
    Ok(next.map(Timestamp::from_micros))
}

fn candidate(task: &Task) -> Candidate {
    Candidate {
        task_id: task.task_id.clone(),
        gates: task.gates.clone(),
        passed: task.passed,
        due_time: task.due_time,
        rank: task.rank,
        create_time: task.create_time,
    }
}

const fn is_move(step: &Step) -> bool {
    matches!(step, Step::Pass { .. } | Step::Skip | Step::Cancel)
}

/// The candidates up to the one that moves as the last within the limit.
fn first_moved(decided: &Plan, candidates: Vec<Candidate>, limit: usize) -> Vec<Candidate> {
    let mut by_id: HashMap<TaskId, Candidate> = candidates
        .into_iter()
        .map(|candidate| (candidate.task_id.clone(), candidate))
        .collect();
    let mut moved = 0;
    let mut some = Vec::new();
    for (task_id, step) in &decided.steps {
        if is_move(step) {
            if moved == limit {
                break;
            }
            moved += 1;
        }
        some.extend(by_id.remove(task_id));
    }
    some
}
