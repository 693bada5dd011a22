//! Decisions: why a fire time has no task, or a task has no attempt.

use std::sync::LazyLock;

use jobcore::id::{JobId, TaskId};
use jobcore::store::{Decision, DecisionKind, Page, PageRequest};
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::columns::{code, code_number, datetime, instant, maybe_datetime, maybe_instant, number, unsigned};
use super::listing::{cursor, numbers, page, row_limit};
use super::rows::{Bound, RowStatement};
use crate::connection::{Access, Cx, Operation};
use crate::error::Result;

static INSERT_DECISIONS: LazyLock<RowStatement> = LazyLock::new(|| {
    let insert =
        "INSERT INTO decisions (job_id, scheduled_for, covers, task_id, kind, decision_time, reason) VALUES";
    RowStatement::new(insert, 7, "")
});

/// Records decisions.
pub(crate) async fn insert_decisions(cx: &mut Cx<'_>, decisions: &[&Decision]) -> Result<()> {
    let bind = |query: Bound, decision: &&Decision| {
        let task_id = decision.task_id.as_ref();
        query
            .bind(decision.job_id.as_str().to_owned())
            .bind(maybe_datetime(decision.scheduled_for))
            .bind(number(decision.count))
            .bind(task_id.map(|task_id| task_id.as_str().to_owned()))
            .bind(code_number(decision.kind.code()))
            .bind(datetime(decision.decision_time))
            .bind(decision.reason.clone())
    };
    INSERT_DECISIONS.execute(cx.sql, decisions, bind).await?;
    Ok(())
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
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let [before] = self.page.cursor.as_ref().map_or(Ok([i64::MAX]), numbers)?;
        let query = match &self.job_id {
            Some(job_id) => {
                let select = "SELECT id, job_id, scheduled_for, covers, task_id, kind, decision_time, reason \
                              FROM decisions FORCE INDEX (decisions_job) WHERE job_id = ? AND id < ? \
                              ORDER BY id DESC LIMIT ?";
                sqlx::query(select).bind(job_id.as_str().to_owned())
            }
            None => {
                let select = "SELECT id, job_id, scheduled_for, covers, task_id, kind, decision_time, reason \
                              FROM decisions WHERE id < ? ORDER BY id DESC LIMIT ?";
                sqlx::query(select)
            }
        };
        let query = query.bind(before).bind(row_limit(self.page.limit));
        let rows = query.fetch_all(&mut *cx.sql).await?;
        let decisions = rows.iter().map(decode).collect::<Result<Vec<_>>>()?;
        let page = page(decisions, self.page.limit, |(id, _)| cursor([*id]));
        Ok(Page {
            items: page.items.into_iter().map(|(_, decision)| decision).collect(),
            next: page.next,
        })
    }
}

fn decode(row: &MySqlRow) -> Result<(i64, Decision)> {
    let decision = Decision {
        job_id: JobId::from_stored(row.try_get::<&str, _>(1)?),
        scheduled_for: maybe_instant(row, 2)?,
        count: unsigned(row, 3)?,
        task_id: row.try_get::<Option<&str>, _>(4)?.map(TaskId::from_stored),
        kind: DecisionKind::from_code(code(row, 5)?)?,
        decision_time: instant(row, 6)?,
        reason: row.try_get(7)?,
    };
    Ok((row.try_get(0)?, decision))
}
