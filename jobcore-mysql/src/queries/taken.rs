//! What of tasks to insert is taken: their id, their fire, or their unique key.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::id::{JobId, TaskId};
use jobcore::task::{NewTask, UniqueKey};
use sqlx::Row;

use super::columns::{binary_text, count, datetime, instant};
use super::rows::{Bound, RowStatement};
use crate::connection::Cx;
use crate::error::Result;

/// Names a fire's task: job, nominal time, part.
type FireKey = (JobId, Timestamp, u32);

/// Names a unique key: scope, key.
type Key = (String, String);

/// What is taken already.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    ids: HashSet<TaskId>,
    fires: HashMap<FireKey, TaskId>,
    keys: HashMap<Key, TaskId>,
    /// Keys that are there, and locked, but have expired with their tasks.
    free_again: HashSet<Key>,
}

impl Taken {
    /// Looks for all that `tasks` would take.
    pub(crate) async fn look(cx: &mut Cx<'_>, tasks: &[(&NewTask, Timestamp)]) -> Result<Self> {
        // First among the live, then in history: what moves from one to the other meanwhile is seen.
        let mut taken = Self {
            ids: live(cx, tasks.iter().map(|(task, _)| &task.task_id).collect()).await?,
            ..Self::default()
        };
        taken.ids.extend(finished(cx, tasks).await?);
        taken.look_for_fires(cx, tasks).await?;
        taken.look_for_keys(cx, tasks).await?;
        Ok(taken)
    }

    /// The task that is there instead of `new`.
    pub(crate) fn by(&self, new: &NewTask) -> Option<TaskId> {
        if self.ids.contains(&new.task_id) {
            return Some(new.task_id.clone());
        }
        if let Some(task_id) = fire_key(new).and_then(|key| self.fires.get(&key)) {
            return Some(task_id.clone());
        }
        self.keys.get(&name(new.unique_key.as_ref()?)).cloned()
    }

    /// Notes what a task takes that is about to be inserted.
    pub(crate) fn take(&mut self, new: &NewTask) {
        self.ids.insert(new.task_id.clone());
        if let Some(key) = &new.unique_key {
            self.keys.insert(name(key), new.task_id.clone());
        }
        if let Some(key) = fire_key(new) {
            self.fires.insert(key, new.task_id.clone());
        }
    }

    /// Whether a key is there and can be taken over.
    pub(crate) fn is_free_again(&self, key: &UniqueKey) -> bool {
        !self.free_again.is_empty() && self.free_again.contains(&name(key))
    }

    async fn look_for_fires(&mut self, cx: &mut Cx<'_>, tasks: &[(&NewTask, Timestamp)]) -> Result<()> {
        let fires: Vec<FireKey> = tasks.iter().filter_map(|(new, _)| fire_key(new)).collect();
        let bind = |query: Bound, (job_id, scheduled_for, part): &FireKey| {
            query
                .bind(job_id.as_str().to_owned())
                .bind(datetime(*scheduled_for))
                .bind(i64::from(*part))
        };
        for row in FIND_FIRES.fetch(cx.sql, &fires, bind).await? {
            let key = (
                JobId::from_stored(row.try_get::<&str, _>(0)?),
                instant(&row, 1)?,
                count(&row, 2)?,
            );
            self.fires
                .insert(key, TaskId::from_stored(row.try_get::<&str, _>(3)?));
        }
        Ok(())
    }

    /// Keys are taken that haven't expired, or whose task lives.
    async fn look_for_keys(&mut self, cx: &mut Cx<'_>, tasks: &[(&NewTask, Timestamp)]) -> Result<()> {
        let mut keys: Vec<(Key, Timestamp)> = tasks
            .iter()
            .filter_map(|(new, now)| Some((name(new.unique_key.as_ref()?), *now)))
            .collect();
        keys.sort_unstable();
        let bind = |query: Bound, ((scope, key), _): &(Key, Timestamp)| {
            query
                .bind(scope.clone().into_bytes())
                .bind(key.clone().into_bytes())
        };
        let mut found = Vec::new();
        for row in FIND_KEYS.fetch(cx.sql, &keys, bind).await? {
            let key = (binary_text(&row, 0)?, binary_text(&row, 1)?);
            let task_id = TaskId::from_stored(row.try_get::<&str, _>(2)?);
            found.push((key, task_id, instant(&row, 3)?));
        }
        let live = live(cx, found.iter().map(|(_, task_id, _)| task_id).collect()).await?;
        let now: HashMap<Key, Timestamp> = keys.into_iter().collect();
        for (key, task_id, expire_time) in found {
            let expired = now.get(&key).is_some_and(|now| expire_time <= *now);
            if expired && !live.contains(&task_id) {
                self.free_again.insert(key);
            } else {
                self.keys.insert(key, task_id);
            }
        }
        Ok(())
    }
}

fn fire_key(new: &NewTask) -> Option<FireKey> {
    Some((new.job_id.clone(), new.scheduled_for?, new.part))
}

fn name(key: &UniqueKey) -> Key {
    (key.scope.clone(), key.key.clone())
}

static FIND_LIVE: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::list(
        "SELECT task_id FROM tasks FORCE INDEX (tasks_id) WHERE task_id IN",
        "",
    )
});
static FIND_FINISHED: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = "SELECT task_id FROM job_logs FORCE INDEX (job_logs_task) WHERE task_id IN";
    RowStatement::list(select, "AND task_state IS NOT NULL")
});
static FIND_FIRES: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::any(
        "SELECT job_id, scheduled_for, part, task_id FROM fired_tasks FORCE INDEX (PRIMARY) WHERE",
        "(job_id = ? AND scheduled_for = ? AND part = ?)",
        "",
    )
});
static FIND_KEYS: LazyLock<RowStatement> = LazyLock::new(|| {
    RowStatement::any(
        "SELECT scope, unique_key, task_id, expire_time FROM unique_keys FORCE INDEX (PRIMARY) WHERE",
        "(scope = ? AND unique_key = ?)",
        "ORDER BY scope, unique_key FOR UPDATE",
    )
});

/// Which of these tasks live.
pub(crate) async fn live(cx: &mut Cx<'_>, task_ids: Vec<&TaskId>) -> Result<HashSet<TaskId>> {
    let bind = |query: Bound, task_id: &&TaskId| query.bind(task_id.as_str().to_owned());
    let rows = FIND_LIVE.fetch(cx.sql, &task_ids, bind).await?;
    rows.iter()
        .map(|row| Ok(TaskId::from_stored(row.try_get::<&str, _>(0)?)))
        .collect()
}

/// Which of these tasks are in history.
pub(crate) async fn finished(cx: &mut Cx<'_>, tasks: &[(&NewTask, Timestamp)]) -> Result<Vec<TaskId>> {
    let bind = |query: Bound, (task, _): &(&NewTask, Timestamp)| query.bind(task.task_id.as_str().to_owned());
    let rows = FIND_FINISHED.fetch(cx.sql, tasks, bind).await?;
    rows.iter()
        .map(|row| Ok(TaskId::from_stored(row.try_get::<&str, _>(0)?)))
        .collect()
}
