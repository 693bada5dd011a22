//! Live tasks as rows: what a row holds, and how it is written.

use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::gate::GateKey;
use jobcore::job::Delivery;
use jobcore::json::Json;
use jobcore::task::{CancelRequest, Progress, StepRef, Task, TaskState};
use serde::{Deserialize, Serialize};

use super::columns::{code_number, datetime, json_text, maybe_datetime, token_number};
use super::rows::{Bound, RowStatement};
use super::stored_log::portions;
use crate::connection::Cx;
use crate::error::{Failure, Result};

/// A task with what only its row knows.
#[derive(Clone, Debug)]
pub(crate) struct StoredTask {
    pub(crate) task: Task,
    pub(crate) lane_id: i64,
    /// Whether `task.checkpoint` is to be written; it is kept apart, and hardly ever changes.
    pub(crate) checkpoint_changed: bool,
    /// What other tables hold of it, as it was read.
    pub(crate) noted: Noted,
}

/// Which tables beside `tasks` have a row about a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    /// `scheduled_tasks`: it waits for its due time.
    pub(crate) scheduled: bool,
    /// `cancel_requests`: it is held, and to be cancelled.
    pub(crate) cancel_request: bool,
}

impl Noted {
    /// What is noted of a task in this state.
    pub(crate) fn of(task: &Task) -> Self {
        Self {
            scheduled: task.state == TaskState::Scheduled,
            cancel_request: task.state.is_held() && task.cancel.is_some(),
        }
    }
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
        "INSERT INTO tasks (task_id, job_id, lane_id, state, priority, due_time, task_rank, attempt, failures, token, \
         create_time, start_time, scheduled_for, part, origin, arguments, extra, pending) VALUES"
    };
}
/// What a change of a live task can change. Its place may: then the row moves there.
const ON_DUPLICATE: &str = "ON DUPLICATE KEY UPDATE lane_id = VALUES(lane_id), state = VALUES(state), \
                            priority = VALUES(priority), due_time = VALUES(due_time), \
                            task_rank = VALUES(task_rank), attempt = VALUES(attempt), failures = VALUES(failures), \
                            token = VALUES(token), start_time = VALUES(start_time), extra = VALUES(extra), \
                            pending = VALUES(pending)";
static INSERT_TASKS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::new(into_tasks!(), 18, ""));
static UPDATE_TASKS: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::new(into_tasks!(), 18, ON_DUPLICATE));

/// Writes tasks that are new. Those that wait for their due time are noted; gates get to know those that they concern.
///
/// # Errors
/// Of a duplicate key where one of the ids is taken: then none is written.
pub(crate) async fn insert_tasks(cx: &mut Cx<'_>, tasks: &[StoredTask]) -> Result<()> {
    for portion in portions(&rows(tasks)?, text_bytes) {
        INSERT_TASKS.execute(cx.sql, portion, bind).await?;
    }
    follow(cx, tasks).await
}

/// Writes tasks that are there, and whose rows the caller has locked, as they are now.
pub(crate) async fn replace_tasks(cx: &mut Cx<'_>, tasks: &[StoredTask]) -> Result<()> {
    for portion in portions(&rows(tasks)?, text_bytes) {
        UPDATE_TASKS.execute(cx.sql, portion, bind).await?;
    }
    forget_notes(cx, tasks).await?;
    for stored in tasks {
        cx.caches().claims.lock().changed(&stored.task);
    }
    for stored in tasks.iter().filter(|stored| stored.checkpoint_changed) {
        let checkpoint = stored.task.checkpoint.as_ref().map_or("null", Json::as_str);
        sqlx::query("REPLACE INTO checkpoints (task_id, checkpoint) VALUES (?, ?)")
            .bind(stored.task.task_id.as_str().to_owned())
            .bind(checkpoint.to_owned())
            .execute(&mut *cx.sql)
            .await?;
    }
    follow(cx, tasks).await
}

/// What stands in other tables about tasks that were written.
async fn follow(cx: &mut Cx<'_>, tasks: &[StoredTask]) -> Result<()> {
    note_scheduled(cx, tasks).await?;
    note_cancel_requests(cx, tasks).await?;
    let ready = tasks
        .iter()
        .filter(|stored| stored.task.state == TaskState::Ready);
    for stored in ready {
        cx.learned.ready(stored.lane_id, stored.task.rank);
    }
    super::gates::mirror(cx, tasks).await
}

const NOTE_SCHEDULED: &str = "INSERT INTO scheduled_tasks (task_id, due_time) VALUES";
static NOTE_SCHEDULED_TASKS: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::new(
        NOTE_SCHEDULED,
        2,
        "ON DUPLICATE KEY UPDATE due_time = VALUES(due_time)",
    )
});

async fn note_scheduled(cx: &mut Cx<'_>, tasks: &[StoredTask]) -> Result<()> {
    let waiting = tasks.iter().map(|stored| &stored.task);
    let waiting: Vec<&Task> = waiting
        .filter(|task| task.state == TaskState::Scheduled)
        .collect();
    let bind = |query: Bound, task: &&Task| {
        query
            .bind(task.task_id.as_str().to_owned())
            .bind(datetime(task.due_time))
    };
    NOTE_SCHEDULED_TASKS.execute(cx.sql, &waiting, bind).await?;
    Ok(())
}

const NOTE_REQUESTS: &str = "INSERT INTO cancel_requests (task_id, deadline) VALUES";
static NOTE_CANCEL_REQUESTS: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::new(
        NOTE_REQUESTS,
        2,
        "ON DUPLICATE KEY UPDATE deadline = VALUES(deadline)",
    )
});

async fn note_cancel_requests(cx: &mut Cx<'_>, tasks: &[StoredTask]) -> Result<()> {
    let asked = tasks.iter().map(|stored| &stored.task);
    let asked = asked.filter(|task| task.state.is_held());
    let asked: Vec<(&Task, Timestamp)> = asked
        .filter_map(|task| Some((task, task.cancel.as_ref()?.deadline)))
        .collect();
    let bind = |query: Bound, (task, deadline): &(&Task, Timestamp)| {
        query
            .bind(task.task_id.as_str().to_owned())
            .bind(datetime(*deadline))
    };
    NOTE_CANCEL_REQUESTS.execute(cx.sql, &asked, bind).await?;
    Ok(())
}

static FORGET_SCHEDULED: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "DELETE s FROM scheduled_tasks s FORCE INDEX (PRIMARY) WHERE s.task_id IN",
        "",
    )
});
static FORGET_REQUESTS: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "DELETE r FROM cancel_requests r FORCE INDEX (PRIMARY) WHERE r.task_id IN",
        "",
    )
});

/// Forgets what was noted of tasks by what they were before: see [`StoredTask::noted`].
async fn forget_notes(cx: &mut Cx<'_>, tasks: &[StoredTask]) -> Result<()> {
    let due = tasks
        .iter()
        .filter(|stored| stored.noted.scheduled && stored.task.state != TaskState::Scheduled);
    let asked = tasks.iter().filter(|stored| {
        stored.noted.cancel_request && !(stored.task.state.is_held() && stored.task.cancel.is_some())
    });
    let (due, asked): (Vec<_>, Vec<_>) = (due.collect(), asked.collect());
    let bind = |query: Bound, stored: &&StoredTask| query.bind(stored.task.task_id.as_str().to_owned());
    FORGET_SCHEDULED.execute(cx.sql, &due, bind).await?;
    FORGET_REQUESTS.execute(cx.sql, &asked, bind).await?;
    Ok(())
}

/// Forgets all that was noted of tasks that are taken out of the live ones.
pub(crate) async fn forget_all_notes(cx: &mut Cx<'_>, tasks: &[&StoredTask]) -> Result<()> {
    let due: Vec<_> = tasks.iter().filter(|stored| stored.noted.scheduled).collect();
    let asked: Vec<_> = tasks
        .iter()
        .filter(|stored| stored.noted.cancel_request)
        .collect();
    let bind = |query: Bound, stored: &&&StoredTask| query.bind(stored.task.task_id.as_str().to_owned());
    FORGET_SCHEDULED.execute(cx.sql, &due, bind).await?;
    FORGET_REQUESTS.execute(cx.sql, &asked, bind).await?;
    Ok(())
}

/// A task with its column `extra`.
type Row<'t> = (&'t StoredTask, Option<String>);

fn rows(tasks: &[StoredTask]) -> Result<Vec<Row<'_>>> {
    let mut rows = Vec::with_capacity(tasks.len());
    for stored in tasks {
        rows.push((stored, Extra::of(&stored.task).encode()?));
    }
    Ok(rows)
}

fn text_bytes((stored, extra): &Row<'_>) -> usize {
    let arguments = stored.task.arguments.as_ref();
    arguments.map_or(0, |arguments| arguments.as_str().len()) + extra.as_ref().map_or(0, String::len)
}

/// Whether a task lies apart, since it can't be claimed yet.
fn is_pending(state: TaskState) -> bool {
    matches!(state, TaskState::Blocked | TaskState::Scheduled)
}

fn bind(query: Bound, (stored, extra): &Row<'_>) -> Bound {
    let task = &stored.task;
    query
        .bind(task.task_id.as_str().to_owned())
        .bind(task.job_id.as_str().to_owned())
        .bind(stored.lane_id)
        .bind(code_number(task.state.code()))
        .bind(task.priority)
        .bind(datetime(task.due_time))
        .bind(task.rank.0)
        .bind(i64::from(task.attempt))
        .bind(i64::from(task.failures))
        .bind(token_number(task.token))
        .bind(datetime(task.create_time))
        .bind(maybe_datetime(task.start_time))
        .bind(maybe_datetime(task.scheduled_for))
        .bind(i64::from(task.part))
        .bind(code_number(task.origin.code()))
        .bind(json_text(task.arguments.as_ref()))
        .bind(extra.clone())
        .bind(is_pending(task.state))
}
