//! Changes of jobs and final transitions of tasks, in the order in which they were written.
//!
//! One writer at a time commits to the file, and numbers grow with each commit: nothing appears behind a cursor.

use jobcore::id::{JobId, TaskId};
use jobcore::store::{Change, Changes, Cursor};
use jobcore::task::TaskState;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::columns::code;
use super::listing::{cursor, numbers};
use crate::connection::{Cx, Operation};
use crate::error::Result;

/// Changes after a cursor.
#[derive(Debug)]
pub(crate) struct ListChanges {
    pub(crate) cursor: Option<Cursor>,
    pub(crate) limit: usize,
}

#[async_trait::async_trait]
impl Operation for ListChanges {
    type Answer = Changes;
    const NAME: &'static str = "changes";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let Some(after) = &self.cursor else {
            return Ok(Changes {
                changes: Vec::new(),
                cursor: Cursor(cursor(present(cx).await?)),
            });
        };
        let [mut log_id, mut job_change_id] = numbers(after)?;
        let select = "SELECT * FROM ( \
                      SELECT id AS place, 0 AS number, job_id, task_id, task_state, NULL AS version FROM job_logs \
                      WHERE id > ?1 AND task_state IS NOT NULL ORDER BY id LIMIT ?3) \
                      UNION ALL SELECT * FROM ( \
                      SELECT after_log_id AS place, id AS number, job_id, NULL, NULL, version FROM job_changes \
                      WHERE id > ?2 ORDER BY id LIMIT ?3) \
                      ORDER BY place, number LIMIT ?3";
        let rows = sqlx::query(select)
            .bind(log_id)
            .bind(job_change_id)
            .bind(i64::try_from(self.limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *cx.sql)
            .await?;
        let mut changes = Vec::with_capacity(rows.len());
        for row in &rows {
            match row.try_get::<i64, _>(1)? {
                0 => log_id = row.try_get(0)?,
                number => job_change_id = number,
            }
            changes.push(decode(row)?);
        }
        Ok(Changes {
            changes,
            cursor: Cursor(cursor([log_id, job_change_id])),
        })
    }
}

/// The latest numbers.
async fn present(cx: &mut Cx<'_>) -> Result<[i64; 2]> {
    let select = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'job_logs'), 0), \
                  coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'job_changes'), 0)";
    let row = sqlx::query(select).fetch_one(&mut *cx.sql).await?;
    Ok([row.try_get(0)?, row.try_get(1)?])
}

fn decode(row: &SqliteRow) -> Result<Change> {
    let job_id = JobId::from_stored(row.try_get::<&str, _>(2)?);
    let Some(task_id) = row.try_get::<Option<&str>, _>(3)? else {
        let version: Option<i64> = row.try_get(5)?;
        return Ok(Change::Job {
            job_id,
            version: version.map(|version| version.try_into().unwrap_or(0)),
        });
    };
    let state = TaskState::from_code(code(row, 4)?)?;
    Ok(Change::Task {
        task_id: TaskId::from_stored(task_id),
        job_id,
        state,
    })
}
