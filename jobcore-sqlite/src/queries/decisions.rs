//! Decisions: why a fire time has no task, or a task has no attempt.

use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::id::{JobId, TaskId};
use jobcore::store::{Decision, DecisionKind, Page, PageRequest};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::columns::{code, instant, maybe_instant};
use super::listing::{cursor, numbers, row_limit};
use super::rows::RowStatement;
use crate::connection::{Cx, Operation};
use crate::error::Result;

const INSERT: &str =
    "INSERT INTO decisions (job_id, scheduled_for, count, task_id, kind, decision_time, reason)";
static INSERT_DECISIONS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::insert(INSERT, 7, ""));

/// Records decisions.
pub(crate) async fn insert_decisions(cx: &mut Cx<'_>, decisions: &[&Decision]) -> Result<()> {
    let bind = |query: super::rows::Bound, decision: &&Decision| {
        query
            .bind(decision.job_id.to_shared())
            .bind(decision.scheduled_for.map(Timestamp::as_micros))
            .bind(i64::try_from(decision.count).unwrap_or(i64::MAX))
            .bind(decision.task_id.as_ref().map(|task_id| task_id.to_shared()))
            .bind(i64::from(decision.kind.code()))
            .bind(decision.decision_time.as_micros())
            .bind(decision.reason.clone())
    };
    INSERT_DECISIONS.execute(cx.sql, decisions, bind).await.map(drop)
}

/// Decisions about a job, or all.
#[derive(Debug)]
pub(crate) struct ListDecisions {
    pub(crate) job_id: Option<JobId>,
    pub(crate) page: PageRequest,
}

#[async_trait::async_trait]
impl Operation for ListDecisions {
    type Answer = Page<Decision>;
    const NAME: &'static str = "list_decisions";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let [before] = self.page.cursor.as_ref().map_or(Ok([i64::MAX]), numbers)?;
        let limit = row_limit(self.page.limit);
        let rows = match &self.job_id {
            Some(job_id) => {
                let select = "SELECT id, job_id, scheduled_for, count, task_id, kind, decision_time, reason \
                              FROM decisions WHERE job_id = ?3 AND id < ?1 ORDER BY id DESC LIMIT ?2";
                let query = sqlx::query(select)
                    .bind(before)
                    .bind(limit)
                    .bind(job_id.to_shared());
                query.fetch_all(&mut *cx.sql).await?
            }
            None => {
                let select = "SELECT id, job_id, scheduled_for, count, task_id, kind, decision_time, reason \
                              FROM decisions WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
                sqlx::query(select)
                    .bind(before)
                    .bind(limit)
                    .fetch_all(&mut *cx.sql)
                    .await?
            }
        };
        let decisions = rows.iter().map(decode).collect::<Result<Vec<_>>>()?;
        let page = super::listing::page(decisions, self.page.limit, |(id, _)| cursor([*id]));
        Ok(Page {
            items: page.items.into_iter().map(|(_, decision)| decision).collect(),
            next: page.next,
        })
    }
}

fn decode(row: &SqliteRow) -> Result<(i64, Decision)> {
    let decision = Decision {
        job_id: JobId::from_stored(row.try_get::<&str, _>(1)?),
        scheduled_for: maybe_instant(row, 2)?,
        count: row.try_get::<i64, _>(3)?.try_into().unwrap_or(0),
        task_id: row.try_get::<Option<&str>, _>(4)?.map(TaskId::from_stored),
        kind: DecisionKind::from_code(code(row, 5)?)?,
        decision_time: instant(row, 6)?,
        reason: row.try_get(7)?,
    };
    Ok((row.try_get(0)?, decision))
}
