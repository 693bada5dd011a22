//! The tasks that are measured: their ids, jobs and priorities, and how often each ran.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use jobcore::id::{JobId, TaskId};

/// How many jobs the tasks belong to.
pub(crate) const JOBS: usize = 100;

/// How many priorities are mixed.
pub(crate) const PRIORITIES: usize = 5;

/// The handler that all jobs name.
pub(crate) const HANDLER: &str = "measure";

/// The priority of the nth task: the levels mixed, so that a claim never finds its tasks in the order of their insert.
pub(crate) fn priority(n: usize) -> i32 {
    i32::try_from(n * 7 % PRIORITIES).unwrap_or(0)
}

/// The job of the nth task.
pub(crate) fn job_id(n: usize) -> JobId {
    JobId::from_stored(format!("job-{}", n % JOBS))
}

/// The id of the nth task: as long as a generated one, in time order, and its number can be read from it.
pub(crate) fn task_id(n: usize) -> String {
    let random = (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!(
        "{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}",
        0x019b_0000 + (n >> 16),
        n & 0xFFFF,
        random & 0xFFF,
        random >> 12 & 0xFFF,
        random >> 16
    )
}

/// The number of the task with this id; `None` if it is none of ours.
pub(crate) fn number(task_id: &TaskId) -> Option<usize> {
    let text = task_id.as_str();
    let high = usize::from_str_radix(text.get(..8)?, 16)
        .ok()?
        .checked_sub(0x019b_0000)?;
    let low = usize::from_str_radix(text.get(9..13)?, 16).ok()?;
    Some(high << 16 | low)
}

/// How often each task ran.
#[derive(Debug)]
pub(crate) struct Runs(Vec<AtomicU8>);

impl Runs {
    pub(crate) fn new(tasks: usize) -> Self {
        Self((0..tasks).map(|_| AtomicU8::new(0)).collect())
    }

    /// Notes that this task ran.
    pub(crate) fn add(&self, task_id: &TaskId) {
        if let Some(runs) = number(task_id).and_then(|n| self.0.get(n)) {
            runs.fetch_add(1, Relaxed);
        }
    }

    /// Notes as many runs of each task as are counted here.
    pub(crate) fn add_all(&self, counts: &[u8]) {
        for (runs, count) in self.0.iter().zip(counts) {
            runs.fetch_add(*count, Relaxed);
        }
    }

    /// How often each task ran.
    pub(crate) fn counts(&self) -> Vec<u8> {
        self.0.iter().map(|runs| runs.load(Relaxed)).collect()
    }

    /// How many runs there were beyond one for each task.
    pub(crate) fn duplicates(&self) -> u64 {
        let beyond_one = |runs: &AtomicU8| u64::from(runs.load(Relaxed).saturating_sub(1));
        self.0.iter().map(beyond_one).sum()
    }

    /// Whether the nth task ran.
    pub(crate) fn ran(&self, n: usize) -> bool {
        self.0.get(n).is_some_and(|runs| runs.load(Relaxed) > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tasks_number_is_read_from_its_id() {
        for n in [0, 1, 65_535, 65_536, 9_999_999] {
            let task_id = TaskId::new(task_id(n)).unwrap();
            assert_eq!((number(&task_id), task_id.as_str().len()), (Some(n), 36));
        }
        assert_eq!(number(&TaskId::new("task-1").unwrap()), None);
    }

    #[test]
    fn runs_beyond_the_first_are_duplicates() {
        let runs = Runs::new(2);
        let id = TaskId::new(task_id(1)).unwrap();
        runs.add(&id);
        assert!(runs.ran(1) && !runs.ran(0) && runs.duplicates() == 0);
        runs.add(&id);
        assert_eq!(runs.duplicates(), 1);
    }
}
