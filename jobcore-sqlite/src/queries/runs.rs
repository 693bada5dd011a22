//! Workflow runs, and the reports of their steps.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jobcore::Timestamp;
use jobcore::attempt::Attempt;
use jobcore::id::{JobId, RunId, TaskId};
use jobcore::json::Json;
use jobcore::store::{
    AdvanceRun, AdvanceRunOutcome, InsertRunOutcome, MAX_BATCH, NewRun, StepReport, WorkflowRun,
};
use jobcore::task::{StepRef, Task, TaskState};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::columns::{code, maybe_instant};
use super::insert::insert_new_tasks;
use super::rows::{Bound, RowStatement};
use crate::connection::{Cx, Operation};
use crate::error::Result;

/// What a step's task reports when it is final.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    step: StepRef,
    task_id: TaskId,
    state: TaskState,
    output: String,
}

impl Report {
    /// The report of a task, if it is final and carries out a step.
    pub(crate) fn of(task: &Task, attempt: Option<&Attempt>) -> Option<Self> {
        let step = task.step.clone().filter(|_| task.state.is_final())?;
        let output = attempt.map_or_else(String::new, |attempt| attempt.output.clone());
        Some(Self {
            step,
            task_id: task.task_id.clone(),
            state: task.state,
            output,
        })
    }
}

const APPEND: &str = "INSERT INTO run_inbox (run_id, sequence, step, task_id, state, output)";
static APPEND_REPORTS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::insert(APPEND, 6, ""));

/// Appends reports to the inboxes of their runs. A run that is gone gets none.
pub(crate) async fn append_reports(cx: &mut Cx<'_>, reports: &[Report]) -> Result<()> {
    let mut by_run: BTreeMap<&RunId, Vec<&Report>> = BTreeMap::new();
    for report in reports {
        by_run.entry(&report.step.run_id).or_default().push(report);
    }
    for (run_id, reports) in by_run {
        let update = "UPDATE workflow_runs SET reports = reports + ?2 WHERE run_id = ?1 RETURNING reports";
        let count = i64::try_from(reports.len()).unwrap_or(i64::MAX);
        let last: Option<i64> = sqlx::query_scalar(update)
            .bind(run_id.as_str().to_owned())
            .bind(count)
            .fetch_optional(&mut *cx.sql)
            .await?;
        let Some(last) = last else { continue };
        let rows: Vec<(i64, &Report)> = (last - count + 1..=last).zip(reports).collect();
        let bind = |query: Bound, (sequence, report): &(i64, &Report)| {
            query
                .bind(report.step.run_id.as_str().to_owned())
                .bind(*sequence)
                .bind(report.step.step.clone())
                .bind(report.task_id.as_str().to_owned())
                .bind(i64::from(report.state.code()))
                .bind(report.output.clone())
        };
        APPEND_REPORTS.execute(cx.sql, &rows, bind).await?;
    }
    Ok(())
}

/// Begins a run.
#[derive(Debug)]
pub(crate) struct InsertRun(pub(crate) NewRun);

#[async_trait::async_trait]
impl Operation for InsertRun {
    type Answer = InsertRunOutcome;
    const NAME: &'static str = "insert_run";

    fn weight(&self) -> usize {
        1 + self.0.tasks.len()
    }

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let run = &self.0;
        let insert = "INSERT INTO workflow_runs (run_id, job_id, version, state) VALUES (?1, ?2, 1, ?3) \
                      ON CONFLICT (run_id) DO NOTHING";
        let done = sqlx::query(insert)
            .bind(run.run_id.as_str().to_owned())
            .bind(run.job_id.as_str().to_owned())
            .bind(run.state.as_str().to_owned())
            .execute(&mut *cx.sql)
            .await?;
        if done.rows_affected() == 0 {
            return Ok(InsertRunOutcome::Duplicate);
        }
        let tasks: Vec<_> = run.tasks.iter().map(|task| (task, run.now)).collect();
        insert_new_tasks(cx, &tasks).await?;
        Ok(InsertRunOutcome::Inserted)
    }
}

/// A run with its inbox.
#[derive(Debug)]
pub(crate) struct GetRun(pub(crate) RunId);

#[async_trait::async_trait]
impl Operation for GetRun {
    type Answer = Option<WorkflowRun>;
    const NAME: &'static str = "get_run";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let run_id = self.0.as_str();
        let select = "SELECT job_id, version, state, end_time FROM workflow_runs WHERE run_id = ?1";
        let row = sqlx::query(select)
            .bind(run_id.to_owned())
            .fetch_optional(&mut *cx.sql)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let select = "SELECT sequence, step, task_id, state, output FROM run_inbox WHERE run_id = ?1 \
                      ORDER BY sequence LIMIT ?2";
        let limit = i64::try_from(MAX_BATCH).unwrap_or(i64::MAX);
        let inbox = sqlx::query(select)
            .bind(run_id.to_owned())
            .bind(limit)
            .fetch_all(&mut *cx.sql)
            .await?;
        Ok(Some(WorkflowRun {
            run_id: self.0.clone(),
            job_id: JobId::from_stored(row.try_get::<&str, _>(0)?),
            version: row.try_get::<i64, _>(1)?.try_into().unwrap_or(0),
            state: Json::from_stored(row.try_get::<&str, _>(2)?),
            inbox: inbox.iter().map(decode_report).collect::<Result<_>>()?,
            end_time: maybe_instant(&row, 3)?,
        }))
    }
}

fn decode_report(row: &SqliteRow) -> Result<StepReport> {
    Ok(StepReport {
        sequence: row.try_get::<i64, _>(0)?.try_into().unwrap_or(0),
        step: row.try_get(1)?,
        task_id: TaskId::from_stored(row.try_get::<&str, _>(2)?),
        state: TaskState::from_code(code(row, 3)?)?,
        output: row.try_get(4)?,
    })
}

/// Applies what the pure engine made of a run.
#[derive(Debug)]
pub(crate) struct Advance(pub(crate) AdvanceRun);

#[async_trait::async_trait]
impl Operation for Advance {
    type Answer = AdvanceRunOutcome;
    const NAME: &'static str = "advance_run";

    fn weight(&self) -> usize {
        1 + self.0.tasks.len()
    }

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let advance = &self.0;
        let run_id = advance.run_id.as_str();
        let select = "SELECT version FROM workflow_runs WHERE run_id = ?1";
        let version: Option<i64> = sqlx::query_scalar(select)
            .bind(run_id.to_owned())
            .fetch_optional(&mut *cx.sql)
            .await?;
        match version {
            None => return Ok(AdvanceRunOutcome::NotFound),
            Some(version) if u64::try_from(version) != Ok(advance.expected_version) => {
                return Ok(AdvanceRunOutcome::Conflict);
            }
            Some(_) => {}
        }
        let update =
            "UPDATE workflow_runs SET version = version + 1, state = ?2, end_time = ?3 WHERE run_id = ?1";
        sqlx::query(update)
            .bind(run_id.to_owned())
            .bind(advance.state.as_str().to_owned())
            .bind(advance.end_time.map(Timestamp::as_micros))
            .execute(&mut *cx.sql)
            .await?;
        if let Some(consumed) = advance.consumed {
            sqlx::query("DELETE FROM run_inbox WHERE run_id = ?1 AND sequence <= ?2")
                .bind(run_id.to_owned())
                .bind(i64::try_from(consumed).unwrap_or(i64::MAX))
                .execute(&mut *cx.sql)
                .await?;
        }
        let tasks: Vec<_> = advance.tasks.iter().map(|task| (task, advance.now)).collect();
        insert_new_tasks(cx, &tasks).await?;
        Ok(AdvanceRunOutcome::Advanced)
    }
}
