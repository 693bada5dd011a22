//! Inserting tasks: all at once on the assumption that nothing of it is there; where something is, again with a look first.

use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::store::InsertOutcome;
use jobcore::task::{NewTask, Task, UniqueKey};

use super::columns::datetime;
use super::gates::put_gates;
use super::lanes::lane_id;
use super::rows::{Bound, RowStatement};
use super::stored_task::{Noted, StoredTask, insert_tasks};
use super::taken::{Taken, finished};
use crate::connection::{Access, Care, Cx, Operation};
use crate::error::{Failure, Result};

/// Inserts tasks, each with its present time.
#[derive(Debug)]
pub(crate) struct InsertTasks(pub(crate) Vec<(NewTask, Timestamp)>);

#[async_trait::async_trait]
impl Operation for InsertTasks {
    type Answer = Vec<InsertOutcome>;
    const NAME: &'static str = "insert_tasks";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let tasks: Vec<_> = self.0.iter().map(|(task, now)| (task, *now)).collect();
        insert_new_tasks(cx, &tasks).await
    }
}

/// Inserts those that aren't there, and says what is there instead of the others.
pub(crate) async fn insert_new_tasks(
    cx: &mut Cx<'_>,
    tasks: &[(&NewTask, Timestamp)],
) -> Result<Vec<InsertOutcome>> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let mut taken = match cx.care {
        Care::Ordinary => Taken::default(),
        Care::Full => Taken::look(cx, tasks).await?,
    };
    let mut outcomes = Vec::with_capacity(tasks.len());
    let mut new = Vec::with_capacity(tasks.len());
    for (task, now) in tasks {
        match taken.by(task) {
            Some(task_id) => outcomes.push(InsertOutcome::Duplicate { task_id }),
            None => {
                taken.take(task);
                new.push((*task, *now));
                outcomes.push(InsertOutcome::Inserted);
            }
        }
    }
    write(cx, &taken, &new).await?;
    Ok(outcomes)
}

/// Writes tasks that are new as far as is known. What is taken all the same is found by a unique key, or in history.
async fn write(cx: &mut Cx<'_>, taken: &Taken, tasks: &[(&NewTask, Timestamp)]) -> Result<()> {
    insert_fires(cx, tasks).await?;
    insert_keys(cx, taken, tasks).await?;
    let gates: Vec<_> = tasks.iter().flat_map(|(task, _)| &task.gates).collect();
    put_gates(cx, &gates).await?;
    let mut rows = Vec::with_capacity(tasks.len());
    for (new, now) in tasks {
        let lane_id = lane_id(cx, &new.lane, *now).await?;
        rows.push(StoredTask {
            task: Task::from_new((*new).clone(), *now),
            lane_id,
            checkpoint_changed: false,
            noted: Noted::default(),
        });
    }
    insert_tasks(cx, &rows).await?;
    // From here on nobody else inserts these ids. One that is in history became final before.
    if !finished(cx, tasks).await?.is_empty() {
        return Err(Failure::Stale);
    }
    Ok(())
}

const INSERT_FIRE: &str = "INSERT INTO fired_tasks (job_id, scheduled_for, part, task_id) VALUES";
static INSERT_FIRES: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::new(INSERT_FIRE, 4, ""));

async fn insert_fires(cx: &mut Cx<'_>, tasks: &[(&NewTask, Timestamp)]) -> Result<()> {
    let fired = tasks.iter().map(|(task, _)| *task);
    let fired: Vec<(&NewTask, Timestamp)> = fired
        .filter_map(|task| Some((task, task.scheduled_for?)))
        .collect();
    let bind = |query: Bound, (task, scheduled_for): &(&NewTask, Timestamp)| {
        query
            .bind(task.job_id.as_str().to_owned())
            .bind(datetime(*scheduled_for))
            .bind(i64::from(task.part))
            .bind(task.task_id.as_str().to_owned())
    };
    INSERT_FIRES.execute(cx.sql, &fired, bind).await?;
    Ok(())
}

const INSERT_KEY: &str = "INSERT INTO unique_keys (scope, unique_key, task_id, expire_time) VALUES";
static INSERT_KEYS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::new(INSERT_KEY, 4, ""));
/// Of keys that are there, and locked, but free again.
static REUSE_KEYS: LazyLock<RowStatement> = LazyLock::new(|| {
    let tail = "ON DUPLICATE KEY UPDATE task_id = VALUES(task_id), expire_time = VALUES(expire_time)";
    RowStatement::new(INSERT_KEY, 4, tail)
});

/// A unique key of a task, with when it expires.
type NewKey<'t> = (&'t UniqueKey, &'t NewTask, Timestamp);

async fn insert_keys(cx: &mut Cx<'_>, taken: &Taken, tasks: &[(&NewTask, Timestamp)]) -> Result<()> {
    let keys = tasks.iter().filter_map(|(task, now)| {
        let key = task.unique_key.as_ref()?;
        Some((key, *task, *now + key.keep))
    });
    let mut keys: Vec<NewKey<'_>> = keys.collect();
    // In one order, so that two who insert the same ones don't wait for each other in a ring.
    keys.sort_unstable_by(|(a, ..), (b, ..)| (&a.scope, &a.key).cmp(&(&b.scope, &b.key)));
    let (free_again, new): (Vec<_>, Vec<_>) =
        keys.into_iter().partition(|(key, ..)| taken.is_free_again(key));
    let bind = |query: Bound, (key, task, expire_time): &NewKey<'_>| {
        query
            .bind(key.scope.clone().into_bytes())
            .bind(key.key.clone().into_bytes())
            .bind(task.task_id.as_str().to_owned())
            .bind(datetime(*expire_time))
    };
    INSERT_KEYS.execute(cx.sql, &new, bind).await?;
    REUSE_KEYS.execute(cx.sql, &free_again, bind).await?;
    Ok(())
}
