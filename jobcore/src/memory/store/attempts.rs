//! Attempts in the order of recording, in the form in which a million of them can be kept.

use super::journal::Journal;
use super::tasks::{Slot, Tasks};
use crate::attempt::{Attempt, AttemptStatus};
use crate::engine::record::Recorded;
use crate::id::ExecutorId;
use crate::lease::{Fence, FencingToken};
use crate::store::AttemptEnd;
use crate::time::Timestamp;

/// An attempt. Which task it is of follows from the slot, which the task keeps as long as its attempts.
#[derive(Debug)]
pub(super) struct AttemptRow {
    pub(super) slot: Slot,
    attempt: u32,
    executor_id: ExecutorId,
    token: FencingToken,
    status: AttemptStatus,
    start_time: Timestamp,
    end_time: Option<Timestamp>,
    rare: Option<Box<Rare>>,
    /// The attempt before of the same task.
    previous: Option<u64>,
}

/// What many attempts leave empty.
#[derive(Debug)]
struct Rare {
    exit_code: Option<i32>,
    output: String,
    error: String,
}

impl AttemptRow {
    /// Records how it ended.
    fn end(&mut self, end: AttemptEnd) {
        self.status = end.status;
        self.start_time = end.start_time;
        self.end_time = Some(end.end_time);
        let is_empty = end.exit_code.is_none() && end.output.is_empty() && end.error.is_empty();
        self.rare = (!is_empty).then(|| {
            Box::new(Rare {
                exit_code: end.exit_code,
                output: end.output,
                error: end.error,
            })
        });
    }

    /// The attempt as it was recorded.
    pub(super) fn to_attempt(&self, tasks: &Tasks) -> Option<Attempt> {
        let (task_id, job_id) = tasks.ids_in(self.slot)?;
        let rare = self.rare.as_deref();
        Some(Attempt {
            task_id: task_id.clone(),
            job_id: job_id.clone(),
            attempt: self.attempt,
            executor_id: self.executor_id.clone(),
            token: self.token,
            status: self.status,
            start_time: self.start_time,
            end_time: self.end_time,
            exit_code: rare.and_then(|rare| rare.exit_code),
            output: rare.map(|rare| rare.output.clone()).unwrap_or_default(),
            error: rare.map(|rare| rare.error.clone()).unwrap_or_default(),
        })
    }

    /// What it says of settlements that come again.
    pub(super) const fn recorded(&self) -> Recorded<'_> {
        Recorded {
            attempt: self.attempt,
            token: self.token,
            executor_id: &self.executor_id,
            status: self.status,
        }
    }

    pub(super) const fn executor_id(&self) -> &ExecutorId {
        &self.executor_id
    }

    pub(super) const fn status(&self) -> AttemptStatus {
        self.status
    }

    pub(super) const fn start_time(&self) -> Timestamp {
        self.start_time
    }
}

/// All attempts that began, as far as anybody said so.
#[derive(Debug, Default)]
pub(super) struct Attempts(Journal<AttemptRow>);

impl Attempts {
    /// Records that an attempt began; returns its number.
    pub(super) fn begin(
        &mut self,
        slot: Slot,
        fence: Fence,
        start_time: Timestamp,
        previous: Option<u64>,
    ) -> u64 {
        self.0.push(AttemptRow {
            slot,
            attempt: fence.attempt,
            executor_id: fence.holder.executor_id,
            token: fence.token,
            status: AttemptStatus::Running,
            start_time,
            end_time: None,
            rare: None,
            previous,
        })
    }

    /// Records how an attempt ended; returns the number of the task's latest attempt, which it is.
    pub(super) fn end(&mut self, slot: Slot, fence: Fence, latest: Option<u64>, end: AttemptEnd) -> u64 {
        let number = match latest {
            Some(number) if self.is_running(number, fence.token) => number,
            _ => self.begin(slot, fence, end.start_time, latest),
        };
        if let Some(row) = self.0.get_mut(number) {
            row.end(end);
        }
        number
    }

    /// Ends the attempt under `token` without its executor, if its start was recorded and it hasn't ended.
    pub(super) fn abandon(
        &mut self,
        latest: Option<u64>,
        token: FencingToken,
        status: AttemptStatus,
        end_time: Option<Timestamp>,
    ) {
        if let Some(number) = latest.filter(|number| self.is_running(*number, token))
            && let Some(row) = self.0.get_mut(number)
        {
            row.status = status;
            row.end_time = end_time;
        }
    }

    fn is_running(&self, number: u64, token: FencingToken) -> bool {
        self.0
            .get(number)
            .is_some_and(|row| row.token == token && row.status == AttemptStatus::Running)
    }

    /// The attempts of a task from its latest on, newest first.
    pub(super) fn of_task(&self, latest: Option<u64>) -> impl Iterator<Item = (u64, &AttemptRow)> {
        let mut next = latest;
        std::iter::from_fn(move || {
            let number = next?;
            let row = self.0.get(number)?;
            next = row.previous;
            Some((number, row))
        })
    }

    /// All attempts before a number, newest first.
    pub(super) fn back_from(&self, number: u64) -> impl Iterator<Item = (u64, &AttemptRow)> {
        self.0.back_from(number)
    }

    /// Forgets all attempts of a task.
    pub(super) fn purge(&mut self, latest: Option<u64>) {
        let mut next = latest;
        while let Some(row) = next.and_then(|number| self.0.remove(number)) {
            next = row.previous;
        }
    }
}
