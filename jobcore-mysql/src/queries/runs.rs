//! Workflow runs, and the reports of their steps.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jobcore::attempt::Attempt;
use jobcore::id::{JobId, RunId, TaskId};
use jobcore::json::Json;
use jobcore::store::{
    AdvanceRun, AdvanceRunOutcome, InsertRunOutcome, MAX_BATCH, NewRun, StepReport, WorkflowRun,
};
use jobcore::task::{StepRef, Task, TaskState};
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::columns::{code, code_number, maybe_datetime, maybe_instant, number, unsigned};
use super::insert::insert_new_tasks;
use super::rows::{Bound, RowStatement};
use super::stored_log::portions;
use crate::connection::{Access, Cx, Operation};
use crate::error::{Failure, Result, is_duplicate};

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

const APPEND: &str = "INSERT INTO run_inbox (run_id, sequence, step, task_id, state, output) VALUES";
static APPEND_REPORTS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::new(APPEND, 6, ""));

/// Appends reports to the inboxes of their runs, run by run in the order of their ids. A run that is gone gets none.
pub(crate) async fn append_reports(cx: &mut Cx<'_>, reports: &[Report]) -> Result<()> {
    let mut by_run: BTreeMap<&RunId, Vec<&Report>> = BTreeMap::new();
    for report in reports {
        by_run.entry(&report.step.run_id).or_default().push(report);
    }
    for (run_id, reports) in by_run {
        let count = i64::try_from(reports.len()).unwrap_or(i64::MAX);
        let Some(last) = raise_reports(cx, run_id, count).await? else {
            continue;
        };
        let rows: Vec<(i64, &Report)> = (last - count + 1..=last).zip(reports).collect();
        let bind = |query: Bound, (sequence, report): &(i64, &Report)| {
            query
                .bind(report.step.run_id.as_str().to_owned())
                .bind(*sequence)
                .bind(report.step.step.clone())
                .bind(report.task_id.as_str().to_owned())
                .bind(code_number(report.state.code()))
                .bind(report.output.clone())
        };
        for portion in portions(&rows, |(_, report)| report.output.len()) {
            APPEND_REPORTS.execute(cx.sql, portion, bind).await?;
        }
    }
    Ok(())
}

/// Counts reports of a run, under its row's lock, and gives the number of the last one; `None` if the run is gone.
async fn raise_reports(cx: &mut Cx<'_>, run_id: &RunId, count: i64) -> Result<Option<i64>> {
    let done = sqlx::query("UPDATE workflow_runs SET reports = reports + ? WHERE run_id = ?")
        .bind(count)
        .bind(run_id.as_str().to_owned())
        .execute(&mut *cx.sql)
        .await?;
    if done.rows_affected() == 0 {
        return Ok(None);
    }
    // What this transaction wrote itself.
    let last: i64 = sqlx::query_scalar("SELECT reports FROM workflow_runs WHERE run_id = ?")
        .bind(run_id.as_str().to_owned())
        .fetch_one(&mut *cx.sql)
        .await?;
    Ok(Some(last))
}

/// Begins a run.
#[derive(Debug)]
pub(crate) struct InsertRun(pub(crate) NewRun);

#[async_trait::async_trait]
impl Operation for InsertRun {
    type Answer = InsertRunOutcome;
    const NAME: &'static str = "insert_run";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let run = &self.0;
        let insert = "INSERT INTO workflow_runs (run_id, job_id, version, state) VALUES (?, ?, 1, ?)";
        let done = sqlx::query(insert)
            .bind(run.run_id.as_str().to_owned())
            .bind(run.job_id.as_str().to_owned())
            .bind(run.state.as_str().to_owned())
            .execute(&mut *cx.sql)
            .await;
        match done {
            Ok(_) => {}
            Err(error) if is_duplicate(&error) => return Ok(InsertRunOutcome::Duplicate),
            Err(error) => return Err(error.into()),
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
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let run_id = self.0.as_str();
        let select = "SELECT job_id, version, state, end_time FROM workflow_runs WHERE run_id = ?";
        let row = sqlx::query(select)
            .bind(run_id.to_owned())
            .fetch_optional(&mut *cx.sql)
            .await?;
        let Some(row) = row else { return Ok(None) };
        // Read later than the version: an inbox from which more was consumed meanwhile belongs to a version that an
        // advance of this one conflicts with.
        let select = "SELECT sequence, step, task_id, state, output FROM run_inbox WHERE run_id = ? \
                      ORDER BY sequence LIMIT ?";
        let limit = i64::try_from(MAX_BATCH).unwrap_or(i64::MAX);
        let inbox = sqlx::query(select)
            .bind(run_id.to_owned())
            .bind(limit)
            .fetch_all(&mut *cx.sql)
            .await?;
        Ok(Some(WorkflowRun {
            run_id: self.0.clone(),
            job_id: JobId::from_stored(row.try_get::<&str, _>(0)?),
            version: unsigned(&row, 1)?,
            state: Json::from_stored(row.try_get::<&str, _>(2)?),
            inbox: inbox.iter().map(decode_report).collect::<Result<_>>()?,
            end_time: maybe_instant(&row, 3)?,
        }))
    }
}

fn decode_report(row: &MySqlRow) -> Result<StepReport> {
    Ok(StepReport {
        sequence: unsigned(row, 0)?,
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
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let advance = &self.0;
        let run_id = advance.run_id.as_str();
        let version: Option<i64> = sqlx::query_scalar("SELECT version FROM workflow_runs WHERE run_id = ?")
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
        // The tasks first, since gates are locked before runs; then the run, if it is still as it was a moment ago.
        let tasks: Vec<_> = advance.tasks.iter().map(|task| (task, advance.now)).collect();
        insert_new_tasks(cx, &tasks).await?;
        self.write(cx).await?;
        Ok(AdvanceRunOutcome::Advanced)
    }
}

impl Advance {
    async fn write(&self, cx: &mut Cx<'_>) -> Result<()> {
        let advance = &self.0;
        let update = "UPDATE workflow_runs SET version = version + 1, state = ?, end_time = ? \
                      WHERE run_id = ? AND version = ?";
        let done = sqlx::query(update)
            .bind(advance.state.as_str().to_owned())
            .bind(maybe_datetime(advance.end_time))
            .bind(advance.run_id.as_str().to_owned())
            .bind(number(advance.expected_version))
            .execute(&mut *cx.sql)
            .await?;
        if done.rows_affected() == 0 {
            return Err(Failure::Stale);
        }
        if let Some(consumed) = advance.consumed {
            sqlx::query("DELETE FROM run_inbox WHERE run_id = ? AND sequence <= ?")
                .bind(advance.run_id.as_str().to_owned())
                .bind(number(consumed))
                .execute(&mut *cx.sql)
                .await?;
        }
        Ok(())
    }
}
