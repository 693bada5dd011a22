//! Live tasks as rows: what a row holds, and how it is written.

use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::gate::GateKey;
use jobcore::job::Delivery;
use jobcore::json::Json;
use jobcore::task::{CancelRequest, Progress, StepRef, Task, TaskState};
use serde::{Deserialize, Serialize};

use super::columns::token_number;
use super::rows::{Bound, RowStatement, json_text};
use crate::connection::Cx;
use crate::error::{self, Failure, Result};

/// A task with what only its row knows.
#[derive(Clone, Debug)]
pub(crate) struct StoredTask {
    pub(crate) task: Task,
    pub(crate) lane_id: i64,
    /// Whether `task.checkpoint` is to be written; it is kept apart, and hardly ever changes.
    pub(crate) checkpoint_changed: bool,
}

impl StoredTask {
    /// Whether its row has anything in column `extra`.
    pub(crate) fn has_extra(&self) -> bool {
        let task = &self.task;
        let plain = task.gates.is_empty()
            && !task.passed
            && task.delivery == Delivery::default()
            && task.parts == 1
            && (task.orphanings, task.suspect_orphanings) == (0, 0)
            && task.cancel.is_none()
            && task.checkpoint.is_none()
            && task.progress.is_none()
            && task.step.is_none();
        debug_assert_eq!(
            plain,
            Extra::of(task) == Extra::default(),
            "all of `Extra` is looked at"
        );
        !plain
    }
}

/// What most tasks don't have, as JSON in column `extra`; NULL where nothing of it is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Extra {
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) gates: Vec<GateKey>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) passed: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) delivery: Delivery,
    /// The number of parts, if it isn't 1.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) parts: Option<u32>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) orphanings: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) suspect_orphanings: u32,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) cancel: Option<CancelRequest>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) progress: Option<Progress>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) step: Option<StepRef>,
    /// Whether there is a row in `checkpoints`.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) has_checkpoint: bool,
    /// In history, where the closing row isn't that of the latest attempt: that attempt's number.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) attempt: Option<u32>,
    /// In history, likewise: when it started.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) start_time: Option<Timestamp>,
    /// Its place in the lane, where it doesn't follow from due time and priority.
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) rank: Option<i64>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Extra {
    /// What of `task` goes there.
    pub(crate) fn of(task: &Task) -> Self {
        Self {
            gates: task.gates.clone(),
            passed: task.passed,
            delivery: task.delivery,
            parts: (task.parts != 1).then_some(task.parts),
            orphanings: task.orphanings,
            suspect_orphanings: task.suspect_orphanings,
            cancel: task.cancel.clone(),
            progress: task.progress.clone(),
            step: task.step.clone(),
            has_checkpoint: task.checkpoint.is_some(),
            attempt: None,
            start_time: None,
            rank: None,
        }
    }

    pub(crate) fn encode(&self) -> Result<Option<String>> {
        if *self == Self::default() {
            return Ok(None);
        }
        serde_json::to_string(self).map(Some).map_err(Failure::corrupt)
    }

    pub(crate) fn decode(text: Option<&str>) -> Result<Self> {
        match text {
            None => Ok(Self::default()),
            Some(text) => serde_json::from_str(text)
                .map_err(|error| Failure::corrupt(format_args!("column extra of a task: {error}"))),
        }
    }
}

/// The columns of a live task, in the order of [`bind`].
macro_rules! into_tasks {
    () => {
        "INTO tasks (task_id, job_id, lane_id, state, priority, due_time, rank, attempt, failures, token, create_time, \
         start_time, scheduled_for, part, origin, arguments, extra, cancel_deadline, pending)"
    };
}
const INSERT: &str = concat!("INSERT OR FAIL ", into_tasks!());
const REPLACE: &str = concat!("INSERT OR REPLACE ", into_tasks!());
/// That history has neither the id nor the fire: columns 1, and 2, 13 and 14.
const NOT_IN_HISTORY: &str = "AND NOT EXISTS (SELECT 1 FROM job_logs h \
                              WHERE h.task_id = column1 AND h.task_state IS NOT NULL) \
                              AND (column13 IS NULL OR NOT EXISTS (SELECT 1 FROM job_logs h \
                              WHERE h.job_id = column2 AND h.scheduled_for = column13 AND h.part = column14))";
static INSERT_TASKS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::insert(INSERT, 19, ""));
static INSERT_UNSEEN: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::insert(INSERT, 19, NOT_IN_HISTORY));
static REPLACE_TASKS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::insert(REPLACE, 19, ""));

/// Writes tasks that are known to be new.
pub(crate) async fn insert_tasks(cx: &mut Cx<'_>, tasks: &[StoredTask]) -> Result<()> {
    write(cx, &INSERT_TASKS, tasks).await.map(drop)
}

/// Writes tasks that are new, as far as anybody knows: [`Failure::Stale`] if one isn't.
pub(crate) async fn insert_unseen_tasks(cx: &mut Cx<'_>, tasks: &[StoredTask]) -> Result<()> {
    match write(cx, &INSERT_UNSEEN, tasks).await {
        Ok(written) if written == tasks.len() as u64 => Ok(()),
        Ok(_) => Err(Failure::Stale),
        Err(Failure::Sql(error)) if error::is_taken(&error) => Err(Failure::Stale),
        Err(failure) => Err(failure),
    }
}

/// Writes tasks that are there, as they are now.
pub(crate) async fn replace_tasks(cx: &mut Cx<'_>, tasks: &[StoredTask]) -> Result<()> {
    write(cx, &REPLACE_TASKS, tasks).await?;
    for stored in tasks {
        cx.caches.claims.changed(&stored.task);
    }
    let changed = tasks.iter().filter(|task| task.checkpoint_changed);
    for task in changed {
        let checkpoint = task
            .task
            .checkpoint
            .as_ref()
            .map_or("null", Json::as_str)
            .to_owned();
        sqlx::query("INSERT OR REPLACE INTO checkpoints (task_id, checkpoint) VALUES (?1, ?2)")
            .bind(task.task.task_id.to_shared())
            .bind(checkpoint)
            .execute(&mut *cx.sql)
            .await?;
    }
    Ok(())
}

async fn write(cx: &mut Cx<'_>, statement: &'static RowStatement, tasks: &[StoredTask]) -> Result<u64> {
    let mut rows = Vec::with_capacity(tasks.len());
    for task in tasks {
        let extra = if task.has_extra() {
            Extra::of(&task.task).encode()?
        } else {
            None
        };
        rows.push((task, extra));
    }
    let written = statement
        .execute(cx.sql, &rows, |query, (task, extra)| {
            bind(query, task, extra.clone())
        })
        .await?;
    super::gates::mirror(cx, tasks).await?;
    Ok(written)
}

/// Whether a task lies apart, since it can't be claimed yet.
fn is_pending(state: TaskState) -> bool {
    matches!(state, TaskState::Blocked | TaskState::Scheduled)
}

fn bind(query: Bound, stored: &StoredTask, extra: Option<String>) -> Bound {
    let task = &stored.task;
    query
        .bind(task.task_id.to_shared())
        .bind(task.job_id.to_shared())
        .bind(stored.lane_id)
        .bind(i64::from(task.state.code()))
        .bind(task.priority)
        .bind(task.due_time.as_micros())
        .bind(task.rank.0)
        .bind(i64::from(task.attempt))
        .bind(i64::from(task.failures))
        .bind(token_number(task.token))
        .bind(task.create_time.as_micros())
        .bind(task.start_time.map(Timestamp::as_micros))
        .bind(task.scheduled_for.map(Timestamp::as_micros))
        .bind(i64::from(task.part))
        .bind(i64::from(task.origin.code()))
        .bind(json_text(task.arguments.as_ref()))
        .bind(extra)
        .bind(task.cancel.as_ref().map(|cancel| cancel.deadline.as_micros()))
        .bind(is_pending(task.state))
}
