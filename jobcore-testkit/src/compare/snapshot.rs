//! What can be seen of a store.

use std::cmp::Reverse;
use std::fmt::Debug;
use std::sync::Arc;

use jobcore::Timestamp;
use jobcore::attempt::{Attempt, LogChunk};
use jobcore::id::{RunId, TaskId};
use jobcore::job::Job;
use jobcore::store::{
    AttemptFilter, Change, Cursor, Decision, DueJobs, ExecutorFilter, ExecutorRecord, FinishedFilter,
    JobFilter, ReadLogs, Record, Store, TaskFilter, WorkflowRun,
};
use jobcore::task::Task;

use super::names::Names;
use super::text;
use crate::conformance::pages;

/// How long the pages are that a snapshot reads: short, so that cursors are used.
const PAGE: usize = 20;

/// Everything that can be seen of a store, with tokens and incarnations as its [`Names`] count them.
#[derive(Clone, Debug, PartialEq, Default)]
pub(super) struct Snapshot {
    pub(super) jobs: Vec<Arc<Job>>,
    due: Vec<Arc<Job>>,
    next_due_time: Option<Timestamp>,
    unplanned: Vec<Arc<Job>>,
    pub(super) records: Vec<Record>,
    pub(super) executors: Vec<ExecutorRecord>,
    pub(super) live: Vec<Task>,
    /// All tasks that ever were asked for, by id.
    known: Vec<Option<Task>>,
    pub(super) finished: Vec<Task>,
    attempts: Vec<Attempt>,
    decisions: Vec<Decision>,
    logs: Vec<LogChunk>,
    pub(super) runs: Vec<WorkflowRun>,
    changes: Vec<Change>,
}

/// What a snapshot asks for by id.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) tasks: Vec<TaskId>,
    pub(super) runs: Vec<RunId>,
    pub(super) now: Timestamp,
}

impl Snapshot {
    /// Looks at everything.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn take(
        store: &dyn Store,
        names: &mut Names,
        asked: &Asked,
        changes: &mut Followed,
    ) -> jobcore::Result<Self> {
        let mut snapshot = Self::default();
        snapshot.take_jobs(store, asked.now).await?;
        snapshot.take_tasks(store, asked).await?;
        snapshot.take_history(store).await?;
        snapshot.name(names);
        changes.read_on(store).await?;
        snapshot.changes.clone_from(&changes.seen);
        Ok(snapshot)
    }

    async fn take_jobs(&mut self, store: &dyn Store, now: Timestamp) -> jobcore::Result<()> {
        self.jobs = pages!(PAGE, |page| store.list_jobs(&JobFilter::default(), &page));
        let due = DueJobs {
            until: now,
            after: None,
            limit: 100,
        };
        self.due = store.due_jobs(&due).await?;
        self.next_due_time = store.next_due_time(now).await?;
        self.unplanned = store.unplanned_jobs("2026b", 100).await?;
        self.records = pages!(PAGE, |page| store.list_records("n", &page));
        self.executors = store.list_executors(&ExecutorFilter::default()).await?;
        Ok(())
    }

    async fn take_tasks(&mut self, store: &dyn Store, asked: &Asked) -> jobcore::Result<()> {
        self.live = pages!(PAGE, |page| store.list_tasks(&TaskFilter::default(), &page));
        for ids in asked.tasks.chunks(100) {
            self.known.extend(store.get_tasks(ids).await?);
        }
        for run_id in &asked.runs {
            self.runs.extend(store.get_run(run_id).await?);
        }
        for run in &mut self.runs {
            // Places in the inbox only have to rise; in which order one call ends several tasks is the store's choice.
            run.inbox.sort_by(|a, b| a.task_id.cmp(&b.task_id));
            for (place, report) in (0..).zip(&mut run.inbox) {
                report.sequence = place;
            }
        }
        Ok(())
    }

    async fn take_history(&mut self, store: &dyn Store) -> jobcore::Result<()> {
        self.finished = pages!(PAGE, |page| store
            .list_finished(&FinishedFilter::default(), &page));
        self.attempts = pages!(PAGE, |page| store.list_attempts(&AttemptFilter::default(), &page));
        self.decisions = pages!(PAGE, |page| store.list_decisions(None, &page));
        // In which order one call ends several tasks is the store's choice; the cases check the rest of the order.
        self.finished
            .sort_by_key(|task| (Reverse(task.end_time), task.task_id.clone()));
        self.decisions
            .sort_by_key(|decision| (Reverse(decision.decision_time), format!("{decision:?}")));
        for attempt in self.attempts.iter().take(5) {
            let read = ReadLogs {
                task_id: attempt.task_id.clone(),
                attempt: attempt.attempt,
                first_sequence: 1,
                limit: 3,
            };
            self.logs.extend(store.read_logs(&read).await?);
        }
        Ok(())
    }

    fn name(&mut self, names: &mut Names) {
        for task in self
            .live
            .iter_mut()
            .chain(&mut self.finished)
            .chain(self.known.iter_mut().flatten())
        {
            *task = names.counted_task(task.clone());
        }
        for attempt in &mut self.attempts {
            *attempt = names.counted_attempt(attempt.clone());
        }
        for executor in &mut self.executors {
            *executor = names.counted_executor(executor.clone());
        }
    }

    /// The first place at which the two differ, in words; `None` if they are equal.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        differ("jobs", &self.jobs, &other.jobs)
            .or_else(|| differ("due jobs", &self.due, &other.due))
            .or_else(|| differ("next due time", &[self.next_due_time], &[other.next_due_time]))
            .or_else(|| differ("unplanned jobs", &self.unplanned, &other.unplanned))
            .or_else(|| differ("records", &self.records, &other.records))
            .or_else(|| differ("executors", &self.executors, &other.executors))
            .or_else(|| differ("live tasks", &self.live, &other.live))
            .or_else(|| differ("known tasks", &self.known, &other.known))
            .or_else(|| differ("finished tasks", &self.finished, &other.finished))
            .or_else(|| differ("attempts", &self.attempts, &other.attempts))
            .or_else(|| differ("decisions", &self.decisions, &other.decisions))
            .or_else(|| differ("logs", &self.logs, &other.logs))
            .or_else(|| differ("runs", &self.runs, &other.runs))
            .or_else(|| differ("changes", &self.changes, &other.changes))
    }
}

fn differ<T: PartialEq + Debug>(what: &str, reference: &[T], tested: &[T]) -> Option<String> {
    let longest = reference.len().max(tested.len());
    let place = (0..longest).find(|place| reference.get(*place) != tested.get(*place))?;
    let [reference, tested] = [reference, tested].map(|rows| format!("{:#?}", rows.get(place)));
    Some(format!(
        "{what} differ at place {place}:\n{}",
        text::difference(&reference, &tested)
    ))
}

/// The changes of a store since the beginning, each once.
#[derive(Debug, Default)]
pub(super) struct Followed {
    cursor: Option<Cursor>,
    seen: Vec<Change>,
}

impl Followed {
    async fn read_on(&mut self, store: &dyn Store) -> jobcore::Result<()> {
        let before = self.seen.len();
        loop {
            let page = store.changes(self.cursor.as_ref(), PAGE).await?;
            let ended = self.cursor.as_ref() == Some(&page.cursor) || page.changes.is_empty();
            self.cursor = Some(page.cursor);
            for change in page.changes {
                if !self.seen.contains(&change) {
                    self.seen.push(change);
                }
            }
            if ended {
                // One call may write several in an order of its own.
                self.seen[before..].sort_by_key(|change| format!("{change:?}"));
                return Ok(());
            }
        }
    }
}
