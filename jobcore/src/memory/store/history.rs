//! History: attempts, decisions and changes, and reading them and the final tasks page by page.

use super::attempts::{AttemptRow, Attempts};
use super::journal::Journal;
use super::scan::{Scan, Turn};
use super::tasks::Tasks;
use super::timeline::Timeline;
use crate::attempt::Attempt;
use crate::error::{Error, Result};
use crate::id::JobId;
use crate::store::{AttemptFilter, Cursor, Decision, FinishedFilter};
use crate::task::Task;
use crate::time::Timestamp;

/// What changed, as short as it can be kept.
#[derive(Debug)]
pub(super) enum Note {
    /// A job.
    Job(Box<JobNote>),
    /// The task that became final under this number.
    Task(u64),
}

/// How a job changed.
#[derive(Debug)]
pub(super) struct JobNote {
    pub(super) job_id: JobId,
    /// Its version, unless it was deleted.
    pub(super) version: Option<u64>,
    pub(super) change_time: Timestamp,
}

/// What ran, but for the tasks themselves.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) attempts: Attempts,
    pub(super) decisions: Timeline<Decision>,
    pub(super) changes: Journal<Note>,
}

impl History {
    /// Notes that a job changed.
    pub(super) fn change_job(&mut self, job_id: JobId, version: Option<u64>, now: Timestamp) {
        self.changes.push(Note::Job(Box::new(JobNote {
            job_id,
            version,
            change_time: now,
        })));
    }

    pub(super) fn scan_decisions(&self, job_id: Option<&JobId>, scan: &mut Scan<Decision>) -> Turn {
        scan.turn(self.decisions.back_from(scan.before()), |decision| {
            job_id
                .is_none_or(|job_id| *job_id == decision.job_id)
                .then(|| decision.clone())
        })
    }

    pub(super) fn scan_attempts(
        &self,
        tasks: &Tasks,
        filter: &AttemptFilter,
        scan: &mut Scan<Attempt>,
    ) -> Turn {
        let copy = |row: &AttemptRow| matches(filter, row, tasks).then(|| row.to_attempt(tasks))?;
        let before = scan.before();
        let Some(task_id) = &filter.task_id else {
            return scan.turn(self.attempts.back_from(before), copy);
        };
        let latest = tasks.slot(task_id).and_then(|slot| tasks.last_attempt(slot));
        let rows = self.attempts.of_task(latest);
        scan.turn(rows.filter(|(number, _)| *number < before), copy)
    }
}

pub(super) fn scan_finished(tasks: &Tasks, filter: &FinishedFilter, scan: &mut Scan<Task>) -> Turn {
    scan.turn(tasks.finished.back_from(scan.before()), |(_, task)| {
        let matches = filter.job_id.as_ref().is_none_or(|job_id| *job_id == task.job_id)
            && (filter.states.is_empty() || filter.states.contains(&task.state));
        matches.then(|| task.to_task())
    })
}

/// Whether an attempt matches the filter, but for the task.
fn matches(filter: &AttemptFilter, row: &AttemptRow, tasks: &Tasks) -> bool {
    let of_job = |job_id: &JobId| {
        tasks
            .ids_in(row.slot)
            .is_some_and(|(_, its_job)| its_job == job_id)
    };
    filter.job_id.as_ref().is_none_or(of_job)
        && filter
            .executor_id
            .as_ref()
            .is_none_or(|executor_id| executor_id == row.executor_id())
        && filter.status.is_none_or(|status| status == row.status())
        && filter.from_time.is_none_or(|from| row.start_time() >= from)
        && filter.until_time.is_none_or(|until| row.start_time() < until)
}

/// The number that a cursor of this store stands for.
pub(super) fn parse(cursor: &Cursor) -> Result<u64> {
    cursor.0.parse().map_err(|_| {
        Error::invalid(
            "cursor",
            format_args!("`{}` was not made by this store", cursor.0),
        )
    })
}
