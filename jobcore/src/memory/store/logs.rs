//! Log chunks of attempts.

use std::collections::BTreeMap;

use super::state::clamp;
use crate::attempt::LogChunk;
use crate::id::TaskId;
use crate::store::ReadLogs;

/// The chunks of each task, by attempt and sequence.
#[derive(Debug, Default)]
pub(super) struct Logs(BTreeMap<TaskId, BTreeMap<(u32, u64), LogChunk>>);

impl Logs {
    /// Adds a chunk, unless it is there.
    pub(super) fn append(&mut self, chunk: LogChunk) {
        let chunks = self.0.entry(chunk.task_id.clone()).or_default();
        chunks.entry((chunk.attempt, chunk.sequence)).or_insert(chunk);
    }

    pub(super) fn read(&self, read: &ReadLogs) -> Vec<LogChunk> {
        let Some(chunks) = self.0.get(&read.task_id) else {
            return Vec::new();
        };
        chunks
            .range((read.attempt, read.first_sequence)..=(read.attempt, u64::MAX))
            .take(clamp(read.limit))
            .map(|(_, chunk)| chunk.clone())
            .collect()
    }

    pub(super) fn purge(&mut self, task_id: &TaskId) {
        self.0.remove(task_id);
    }
}
