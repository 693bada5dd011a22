//! Inserting tasks: mostly all at once, on the condition that they are new; where some weren't lately, what is there is
//! found first.

use std::collections::HashMap;
use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::id::{JobId, TaskId};
use jobcore::store::InsertOutcome;
use jobcore::task::{NewTask, Task, UniqueKey};
use sqlx::Row;

use super::gates::{note_gone_jobs, put_gates};
use super::lanes::lane_id;
use super::rows::{Bound, RowStatement, json_list};
use super::stored_task::{StoredTask, insert_tasks, insert_unseen_tasks};
use crate::connection::{Care, Cx, Inserts, Operation};
use crate::error::{Failure, Result};

/// Inserts tasks.
#[derive(Debug)]
pub(crate) struct InsertTasks {
    pub(crate) tasks: Vec<NewTask>,
    pub(crate) now: Timestamp,
}

#[async_trait::async_trait]
impl Operation for InsertTasks {
    type Answer = Vec<InsertOutcome>;
    const NAME: &'static str = "insert_tasks";

    fn weight(&self) -> usize {
        self.tasks.len()
    }

    fn inserts(&self) -> Option<Inserts<'_>> {
        Some(Inserts {
            tasks: &self.tasks,
            now: self.now,
        })
    }

    fn inserted(&self, outcomes: Vec<InsertOutcome>) -> Option<Self::Answer> {
        Some(outcomes)
    }

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let tasks: Vec<_> = self.tasks.iter().map(|task| (task, self.now)).collect();
        insert_new_tasks(cx, &tasks).await
    }
}

/// Names a fire's task: job, nominal time, part.
type FireKey = (JobId, i64, u32);

/// What is taken already.
#[derive(Default)]
struct Taken {
    ids: HashMap<TaskId, ()>,
    fires: HashMap<FireKey, TaskId>,
    keys: HashMap<(String, String), TaskId>,
}

/// Inserts those that aren't there, and says what is there instead of the others.
pub(crate) async fn insert_new_tasks(
    cx: &mut Cx<'_>,
    tasks: &[(&NewTask, Timestamp)],
) -> Result<Vec<InsertOutcome>> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let has_keys = tasks.iter().any(|(new, _)| new.unique_key.is_some());
    if cx.care == Care::Ordinary && !has_keys && !cx.caches.repeats.expected() {
        return insert_unseen(cx, tasks).await;
    }
    let mut taken = Taken {
        ids: taken_ids(cx, tasks).await?,
        fires: taken_fires(cx, tasks).await?,
        keys: taken_keys(cx, tasks).await?,
    };
    let mut outcomes = Vec::with_capacity(tasks.len());
    let mut rows = Vec::with_capacity(tasks.len());
    let mut keys = Vec::new();
    let mut gates = Vec::new();
    for (new, now) in tasks {
        if let Some(task_id) = taken.by(new) {
            outcomes.push(InsertOutcome::Duplicate { task_id });
            continue;
        }
        taken.take(new);
        gates.extend(&new.gates);
        keys.extend(new.unique_key.as_ref().map(|key| (key, &new.task_id, *now)));
        let lane_id = lane_id(cx, &new.lane).await?;
        let task = Task::from_new((*new).clone(), *now);
        rows.push(StoredTask {
            task,
            lane_id,
            checkpoint_changed: false,
        });
        outcomes.push(InsertOutcome::Inserted);
    }
    cx.caches.repeats.note(rows.len() < tasks.len());
    put_gates(cx, &gates).await?;
    insert_tasks(cx, &rows).await?;
    note_gone_jobs(cx, &rows).await?;
    insert_keys(cx, &keys).await?;
    Ok(outcomes)
}

/// Inserts all of them, without keys, on the condition that none of them is there.
async fn insert_unseen(cx: &mut Cx<'_>, tasks: &[(&NewTask, Timestamp)]) -> Result<Vec<InsertOutcome>> {
    let gates: Vec<_> = tasks.iter().flat_map(|(new, _)| &new.gates).collect();
    let mut rows = Vec::with_capacity(tasks.len());
    for (new, now) in tasks {
        rows.push(StoredTask {
            task: Task::from_new((*new).clone(), *now),
            lane_id: lane_id(cx, &new.lane).await?,
            checkpoint_changed: false,
        });
    }
    put_gates(cx, &gates).await?;
    insert_unseen_tasks(cx, &rows).await?;
    note_gone_jobs(cx, &rows).await?;
    Ok(vec![InsertOutcome::Inserted; tasks.len()])
}

impl Taken {
    /// The task that is there instead of `new`.
    fn by(&self, new: &NewTask) -> Option<TaskId> {
        if self.ids.contains_key(&new.task_id) {
            return Some(new.task_id.clone());
        }
        if let Some(task_id) = fire_key(new).and_then(|key| self.fires.get(&key)) {
            return Some(task_id.clone());
        }
        let key = new.unique_key.as_ref()?;
        self.keys.get(&(key.scope.clone(), key.key.clone())).cloned()
    }

    fn take(&mut self, new: &NewTask) {
        self.ids.insert(new.task_id.clone(), ());
        if let Some(key) = &new.unique_key {
            self.keys
                .insert((key.scope.clone(), key.key.clone()), new.task_id.clone());
        }
        if let Some(key) = fire_key(new) {
            self.fires.insert(key, new.task_id.clone());
        }
    }
}

fn fire_key(new: &NewTask) -> Option<FireKey> {
    Some((new.job_id.clone(), new.scheduled_for?.as_micros(), new.part))
}

async fn taken_ids(cx: &mut Cx<'_>, tasks: &[(&NewTask, Timestamp)]) -> Result<HashMap<TaskId, ()>> {
    let select = "SELECT value FROM json_each(?1) \
                  WHERE EXISTS (SELECT 1 FROM tasks WHERE task_id = value) \
                  OR EXISTS (SELECT 1 FROM job_logs WHERE task_id = value AND task_state IS NOT NULL)";
    let list = json_list(tasks.iter().map(|(new, _)| new.task_id.as_str()));
    let ids: Vec<String> = sqlx::query_scalar(select)
        .bind(list)
        .fetch_all(&mut *cx.sql)
        .await?;
    Ok(ids.into_iter().map(|id| (TaskId::from_stored(id), ())).collect())
}

const FIRES: &str = "SELECT f.column1, f.column2, f.column3, coalesce(\
                     (SELECT t.task_id FROM tasks t \
                     WHERE t.job_id = f.column1 AND t.scheduled_for = f.column2 AND t.part = f.column3), \
                     (SELECT h.task_id FROM job_logs h \
                     WHERE h.job_id = f.column1 AND h.scheduled_for = f.column2 AND h.part = f.column3)) AS task_id \
                     FROM (VALUES";
static FIND_FIRES: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::new(FIRES, 3, ") AS f WHERE task_id IS NOT NULL"));

async fn taken_fires(cx: &mut Cx<'_>, tasks: &[(&NewTask, Timestamp)]) -> Result<HashMap<FireKey, TaskId>> {
    let fires: Vec<FireKey> = tasks.iter().filter_map(|(new, _)| fire_key(new)).collect();
    let bind = |query: Bound, (job_id, at, part): &FireKey| {
        query.bind(job_id.to_shared()).bind(*at).bind(i64::from(*part))
    };
    let rows = FIND_FIRES.fetch(cx.sql, &fires, bind).await?;
    rows.iter()
        .map(|row| {
            let key = (
                JobId::from_stored(row.try_get::<&str, _>(0)?),
                row.try_get(1)?,
                super::columns::count(row, 2)?,
            );
            Ok((key, TaskId::from_stored(row.try_get::<&str, _>(3)?)))
        })
        .collect()
}

/// Keys that are taken: not expired, or of a task that lives.
async fn taken_keys(
    cx: &mut Cx<'_>,
    tasks: &[(&NewTask, Timestamp)],
) -> Result<HashMap<(String, String), TaskId>> {
    let keys: Vec<(&str, &str, i64)> = tasks
        .iter()
        .filter_map(|(new, now)| {
            new.unique_key
                .as_ref()
                .map(|key| (key.scope.as_str(), key.key.as_str(), now.as_micros()))
        })
        .collect();
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let select = "SELECT k.scope, k.key, k.task_id FROM json_each(?1) w \
                  JOIN unique_keys k ON k.scope = w.value ->> 0 AND k.key = w.value ->> 1 \
                  WHERE k.expire_time > w.value ->> 2 OR EXISTS (SELECT 1 FROM tasks t WHERE t.task_id = k.task_id)";
    let list = serde_json::to_string(&keys).map_err(Failure::corrupt)?;
    let rows = sqlx::query(select).bind(list).fetch_all(&mut *cx.sql).await?;
    rows.iter()
        .map(|row| {
            Ok((
                (row.try_get(0)?, row.try_get(1)?),
                TaskId::from_stored(row.try_get::<&str, _>(2)?),
            ))
        })
        .collect()
}

const INSERT_KEY: &str = "INSERT OR REPLACE INTO unique_keys (scope, key, task_id, expire_time)";
static INSERT_KEYS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::insert(INSERT_KEY, 4, ""));

async fn insert_keys(cx: &mut Cx<'_>, keys: &[(&UniqueKey, &TaskId, Timestamp)]) -> Result<()> {
    let bind = |query: Bound, (key, task_id, now): &(&UniqueKey, &TaskId, Timestamp)| {
        query
            .bind(key.scope.clone())
            .bind(key.key.clone())
            .bind(task_id.to_shared())
            .bind((*now + key.keep).as_micros())
    };
    INSERT_KEYS.execute(cx.sql, keys, bind).await.map(drop)
}
