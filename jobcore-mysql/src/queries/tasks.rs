//! Reading tasks: by id, live or from history; live ones by filter; and their counts.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use jobcore::id::{ExecutorId, TaskId};
use jobcore::store::{Page, PageRequest, TaskCount, TaskFilter};
use jobcore::task::{Task, TaskState};
use sqlx::Row;
use tokio::time::Instant;

use super::columns::{code, instant};
use super::lanes::{lane, load_lanes};
use super::leases::StoredLease;
use super::listing::{page, row_limit};
use super::rows::{Bound, RowStatement, made};
use super::stored_log::{finished_columns, read_finished};
use super::stored_task::StoredTask;
use super::task_row::{Lock, tasks_by_id};
use crate::connection::{Access, Cx, Operation};
use crate::error::Result;

/// The tasks with these ids.
#[derive(Debug)]
pub(crate) struct GetTasks(pub(crate) Vec<TaskId>);

const FINISHED: &str = concat!(
    "SELECT ",
    finished_columns!(),
    " FROM job_logs FORCE INDEX (job_logs_task) WHERE task_id IN"
);
static FIND_FINISHED: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::list(FINISHED, "AND task_state IS NOT NULL"));

#[async_trait::async_trait]
impl Operation for GetTasks {
    type Answer = Vec<Option<Task>>;
    const NAME: &'static str = "get_tasks";
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        // Live ones first: a task that moves to history in between is found there, never missed. One that gets another
        // place among the live ones is in one of them, as a statement sees one state of the table.
        let mut tasks: HashMap<TaskId, Task> = live_tasks(cx, &self.0.iter().collect::<Vec<_>>())
            .await?
            .into_iter()
            .map(|stored| (stored.task.task_id.clone(), stored.task))
            .collect();
        let missing: Vec<&TaskId> = self.0.iter().filter(|id| !tasks.contains_key(*id)).collect();
        let bind = |query: Bound, task_id: &&TaskId| query.bind(task_id.as_str().to_owned());
        let rows = FIND_FINISHED.fetch(cx.sql, &missing, bind).await?;
        let finished = read_finished(cx, &rows).await?;
        tasks.extend(finished.into_iter().map(|(_, task)| (task.task_id.clone(), task)));
        Ok(self.0.iter().map(|task_id| tasks.get(task_id).cloned()).collect())
    }
}

/// The live ones of these tasks, each whole: a lease is read after its tasks, and may have ended in between; then they are
/// read again.
async fn live_tasks(cx: &mut Cx<'_>, task_ids: &[&TaskId]) -> Result<Vec<StoredTask>> {
    let mut tasks = tasks_by_id(cx, task_ids, Lock::Plain).await?;
    let is_torn = |stored: &StoredTask| stored.task.state.is_held() && stored.task.holder.is_none();
    let torn = tasks.iter().filter(|stored| is_torn(stored));
    let torn: Vec<TaskId> = torn.map(|stored| stored.task.task_id.clone()).collect();
    if !torn.is_empty() {
        tasks.retain(|stored| !is_torn(stored));
        tasks.append(&mut tasks_by_id(cx, &torn.iter().collect::<Vec<_>>(), Lock::Plain).await?);
    }
    Ok(tasks)
}

/// Live tasks that match a filter.
#[derive(Debug)]
pub(crate) struct ListTasks {
    pub(crate) filter: TaskFilter,
    pub(crate) page: PageRequest,
}

#[async_trait::async_trait]
impl Operation for ListTasks {
    type Answer = Page<Task>;
    const NAME: &'static str = "list_tasks";
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let limit = self.page.limit;
        let mut after = self
            .page
            .cursor
            .as_ref()
            .map_or(String::new(), |cursor| cursor.0.clone());
        let mut tasks: Vec<Task> = Vec::new();
        // What changed between the look for ids and the reading of tasks no longer matches: the next ones take its place.
        while tasks.len() <= limit {
            let task_ids = match &self.filter.executor_id {
                Some(executor_id) => held_by(cx, executor_id, &after, limit).await?,
                None => self.matching(cx, &after).await?,
            };
            let Some(last) = task_ids.last() else { break };
            last.as_str().clone_into(&mut after);
            let found = live_tasks(cx, &task_ids.iter().collect::<Vec<_>>()).await?;
            let mut found: Vec<Task> = found.into_iter().map(|stored| stored.task).collect();
            found.retain(|task| self.matches(task));
            found.sort_unstable_by(|a, b| a.task_id.cmp(&b.task_id));
            tasks.append(&mut found);
            if task_ids.len() <= limit {
                break;
            }
        }
        tasks.truncate(limit.saturating_add(1));
        Ok(page(tasks, limit, |task: &Task| task.task_id.as_str().to_owned()))
    }
}

/// How many tasks are looked at one by one, in the order of their ids, before all are looked at in the order in which
/// they lie: that is ten times as fast for each.
const FIRST_LOOK: i64 = 2_000;

impl ListTasks {
    fn matches(&self, task: &Task) -> bool {
        let TaskFilter {
            job_id,
            states,
            executor_id,
        } = &self.filter;
        let holder_id = task.holder.as_ref().map(|holder| &holder.executor_id);
        job_id.as_ref().is_none_or(|job_id| task.job_id == *job_id)
            && (states.is_empty() || states.contains(&task.state))
            && executor_id.as_ref().is_none_or(|id| holder_id == Some(id))
    }

    /// The ids of the next tasks of the job and in the states that the filter names, one more than a page has.
    async fn matching(&self, cx: &mut Cx<'_>, after: &str) -> Result<Vec<TaskId>> {
        let filter = &self.filter;
        if filter.job_id.is_none() && filter.states.is_empty() {
            return self.select(cx, "tasks FORCE INDEX (tasks_id)", after).await;
        }
        let near = format!(
            "(SELECT task_id, job_id, state FROM tasks FORCE INDEX (tasks_id) WHERE task_id > ? \
             ORDER BY task_id LIMIT {FIRST_LOOK}) near"
        );
        let task_ids = self.select(cx, &near, after).await?;
        if task_ids.len() > self.page.limit {
            return Ok(task_ids);
        }
        self.select(cx, "tasks IGNORE INDEX (tasks_id)", after).await
    }

    async fn select(&self, cx: &mut Cx<'_>, tasks: &str, after: &str) -> Result<Vec<TaskId>> {
        let filter = &self.filter;
        let mut select = format!("SELECT task_id FROM {tasks} WHERE task_id > ?");
        if filter.job_id.is_some() {
            select.push_str(" AND job_id = ?");
        }
        if let Some(states) = state_list(&filter.states) {
            select = format!("{select} AND state IN ({states})");
        }
        select.push_str(" ORDER BY task_id LIMIT ?");
        // The first look has the place where it begins twice.
        let places = select.matches("task_id > ?").count();
        let mut query = (0..places).fold(made(select), |query, _| query.bind(after.to_owned()));
        if let Some(job_id) = &filter.job_id {
            query = query.bind(job_id.as_str().to_owned());
        }
        let rows = query
            .bind(row_limit(self.page.limit))
            .fetch_all(&mut *cx.sql)
            .await?;
        rows.iter()
            .map(|row| Ok(TaskId::from_stored(row.try_get::<&str, _>(0)?)))
            .collect()
    }
}

/// The ids of tasks that an executor may hold, one more than `limit`: what its leases name.
async fn held_by(
    cx: &mut Cx<'_>,
    executor_id: &ExecutorId,
    after: &str,
    limit: usize,
) -> Result<Vec<TaskId>> {
    let select = "SELECT token, task_ids FROM leases WHERE executor_id = ?";
    let rows = sqlx::query(select)
        .bind(executor_id.as_str().to_owned())
        .fetch_all(&mut *cx.sql)
        .await?;
    let mut task_ids = Vec::new();
    for row in &rows {
        task_ids.append(&mut StoredLease::decode(row)?.task_ids);
    }
    task_ids.retain(|task_id| task_id.as_str() > after);
    task_ids.sort_unstable();
    task_ids.dedup();
    task_ids.truncate(limit.saturating_add(1));
    Ok(task_ids)
}

/// States as a list for SQL; `None` for all.
pub(crate) fn state_list(states: &[TaskState]) -> Option<String> {
    let codes: Vec<String> = states.iter().map(|state| state.code().to_string()).collect();
    (!codes.is_empty()).then(|| codes.join(","))
}

/// How old counts may be.
const REMEMBERED: Duration = Duration::from_secs(1);

/// The latest counts, and when they were asked for: each looks at all live tasks, and several ask at a time.
#[derive(Debug, Default)]
pub(crate) struct LatestCounts(Option<(Instant, Vec<TaskCount>)>);

impl LatestCounts {
    fn get(&self, now: Instant) -> Option<Vec<TaskCount>> {
        let (asked, counts) = self.0.as_ref()?;
        (now.saturating_duration_since(*asked) < REMEMBERED).then(|| counts.clone())
    }
}

/// How many live tasks there are.
#[derive(Debug)]
pub(crate) struct CountTasks;

#[async_trait::async_trait]
impl Operation for CountTasks {
    type Answer = Vec<TaskCount>;
    const NAME: &'static str = "task_counts";
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let asked = Instant::now();
        let known = cx.caches().task_counts.lock().get(asked);
        if let Some(counts) = known {
            return Ok(counts);
        }
        // Without locks, in the order in which they lie.
        let select = "SELECT lane_id, state, COUNT(*), MIN(due_time) FROM tasks FORCE INDEX (PRIMARY) \
                      GROUP BY lane_id, state";
        let rows = sqlx::query(select).fetch_all(&mut *cx.sql).await?;
        let mut lane_ids = Vec::with_capacity(rows.len());
        for row in &rows {
            lane_ids.push(row.try_get::<i64, _>(0)?);
        }
        load_lanes(cx, lane_ids.clone()).await?;
        let mut counts = Vec::with_capacity(rows.len());
        for (row, lane_id) in rows.iter().zip(lane_ids) {
            counts.push(TaskCount {
                lane: lane(cx, lane_id)?,
                state: TaskState::from_code(code(row, 1)?)?,
                count: row.try_get::<i64, _>(2)?.try_into().unwrap_or(0),
                oldest_due_time: instant(row, 3)?,
            });
        }
        counts.sort_by(|a, b| (&a.lane, a.state.code()).cmp(&(&b.lane, b.state.code())));
        *cx.caches().task_counts.lock() = LatestCounts(Some((asked, counts.clone())));
        Ok(counts)
    }
}
