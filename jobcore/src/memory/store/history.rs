//! History: attempts, final tasks, decisions and changes, each in the order of recording.

use super::journal::Journal;
use super::state::clamp;
use super::tasks::{Slot, Tasks};
use crate::attempt::{Attempt, AttemptStatus};
use crate::error::{Error, Result};
use crate::id::JobId;
use crate::lease::{Fence, FencingToken};
use crate::store::{AttemptFilter, Cursor, Decision, FinishedFilter, Page, PageRequest};
use crate::task::Task;
use crate::time::Timestamp;

/// An attempt, linked to the one before of the same task.
#[derive(Debug)]
pub(super) struct AttemptEntry {
    pub(super) attempt: Attempt,
    pub(super) previous: Option<u64>,
}

/// What changed, as short as it can be kept.
#[derive(Debug)]
pub(super) enum Note {
    /// A job, and its version unless it was deleted.
    Job(JobId, Option<u64>),
    /// The task that became final under this number.
    Task(u64),
}

/// What ran.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) attempts: Journal<AttemptEntry>,
    /// Final tasks, in the order in which they became so.
    pub(super) finished: Journal<Slot>,
    pub(super) decisions: Journal<Decision>,
    pub(super) changes: Journal<(Timestamp, Note)>,
}

impl History {
    /// Notes that a task became final.
    pub(super) fn finish(&mut self, slot: Slot, now: Timestamp) {
        let number = self.finished.push(slot);
        self.changes.push((now, Note::Task(number)));
    }

    /// Notes that a job changed.
    pub(super) fn change_job(&mut self, job_id: JobId, version: Option<u64>, now: Timestamp) {
        self.changes.push((now, Note::Job(job_id, version)));
    }

    pub(super) fn decide(&mut self, decision: Decision) {
        self.decisions.push(decision);
    }

    /// Records an attempt; returns its number.
    pub(super) fn record(&mut self, attempt: Attempt, previous: Option<u64>) -> u64 {
        self.attempts.push(AttemptEntry { attempt, previous })
    }

    /// The attempts of a task from its latest on, newest first.
    pub(super) fn attempts_of(&self, latest: Option<u64>) -> impl Iterator<Item = (u64, &Attempt)> {
        let mut next = latest;
        std::iter::from_fn(move || {
            let number = next?;
            let entry = self.attempts.get(number)?;
            next = entry.previous;
            Some((number, &entry.attempt))
        })
    }

    /// The attempt under `token` of a task, whose start was recorded and that hasn't ended.
    pub(super) fn running(&mut self, latest: Option<u64>, token: FencingToken) -> Option<&mut Attempt> {
        let attempt = &mut self.attempts.get_mut(latest?)?.attempt;
        (attempt.token == token && attempt.status == AttemptStatus::Running).then_some(attempt)
    }

    /// Whether the attempt that `fence` names was settled.
    pub(super) fn is_settled(&self, latest: Option<u64>, fence: &Fence) -> bool {
        self.attempts_of(latest).any(|(_, attempt)| {
            attempt.token == fence.token
                && attempt.attempt == fence.attempt
                && attempt.executor_id == fence.holder.executor_id
                && !matches!(attempt.status, AttemptStatus::Running | AttemptStatus::Lost)
        })
    }

    pub(super) fn list_decisions(
        &self,
        job_id: Option<&JobId>,
        page: &PageRequest,
    ) -> Result<Page<Decision>> {
        let rows = self.decisions.back_from(position(page)?);
        let rows = rows.filter(|(_, decision)| job_id.is_none_or(|job_id| *job_id == decision.job_id));
        Ok(page_of(rows, page, Decision::clone))
    }

    pub(super) fn list_attempts(
        &self,
        tasks: &Tasks,
        filter: &AttemptFilter,
        page: &PageRequest,
    ) -> Result<Page<Attempt>> {
        let before = position(page)?;
        let Some(task_id) = &filter.task_id else {
            let rows = self
                .attempts
                .back_from(before)
                .map(|(number, entry)| (number, &entry.attempt));
            return Ok(page_of(
                rows.filter(|row| matches_attempt(filter, row.1)),
                page,
                Attempt::clone,
            ));
        };
        let latest = tasks
            .slot(task_id)
            .and_then(|slot| tasks.entry(slot).last_attempt);
        let rows = self.attempts_of(latest).filter(|(number, _)| *number < before);
        Ok(page_of(
            rows.filter(|row| matches_attempt(filter, row.1)),
            page,
            Attempt::clone,
        ))
    }

    pub(super) fn list_finished(
        &self,
        tasks: &Tasks,
        filter: &FinishedFilter,
        page: &PageRequest,
    ) -> Result<Page<Task>> {
        let rows = self.finished.back_from(position(page)?);
        let rows = rows.map(|(number, slot)| (number, tasks.task(*slot)));
        let rows = rows.filter(|(_, task)| {
            filter.job_id.as_ref().is_none_or(|job_id| *job_id == task.job_id)
                && (filter.states.is_empty() || filter.states.contains(&task.state))
        });
        Ok(page_of(rows, page, Task::clone))
    }
}

fn matches_attempt(filter: &AttemptFilter, attempt: &Attempt) -> bool {
    filter
        .task_id
        .as_ref()
        .is_none_or(|task_id| *task_id == attempt.task_id)
        && filter
            .job_id
            .as_ref()
            .is_none_or(|job_id| *job_id == attempt.job_id)
        && filter
            .executor_id
            .as_ref()
            .is_none_or(|executor_id| *executor_id == attempt.executor_id)
        && filter.status.is_none_or(|status| status == attempt.status)
        && filter.from_time.is_none_or(|from| attempt.start_time >= from)
        && filter.until_time.is_none_or(|until| attempt.start_time < until)
}

/// The number before which a page begins.
fn position(page: &PageRequest) -> Result<u64> {
    page.cursor.as_ref().map_or(Ok(u64::MAX), parse)
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

/// The first rows, and a cursor if there are more.
fn page_of<'a, T: 'a>(
    mut rows: impl Iterator<Item = (u64, &'a T)>,
    page: &PageRequest,
    copy: impl Fn(&T) -> T,
) -> Page<T> {
    let mut last = 0;
    let items = rows
        .by_ref()
        .take(clamp(page.limit))
        .map(|(number, row)| {
            last = number;
            copy(row)
        })
        .collect();
    let next = rows.next().map(|_| Cursor(last.to_string()));
    Page { items, next }
}
