//! Changes and cancellations of live tasks.

use std::collections::HashMap;
use std::time::Duration;

use jobcore::Timestamp;
use jobcore::id::{JobId, TaskId};
use jobcore::store::{CancelTasks, CancelWhich, Cancelled, ChangeOutcome, ChangeTask};
use jobcore::task::{CancelRequest, Rank, Task, TaskState};

use super::gates::waiting_gates;
use super::listing::row_limit;
use super::settle::without_repetition;
use super::stored_job::jobs_by_id;
use super::stored_task::{StoredTask, replace_tasks};
use super::taken::live;
use super::task_row::{Lock, tasks_by_id};
use super::transitions::{Touched, Transition, write_transitions};
use crate::connection::{Access, Cx, Operation};
use crate::error::{Failure, Result};

/// The cancel grace of tasks whose job is gone: what jobs have by default.
const GRACE_WITHOUT_JOB: Duration = Duration::from_secs(30);

/// Changes waiting tasks.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) changes: Vec<ChangeTask>,
    pub(crate) now: Timestamp,
}

#[async_trait::async_trait]
impl Operation for Change {
    type Answer = Vec<ChangeOutcome>;
    const NAME: &'static str = "change_tasks";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut outcomes = Vec::with_capacity(self.changes.len());
        for part in without_repetition(&self.changes, |change| &change.task_id) {
            let task_ids: Vec<&TaskId> = part.iter().map(|change| &change.task_id).collect();
            let mut tasks = locked(cx, &task_ids).await?;
            let mut rows = Vec::with_capacity(part.len());
            for change in part {
                outcomes.push(match tasks.remove(&change.task_id) {
                    None => ChangeOutcome::NotWaiting,
                    Some(stored) if stored.task.state.is_held() => ChangeOutcome::Held,
                    Some(stored) => {
                        rows.push(changed(stored, change, self.now));
                        ChangeOutcome::Changed
                    }
                });
            }
            replace_tasks(cx, &rows).await?;
        }
        Ok(outcomes)
    }
}

fn changed(mut stored: StoredTask, change: &ChangeTask, now: Timestamp) -> StoredTask {
    let task = &mut stored.task;
    task.priority = change.priority.unwrap_or(task.priority);
    task.due_time = change.due_time.unwrap_or(task.due_time);
    task.rank = Rank::new(task.due_time, task.priority);
    task.state = Task::waiting_state(task.state == TaskState::Blocked, task.due_time, now);
    stored
}

/// The live ones of these tasks, locked, by id.
///
/// Who waits for the lock of a row misses it if its place in the lane changed meanwhile, as the index entry that it waited
/// for is dead then and the new one may lie before it. So those that weren't there are looked for again.
async fn locked(cx: &mut Cx<'_>, task_ids: &[&TaskId]) -> Result<HashMap<TaskId, StoredTask>> {
    let tasks: HashMap<TaskId, StoredTask> = tasks_by_id(cx, task_ids, Lock::Update)
        .await?
        .into_iter()
        .map(|stored| (stored.task.task_id.clone(), stored))
        .collect();
    let missing = task_ids
        .iter()
        .copied()
        .filter(|task_id| !tasks.contains_key(*task_id));
    if live(cx, missing.collect()).await?.is_empty() {
        Ok(tasks)
    } else {
        Err(Failure::Stale)
    }
}

/// Asks to cancel tasks.
#[derive(Debug)]
pub(crate) struct Cancel(pub(crate) CancelTasks);

#[async_trait::async_trait]
impl Operation for Cancel {
    type Answer = Cancelled;
    const NAME: &'static str = "cancel_tasks";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let request = &self.0;
        let mut cancelled = Cancelled::default();
        let mut touched = Touched::default();
        match &request.which {
            CancelWhich::Job(job_id) => {
                let mut task_ids = unasked_tasks(cx, job_id, request.limit).await?;
                cancelled.more = task_ids.len() > request.limit;
                task_ids.truncate(request.limit);
                let tasks = locked(cx, &task_ids.iter().collect::<Vec<_>>()).await?;
                // As they are under the lock; what ended meanwhile needs no request.
                let unasked = tasks.into_values().filter(|stored| stored.task.cancel.is_none());
                let mut tasks: Vec<StoredTask> = unasked.collect();
                tasks.sort_unstable_by(|a, b| a.task.task_id.cmp(&b.task.task_id));
                cancel_all(cx, request, tasks, &mut cancelled, &mut touched).await?;
            }
            CancelWhich::Tasks(task_ids) => {
                let first = &task_ids[..task_ids.len().min(request.limit)];
                cancelled.more = task_ids.len() > first.len();
                for part in without_repetition(first, |task_id| task_id) {
                    let mut tasks = locked(cx, &part.iter().collect::<Vec<_>>()).await?;
                    let mut live = Vec::with_capacity(part.len());
                    for task_id in part {
                        match tasks.remove(task_id) {
                            Some(stored) => live.push(stored),
                            None => cancelled.not_live.push(task_id.clone()),
                        }
                    }
                    cancel_all(cx, request, live, &mut cancelled, &mut touched).await?;
                }
            }
        }
        cancelled.gates = waiting_gates(cx, &touched.keys(), request.now)
            .await?
            .into_iter()
            .collect();
        Ok(cancelled)
    }
}

/// Live tasks of a job that nobody asked to cancel, by id, one more than `limit`.
///
/// By a look at all live tasks, without locks: an index by job would cost every task, and this is rare (a million tasks
/// take about half a second).
async fn unasked_tasks(cx: &mut Cx<'_>, job_id: &JobId, limit: usize) -> Result<Vec<TaskId>> {
    let select = "SELECT t.task_id FROM tasks t IGNORE INDEX (tasks_id) \
                  LEFT JOIN cancel_requests c ON c.task_id = t.task_id \
                  WHERE t.job_id = ? AND c.task_id IS NULL ORDER BY t.task_id LIMIT ?";
    let task_ids: Vec<String> = sqlx::query_scalar(select)
        .bind(job_id.as_str().to_owned())
        .bind(row_limit(limit))
        .fetch_all(&mut *cx.sql)
        .await?;
    Ok(task_ids.into_iter().map(TaskId::from_stored).collect())
}

async fn cancel_all(
    cx: &mut Cx<'_>,
    request: &CancelTasks,
    tasks: Vec<StoredTask>,
    cancelled: &mut Cancelled,
    touched: &mut Touched,
) -> Result<()> {
    let (waiting, mut held): (Vec<_>, Vec<_>) = tasks
        .into_iter()
        .partition(|stored| stored.task.state.is_waiting());
    cancelled.settled.extend(
        waiting
            .iter()
            .map(|stored| (stored.task.task_id.clone(), stored.task.job_id.clone())),
    );
    cancelled
        .requested
        .extend(held.iter().map(|stored| stored.task.task_id.clone()));
    waiting.iter().for_each(|stored| touched.add(&stored.task));
    let reason = &request.reason;
    let end = |stored| Transition::end(stored, TaskState::Cancelled, Some(reason.clone()), request.now);
    request_cancel(cx, &mut held, reason, request.grace, request.now).await?;
    write_transitions(cx, waiting.into_iter().map(end).collect()).await?;
    replace_tasks(cx, &held).await
}

/// Puts requests to cancel into held tasks, to end within `grace`, or what their jobs say. A second request can only
/// bring the deadline forward.
pub(crate) async fn request_cancel(
    cx: &mut Cx<'_>,
    tasks: &mut [StoredTask],
    reason: &str,
    grace: Option<Duration>,
    now: Timestamp,
) -> Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    let jobs = jobs_by_id(
        cx,
        tasks.iter().map(|stored| stored.task.job_id.clone()).collect(),
    )
    .await?;
    for StoredTask { task, .. } in tasks {
        let job_says = || {
            jobs.get(&task.job_id)
                .map_or(GRACE_WITHOUT_JOB, |job| job.definition.cancel_grace)
        };
        let deadline = now + grace.unwrap_or_else(job_says);
        task.cancel = Some(match task.cancel.take() {
            None => CancelRequest {
                request_time: now,
                deadline,
                reason: reason.to_owned(),
            },
            Some(old) => CancelRequest {
                deadline: old.deadline.min(deadline),
                ..old
            },
        });
    }
    Ok(())
}
