//! Assertions on what is scheduled and what ran, with messages that show what there is instead.

use std::future::Future;

use futures_util::FutureExt;
use jobcore::id::{JobId, TaskId};
use jobcore::json::Json;
use jobcore::store::{
    AttemptFilter, FinishedFilter, HistoryStore, JobFilter, JobStore, MAX_BATCH, Page, PageRequest, ReadLogs,
    TaskFilter, TaskStore,
};
use jobcore::task::Task;
use jobcore::{Result, Timestamp};
use serde::Serialize;

use super::{Harness, Ran};

/// An instant, or its RFC 3339 text such as `2026-01-01T09:00:00Z`.
pub trait Instant {
    /// The instant.
    ///
    /// # Panics
    /// If the text is none.
    #[track_caller]
    fn instant(self) -> Timestamp;
}

impl Instant for Timestamp {
    fn instant(self) -> Timestamp {
        self
    }
}

impl Instant for &str {
    #[track_caller]
    fn instant(self) -> Timestamp {
        match self.parse() {
            Ok(time) => time,
            Err(error) => panic!("{self:?} is no instant such as 2026-01-01T09:00:00Z: {error}"),
        }
    }
}

impl Harness {
    /// That the job comes due at `at`: its schedule's next fire time, or a task that waits for that instant.
    ///
    /// # Panics
    /// If it doesn't; the message shows what is scheduled.
    #[track_caller]
    pub fn assert_scheduled(&self, job_id: &str, at: impl Instant) {
        let at = at.instant();
        let found = self.scheduled().into_iter().any(|due| due.is(job_id, at));
        assert!(
            found,
            "{job_id} isn't scheduled for {at}\n{}",
            self.show_scheduled()
        );
    }

    /// That the job comes due at `at` with these arguments.
    ///
    /// # Panics
    /// If it doesn't; the message shows what is scheduled.
    #[track_caller]
    pub fn assert_scheduled_with(&self, job_id: &str, at: impl Instant, arguments: &impl Serialize) {
        let (at, wanted) = (at.instant(), value(arguments));
        let found = self
            .scheduled()
            .into_iter()
            .any(|due| due.is(job_id, at) && value_of(&due.arguments) == wanted);
        assert!(
            found,
            "{job_id} isn't scheduled for {at} with {wanted}\n{}",
            self.show_scheduled()
        );
    }

    /// That nothing of the job is to come: no fire, no waiting task.
    ///
    /// # Panics
    /// If something is; the message shows what is scheduled.
    #[track_caller]
    pub fn assert_not_scheduled(&self, job_id: &str) {
        let found = self
            .scheduled()
            .into_iter()
            .any(|due| due.job_id.as_str() == job_id);
        assert!(!found, "{job_id} is scheduled\n{}", self.show_scheduled());
    }

    /// That at least one task of the job ran; gives the latest.
    ///
    /// # Panics
    /// If none did; the message shows what ran.
    #[track_caller]
    pub fn assert_ran(&self, job_id: &str) -> Ran {
        let last = self.ran(job_id).pop();
        last.unwrap_or_else(|| panic!("{job_id} didn't run\n{}", self.show_ran()))
    }

    /// That exactly `times` tasks of the job ran; gives them, oldest first.
    ///
    /// # Panics
    /// If more or fewer did; the message shows what ran.
    #[track_caller]
    pub fn assert_ran_times(&self, job_id: &str, times: usize) -> Vec<Ran> {
        let ran = self.ran(job_id);
        let actual = ran.len();
        assert!(
            actual == times,
            "{actual} tasks of {job_id} ran, not {times}\n{}",
            self.show_ran()
        );
        ran
    }

    /// That a task of the job ran with these arguments; gives the latest.
    ///
    /// # Panics
    /// If none did; the message shows what ran.
    #[track_caller]
    pub fn assert_ran_with(&self, job_id: &str, arguments: &impl Serialize) -> Ran {
        let wanted = value(arguments);
        let found = self
            .ran(job_id)
            .into_iter()
            .rfind(|ran| value_of(&ran.given) == wanted);
        found.unwrap_or_else(|| panic!("{job_id} didn't run with {wanted}\n{}", self.show_ran()))
    }

    /// That no task of the job ran.
    ///
    /// # Panics
    /// If one did; the message shows what ran.
    #[track_caller]
    pub fn assert_not_ran(&self, job_id: &str) {
        let ran = self.ran(job_id);
        assert!(ran.is_empty(), "{job_id} ran\n{}", self.show_ran());
    }

    /// The job's tasks of which at least one attempt was carried out, oldest first.
    pub fn ran(&self, job_id: &str) -> Vec<Ran> {
        let mut ran = self.all_ran();
        ran.retain(|ran| ran.task.job_id.as_str() == job_id);
        ran
    }

    fn all_ran(&self) -> Vec<Ran> {
        let (finished, any_task) = (FinishedFilter::default(), TaskFilter::default());
        let mut tasks = all(|page| now(self.store.list_finished(&finished, &page)));
        tasks.extend(all(|page| now(self.store.list_tasks(&any_task, &page))));
        let mut ran: Vec<Ran> = tasks.into_iter().filter_map(|task| self.ran_of(task)).collect();
        ran.sort_by_key(|ran| (ran.attempts[0].start_time, ran.attempts[0].token));
        ran
    }

    /// The task with its attempts; `None` if it has none.
    fn ran_of(&self, task: Task) -> Option<Ran> {
        let of_task = AttemptFilter {
            task_id: Some(task.task_id.clone()),
            ..AttemptFilter::default()
        };
        let mut attempts = all(|page| now(self.store.list_attempts(&of_task, &page)));
        attempts.sort_by_key(|attempt| attempt.attempt);
        let numbers = attempts.iter().map(|attempt| attempt.attempt);
        let logs = numbers
            .flat_map(|attempt| self.logs(&task.task_id, attempt))
            .collect();
        (!attempts.is_empty()).then(|| Ran {
            given: task
                .arguments
                .clone()
                .unwrap_or_else(|| self.job_arguments(&task.job_id)),
            task,
            attempts,
            logs,
        })
    }

    fn logs(&self, task_id: &TaskId, attempt: u32) -> Vec<String> {
        let mut read = ReadLogs::new(task_id.clone(), attempt);
        let mut logs = Vec::new();
        loop {
            let chunks = now(self.store.read_logs(&read));
            let is_last = chunks.len() < read.limit;
            read.first_sequence = chunks.last().map_or(0, |chunk| chunk.sequence + 1);
            logs.extend(chunks.into_iter().map(|chunk| chunk.text));
            if is_last {
                return logs;
            }
        }
    }

    fn job_arguments(&self, job_id: &JobId) -> Json {
        let job = now(self.store.get_jobs(std::slice::from_ref(job_id)))
            .pop()
            .flatten();
        job.map_or(Json::NULL, |job| job.definition.command.arguments.clone())
    }

    fn scheduled(&self) -> Vec<Scheduled> {
        let (any_job, any_task) = (JobFilter::default(), TaskFilter::default());
        let jobs = all(|page| now(self.store.list_jobs(&any_job, &page))).into_iter();
        let fires = jobs.filter_map(|job| {
            Some(Scheduled {
                job_id: job.job_id.clone(),
                at: job.next_fire_time?,
                arguments: job.definition.command.arguments.clone(),
                by: "its schedule".to_owned(),
            })
        });
        let tasks = all(|page| now(self.store.list_tasks(&any_task, &page))).into_iter();
        let waiting = tasks
            .filter(|task| task.state.is_waiting())
            .map(|task| Scheduled {
                arguments: task.arguments.unwrap_or_else(|| self.job_arguments(&task.job_id)),
                job_id: task.job_id,
                at: task.due_time,
                by: format!("a task, {} after {} attempts", task.state, task.attempt),
            });
        let mut scheduled: Vec<_> = fires.chain(waiting).collect();
        scheduled.sort_by_key(|due| due.at);
        scheduled
    }

    fn show_scheduled(&self) -> String {
        let lines = self.scheduled().into_iter().map(|due| {
            let Scheduled {
                job_id,
                at,
                by,
                arguments,
            } = due;
            format!("{at} {job_id} with {} by {by}", arguments.as_str())
        });
        list("scheduled", self.now(), lines.collect())
    }

    fn show_ran(&self) -> String {
        list(
            "ran",
            self.now(),
            self.all_ran().iter().map(Ran::describe).collect(),
        )
    }
}

/// Something to come.
struct Scheduled {
    job_id: JobId,
    at: Timestamp,
    arguments: Json,
    by: String,
}

impl Scheduled {
    fn is(&self, job_id: &str, at: Timestamp) -> bool {
        self.job_id.as_str() == job_id && self.at == at
    }
}

/// How many lines a message shows at the most.
const MOST_LINES: usize = 20;

fn list(what: &str, now: Timestamp, lines: Vec<String>) -> String {
    let (count, dropped) = (lines.len(), lines.len().saturating_sub(MOST_LINES));
    let shown: String = lines
        .iter()
        .skip(dropped)
        .map(|line| format!("  {line}\n"))
        .collect();
    let note = if dropped > 0 { " (the last of them)" } else { "" };
    format!("it is {now}, and what is {what}, {count} in all{note}:\n{shown}")
        .replace("what is ran", "what ran")
}

fn value(arguments: &impl Serialize) -> serde_json::Value {
    match serde_json::to_value(arguments) {
        Ok(value) => value,
        Err(error) => panic!("the arguments have no JSON form: {error}"),
    }
}

/// Compared as values: the order of fields and spaces are of no account.
fn value_of(arguments: &Json) -> serde_json::Value {
    arguments.decode().expect("invariant: stored arguments are JSON")
}

/// All rows of a listing.
fn all<T>(mut read: impl FnMut(PageRequest) -> Page<T>) -> Vec<T> {
    let mut items = Vec::new();
    let mut request = PageRequest::first(MAX_BATCH);
    loop {
        let page = read(request);
        items.extend(page.items);
        match page.next {
            None => return items,
            cursor => {
                request = PageRequest {
                    cursor,
                    limit: MAX_BATCH,
                }
            }
        }
    }
}

/// The answer of the in-memory store, which never waits: so that assertions needn't be awaited, and a failed one points
/// at its caller.
fn now<T>(call: impl Future<Output = Result<T>>) -> T {
    let answer = call
        .now_or_never()
        .expect("invariant: the in-memory store answers at once");
    answer.expect("invariant: the in-memory store doesn't fail")
}
