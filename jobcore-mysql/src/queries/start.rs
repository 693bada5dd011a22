//! Starts that are recorded before the handler runs, and what running attempts save.

use std::collections::HashMap;

use jobcore::engine::record::begun;
use jobcore::engine::settle::holds;
use jobcore::id::TaskId;
use jobcore::store::{SaveOutcome, SaveProgress, Start, StartOutcome};
use jobcore::task::TaskState;

use super::settle::without_repetition;
use super::stored_log::{NewLog, insert_logs};
use super::stored_task::{StoredTask, replace_tasks};
use super::task_row::{Lock, tasks_by_id};
use crate::connection::{Access, Cx, Operation};
use crate::error::Result;

/// Records that attempts began.
#[derive(Debug)]
pub(crate) struct StartTasks(pub(crate) Vec<Start>);

#[async_trait::async_trait]
impl Operation for StartTasks {
    type Answer = Vec<StartOutcome>;
    const NAME: &'static str = "start";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut outcomes = Vec::with_capacity(self.0.len());
        for part in without_repetition(&self.0, |start| &start.fence.task_id) {
            let mut tasks = held_tasks(
                cx,
                &part.iter().map(|start| &start.fence.task_id).collect::<Vec<_>>(),
            )
            .await?;
            let mut started = Vec::with_capacity(part.len());
            let mut logs = Vec::with_capacity(part.len());
            for start in part {
                let stored = tasks.remove(&start.fence.task_id);
                let (outcome, row) = begin(stored, start);
                outcomes.push(outcome);
                if let Some(row) = row {
                    let attempt = begun(&row.task, &start.fence, start.start_time);
                    logs.push(NewLog::Attempt(attempt));
                    started.push(row);
                }
            }
            insert_logs(cx, &logs).await?;
            replace_tasks(cx, &started).await?;
        }
        Ok(outcomes)
    }
}

/// What a start makes of a task, with its new row if it changes.
fn begin(stored: Option<StoredTask>, start: &Start) -> (StartOutcome, Option<StoredTask>) {
    let Some(mut stored) = stored.filter(|stored| holds(&stored.task, &start.fence)) else {
        return (StartOutcome::Fenced, None);
    };
    if stored.task.state == TaskState::Running {
        return (StartOutcome::Started, None);
    }
    if stored.task.cancel.is_some() {
        return (StartOutcome::CancelRequested, None);
    }
    stored.task.state = TaskState::Running;
    stored.task.start_time = Some(start.start_time);
    (StartOutcome::Started, Some(stored))
}

async fn held_tasks(cx: &mut Cx<'_>, task_ids: &[&TaskId]) -> Result<HashMap<TaskId, StoredTask>> {
    let tasks = tasks_by_id(cx, task_ids, Lock::Update).await?;
    Ok(tasks
        .into_iter()
        .map(|stored| (stored.task.task_id.clone(), stored))
        .collect())
}

/// Saves checkpoints and progress.
#[derive(Debug)]
pub(crate) struct Save(pub(crate) Vec<SaveProgress>);

#[async_trait::async_trait]
impl Operation for Save {
    type Answer = Vec<SaveOutcome>;
    const NAME: &'static str = "save";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut outcomes = Vec::with_capacity(self.0.len());
        for part in without_repetition(&self.0, |update| &update.fence.task_id) {
            let mut tasks = held_tasks(
                cx,
                &part
                    .iter()
                    .map(|update| &update.fence.task_id)
                    .collect::<Vec<_>>(),
            )
            .await?;
            let mut rows = Vec::with_capacity(part.len());
            for update in part {
                let stored = tasks.remove(&update.fence.task_id);
                let Some(mut stored) = stored.filter(|stored| holds(&stored.task, &update.fence)) else {
                    outcomes.push(SaveOutcome::Fenced);
                    continue;
                };
                if let Some(checkpoint) = &update.checkpoint {
                    stored.task.checkpoint = Some(checkpoint.clone());
                    stored.checkpoint_changed = true;
                }
                if let Some(progress) = &update.progress {
                    stored.task.progress = Some(progress.clone());
                }
                outcomes.push(SaveOutcome::Saved);
                rows.push(stored);
            }
            replace_tasks(cx, &rows).await?;
        }
        Ok(outcomes)
    }
}
