//! What ran, and why something didn't.

use std::collections::HashSet;

use async_trait::async_trait;
use jobcore::Result;
use jobcore::attempt::{Attempt, LogChunk};
use jobcore::id::{JobId, TaskId};
use jobcore::store::{
    AttemptFilter, Changes, Cursor, Decision, FinishedFilter, HistoryStore, Page, PageRequest, Purge, Purged,
    ReadLogs,
};
use jobcore::task::Task;

use crate::FileStore;
use crate::listing::{clamp, number};
use crate::state::State;

#[async_trait]
impl HistoryStore for FileStore {
    async fn list_attempts(&self, filter: &AttemptFilter, page: &PageRequest) -> Result<Page<Attempt>> {
        self.read(|state| {
            state
                .attempts
                .newest_first(|attempt| matches(filter, attempt), page)
        })
    }

    async fn list_finished(&self, filter: &FinishedFilter, page: &PageRequest) -> Result<Page<Task>> {
        let matches = |task: &Task| {
            filter.job_id.as_ref().is_none_or(|job_id| task.job_id == *job_id)
                && (filter.states.is_empty() || filter.states.contains(&task.state))
        };
        self.read(|state| state.finished.newest_first(matches, page))
    }

    async fn list_decisions(&self, job_id: Option<&JobId>, page: &PageRequest) -> Result<Page<Decision>> {
        let matches = |decision: &Decision| job_id.is_none_or(|job_id| decision.job_id == *job_id);
        self.read(|state| state.decisions.newest_first(matches, page))
    }

    async fn append_logs(&self, chunks: Vec<LogChunk>) -> Result<()> {
        self.write_each(chunks, State::append_log).map(drop)
    }

    async fn read_logs(&self, read: &ReadLogs) -> Result<Vec<LogChunk>> {
        let mut chunks: Vec<LogChunk> = self.read(|state| {
            let chunks = state.logs.iter().filter(|chunk| {
                chunk.task_id == read.task_id
                    && chunk.attempt == read.attempt
                    && chunk.sequence >= read.first_sequence
            });
            chunks.cloned().collect()
        });
        chunks.sort_by_key(|chunk| chunk.sequence);
        chunks.truncate(clamp(read.limit));
        Ok(chunks)
    }

    async fn changes(&self, cursor: Option<&Cursor>, limit: usize) -> Result<Changes> {
        let from = cursor.map(number).transpose()?;
        Ok(self.read(|state| {
            let from = from.unwrap_or(state.changes.next);
            let rows: Vec<_> = state.changes.rows.range(from..).take(clamp(limit)).collect();
            let next = rows.last().map_or(from, |(number, _)| **number + 1);
            Changes {
                changes: rows.into_iter().map(|(_, change)| change.clone()).collect(),
                cursor: Cursor(next.to_string()),
            }
        }))
    }

    async fn purge(&self, purge: &Purge) -> Result<Purged> {
        self.write(|state| state.purge(purge))
    }
}

fn matches(filter: &AttemptFilter, attempt: &Attempt) -> bool {
    filter
        .task_id
        .as_ref()
        .is_none_or(|task_id| attempt.task_id == *task_id)
        && filter
            .job_id
            .as_ref()
            .is_none_or(|job_id| attempt.job_id == *job_id)
        && filter
            .executor_id
            .as_ref()
            .is_none_or(|executor_id| attempt.executor_id == *executor_id)
        && filter.status.is_none_or(|status| attempt.status == status)
        && filter.from_time.is_none_or(|from| attempt.start_time >= from)
        && filter.until_time.is_none_or(|until| attempt.start_time < until)
}

impl State {
    fn append_log(&mut self, chunk: LogChunk) {
        let same = |other: &LogChunk| {
            (&other.task_id, other.attempt, other.sequence) == (&chunk.task_id, chunk.attempt, chunk.sequence)
        };
        if self.task(&chunk.task_id).is_some() && !self.logs.iter().any(same) {
            self.logs.push(chunk);
        }
    }

    fn purge(&mut self, purge: &Purge) -> Purged {
        let limit = clamp(purge.limit);
        let tasks = self.finished.rows.iter();
        let mut old: Vec<_> = tasks
            .filter_map(|(number, task)| Some((task.end_time?, *number)))
            .collect();
        old.retain(|(end_time, _)| *end_time < purge.before);
        old.sort();
        let mut more = old.len() > limit;
        old.truncate(limit);
        let gone = old
            .iter()
            .filter_map(|(_, number)| self.finished.rows.remove(number));
        let gone: HashSet<TaskId> = gone.map(|task| task.task_id).collect();
        self.attempts
            .rows
            .retain(|_, attempt| !gone.contains(&attempt.task_id));
        self.logs.retain(|chunk| !gone.contains(&chunk.task_id));
        more |= self
            .decisions
            .purge(limit, |decision| decision.decision_time < purge.before);
        more |= self.purge_runs(purge, limit);
        more |= self.purge_keys(purge, limit);
        let live = &self.live;
        self.gates.retain(|key, gate| {
            gate.arrival_time
                .is_some_and(|arrival_time| arrival_time > purge.now)
                || live.values().any(|live| live.task.gates.contains(key))
        });
        Purged {
            tasks: gone.len(),
            more,
        }
    }

    fn purge_runs(&mut self, purge: &Purge, limit: usize) -> bool {
        let ended = self
            .runs
            .iter()
            .filter_map(|(run_id, run)| Some((run.end_time?, run_id.clone())));
        let mut ended: Vec<_> = ended.filter(|(end_time, _)| *end_time < purge.before).collect();
        ended.sort();
        for (_, run_id) in ended.iter().take(limit) {
            self.runs.remove(run_id);
        }
        ended.len() > limit
    }

    fn purge_keys(&mut self, purge: &Purge, limit: usize) -> bool {
        let mut gone = 0;
        let live = &self.live;
        self.unique_keys.retain(|row| {
            let free = row.expire_time <= purge.now && !live.contains_key(&row.task_id);
            gone += usize::from(free);
            !free || gone > limit
        });
        gone > limit
    }
}
