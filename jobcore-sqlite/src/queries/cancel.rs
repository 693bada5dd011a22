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
use super::task_row::{read_tasks, select_tasks, tasks_by_id};
use super::transitions::{Touched, Transition, write_transitions};
use crate::connection::{Cx, Operation};
use crate::error::Result;

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

    fn weight(&self) -> usize {
        self.changes.len()
    }

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut outcomes = Vec::with_capacity(self.changes.len());
        for part in without_repetition(&self.changes, |change| &change.task_id) {
            let mut tasks =
                by_id(tasks_by_id(cx, &part.iter().map(|change| &change.task_id).collect::<Vec<_>>()).await?);
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

fn by_id(tasks: Vec<StoredTask>) -> HashMap<TaskId, StoredTask> {
    tasks
        .into_iter()
        .map(|stored| (stored.task.task_id.clone(), stored))
        .collect()
}

/// Asks to cancel tasks.
#[derive(Debug)]
pub(crate) struct Cancel(pub(crate) CancelTasks);

#[async_trait::async_trait]
impl Operation for Cancel {
    type Answer = Cancelled;
    const NAME: &'static str = "cancel_tasks";

    fn weight(&self) -> usize {
        self.0.limit
    }

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let request = &self.0;
        let mut cancelled = Cancelled::default();
        let mut touched = Touched::default();
        match &request.which {
            CancelWhich::Job(job_id) => {
                let mut tasks = unasked_tasks(cx, job_id, request.limit).await?;
                cancelled.more = tasks.len() > request.limit;
                tasks.truncate(request.limit);
                cancel_all(cx, request, tasks, &mut cancelled, &mut touched).await?;
            }
            CancelWhich::Tasks(task_ids) => {
                let first = &task_ids[..task_ids.len().min(request.limit)];
                cancelled.more = task_ids.len() > first.len();
                for part in without_repetition(first, |task_id| task_id) {
                    let mut tasks = by_id(tasks_by_id(cx, &part.iter().collect::<Vec<_>>()).await?);
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
async fn unasked_tasks(cx: &mut Cx<'_>, job_id: &JobId, limit: usize) -> Result<Vec<StoredTask>> {
    let select = select_tasks!("WHERE job_id = ?1 AND cancel_deadline IS NULL ORDER BY task_id LIMIT ?2");
    let select = sqlx::query_scalar(select)
        .bind(job_id.as_str().to_owned())
        .bind(row_limit(limit));
    read_tasks(cx, select).await
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
    write_transitions(cx, waiting.into_iter().map(end).collect()).await?;
    request_cancel(cx, &mut held, reason, request.grace, request.now).await?;
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
