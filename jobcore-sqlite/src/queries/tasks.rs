//! Reading tasks: by id, live or from history; live ones by filter; and their counts.

use std::collections::HashMap;

use jobcore::id::TaskId;
use jobcore::lane::Lane;
use jobcore::store::{Page, PageRequest, TaskCount, TaskFilter};
use jobcore::task::{Task, TaskState};
use sqlx::Row;

use super::columns::{code, instant};
use super::listing::{page, row_limit};
use super::rows::{json_list, json_numbers};
use super::stored_log::{finished_columns, read_finished};
use super::task_row::{read_tasks, select_tasks, tasks_by_id};
use crate::connection::{Cx, Operation};
use crate::error::Result;

/// The tasks with these ids.
#[derive(Debug)]
pub(crate) struct GetTasks(pub(crate) Vec<TaskId>);

#[async_trait::async_trait]
impl Operation for GetTasks {
    type Answer = Vec<Option<Task>>;
    const NAME: &'static str = "get_tasks";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        // Live ones first: a task that moves to history in between is found there, never missed.
        let live = tasks_by_id(cx, &self.0.iter().collect::<Vec<_>>()).await?;
        let mut tasks: HashMap<TaskId, Task> = live
            .into_iter()
            .map(|stored| (stored.task.task_id.clone(), stored.task))
            .collect();
        let missing = json_list(
            self.0
                .iter()
                .filter(|id| !tasks.contains_key(*id))
                .map(TaskId::as_str),
        );
        let select = concat!(
            "SELECT ",
            finished_columns!(),
            " FROM job_logs WHERE task_id IN (SELECT value FROM json_each(?1)) AND task_state IS NOT NULL"
        );
        let rows = sqlx::query(select).bind(missing).fetch_all(&mut *cx.sql).await?;
        let finished = read_finished(cx, &rows).await?;
        tasks.extend(finished.into_iter().map(|(_, task)| (task.task_id.clone(), task)));
        Ok(self.0.iter().map(|task_id| tasks.get(task_id).cloned()).collect())
    }
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

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let select = select_tasks!(
            "WHERE task_id > ?1 AND (?2 IS NULL OR job_id = ?2) \
             AND (?3 = '[]' OR state IN (SELECT value FROM json_each(?3))) \
             AND (?4 IS NULL OR l.executor_id = ?4) \
             ORDER BY task_id LIMIT ?5"
        );
        let filter = &self.filter;
        let select = sqlx::query_scalar(select)
            .bind(
                self.page
                    .cursor
                    .as_ref()
                    .map_or(String::new(), |cursor| cursor.0.clone()),
            )
            .bind(filter.job_id.as_ref().map(|job_id| job_id.as_str().to_owned()))
            .bind(states(&filter.states))
            .bind(filter.executor_id.as_ref().map(|id| id.as_str().to_owned()))
            .bind(row_limit(self.page.limit));
        let tasks = read_tasks(cx, select).await?;
        let tasks = tasks.into_iter().map(|stored| stored.task).collect();
        Ok(page(tasks, self.page.limit, |task: &Task| {
            task.task_id.as_str().to_owned()
        }))
    }
}

/// States as one parameter.
pub(crate) fn states(states: &[TaskState]) -> String {
    json_numbers(states.iter().map(|state| i64::from(state.code())))
}

/// How many live tasks there are.
#[derive(Debug)]
pub(crate) struct CountTasks;

#[async_trait::async_trait]
impl Operation for CountTasks {
    type Answer = Vec<TaskCount>;
    const NAME: &'static str = "task_counts";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let select = "SELECT lane, state, n, oldest FROM (SELECT lane_id, state, count(*) AS n, \
                      min(due_time) AS oldest FROM tasks GROUP BY lane_id, state) JOIN lanes USING (lane_id) \
                      ORDER BY lane, state";
        let rows = sqlx::query(select).fetch_all(&mut *cx.sql).await?;
        rows.iter()
            .map(|row| {
                Ok(TaskCount {
                    lane: Lane::from_stored(row.try_get::<&str, _>(0)?),
                    state: TaskState::from_code(code(row, 1)?)?,
                    count: row.try_get::<i64, _>(2)?.try_into().unwrap_or(0),
                    oldest_due_time: instant(row, 3)?,
                })
            })
            .collect()
    }
}
