//! Reads over live tasks, and changes in the order in which they happened.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BinaryHeap};

use super::history::{Note, parse};
use super::lanes::LaneId;
use super::scan::{TURN, Turn};
use super::state::{State, clamp};
use super::tasks::Slot;
use crate::error::Result;
use crate::id::{JobId, TaskId};
use crate::lane::Lane;
use crate::store::{Change, Changes, Cursor, Page, PageRequest, TaskCount, TaskFilter};
use crate::task::{Task, TaskState};

impl State {
    pub(super) fn get_tasks(&self, task_ids: &[TaskId]) -> Vec<Option<Task>> {
        task_ids
            .iter()
            .map(|task_id| self.tasks.copy(self.tasks.slot(task_id)?))
            .collect()
    }

    /// Takes a turn in looking for the live tasks with the lowest ids that match.
    pub(super) fn lowest_ids(&self, lowest: &mut Lowest, filter: &TaskFilter) -> Turn {
        let end = lowest.slot.saturating_add(TURN as Slot);
        for (slot, task) in self.tasks.live_in(lowest.slot..end) {
            if lowest.wants(&task.task_id) && matches(filter, task) {
                lowest.add(task.task_id.clone(), slot);
            }
        }
        lowest.slot = end;
        self.turn_at(end)
    }

    fn turn_at(&self, slot: Slot) -> Turn {
        if (slot as usize) < self.tasks.slots() {
            Turn::More
        } else {
            Turn::Done
        }
    }

    /// The tasks that were found, as they are now.
    pub(super) fn page_of_tasks(&self, lowest: Lowest) -> Page<Task> {
        let limit = lowest.count - 1;
        let found = lowest.heap.into_sorted_vec();
        let next = found
            .get(limit)
            .and_then(|_| found.get(limit - 1))
            .map(|(task_id, _)| Cursor(task_id.as_str().to_owned()));
        let slots = found.iter().take(limit);
        // One that became final since isn't live any more; its slot may have another task.
        let live = slots.filter(|(task_id, slot)| self.tasks.live_slot(task_id) == Some(*slot));
        let items = live.map(|(_, slot)| self.tasks.task(*slot).clone()).collect();
        Page { items, next }
    }

    /// The live tasks of a job without a request to cancel, by id, at most `limit`.
    pub(super) fn uncancelled(&self, job_id: &JobId, limit: usize) -> Vec<Slot> {
        let tasks = self.tasks.live();
        let mut tasks: Vec<(&TaskId, Slot)> = tasks
            .filter(|(_, task)| task.job_id == *job_id && task.cancel.is_none())
            .map(|(slot, task)| (&task.task_id, slot))
            .collect();
        tasks.sort_unstable();
        tasks.into_iter().take(limit).map(|(_, slot)| slot).collect()
    }

    /// Takes a turn in counting live tasks.
    pub(super) fn count(&self, counts: &mut Counts) -> Turn {
        let end = counts.slot.saturating_add(TURN as Slot);
        // By lane id, which is short to compare; it may mean another lane in the next turn.
        let mut some: BTreeMap<(LaneId, TaskState), TaskCount> = BTreeMap::new();
        for (slot, task) in self.tasks.live_in(counts.slot..end) {
            let count = some
                .entry((self.tasks.entry(slot).lane, task.state))
                .or_insert_with(|| TaskCount {
                    lane: task.lane.clone(),
                    state: task.state,
                    count: 0,
                    oldest_due_time: task.due_time,
                });
            count.count += 1;
            count.oldest_due_time = count.oldest_due_time.min(task.due_time);
        }
        some.into_values().for_each(|count| counts.add(count));
        counts.slot = end;
        self.turn_at(end)
    }

    pub(super) fn changes(&self, cursor: Option<&Cursor>, limit: usize) -> Result<Changes> {
        let end = self.history.changes.end();
        let start = cursor.map_or(Ok(end), parse)?;
        let mut next = start.min(end);
        let mut changes = Vec::new();
        for (number, note) in self.history.changes.from(next) {
            if changes.len() == clamp(limit) {
                break;
            }
            next = number + 1;
            changes.extend(self.change(note));
        }
        Ok(Changes {
            changes,
            cursor: Cursor(next.to_string()),
        })
    }

    fn change(&self, note: &Note) -> Option<Change> {
        match note {
            Note::Job(note) => Some(Change::Job {
                job_id: note.job_id.clone(),
                version: note.version,
            }),
            Note::Task(number) => {
                let (_, task) = self.tasks.finished.get(*number)?;
                Some(Change::Task {
                    task_id: task.task_id.clone(),
                    job_id: task.job_id.clone(),
                    state: task.state,
                })
            }
        }
    }
}

/// The lowest ids after a page's cursor, one more than the page holds.
#[derive(Debug)]
pub(super) struct Lowest {
    /// Where the next turn begins.
    slot: Slot,
    after: Option<Cursor>,
    count: usize,
    heap: BinaryHeap<(TaskId, Slot)>,
}

impl Lowest {
    pub(super) fn new(page: &PageRequest) -> Self {
        Self {
            slot: 0,
            after: page.cursor.clone(),
            count: clamp(page.limit) + 1,
            heap: BinaryHeap::new(),
        }
    }

    fn wants(&self, task_id: &TaskId) -> bool {
        let after = self.after.as_ref();
        after.is_none_or(|after| task_id.as_str() > after.0.as_str())
            && (self.heap.len() < self.count
                || self.heap.peek().is_some_and(|(highest, _)| task_id < highest))
    }

    fn add(&mut self, task_id: TaskId, slot: Slot) {
        self.heap.push((task_id, slot));
        if self.heap.len() > self.count {
            self.heap.pop();
        }
    }
}

/// Counts of live tasks, on their way.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Where the next turn begins.
    slot: Slot,
    counts: BTreeMap<(Lane, TaskState), TaskCount>,
}

impl Counts {
    fn add(&mut self, more: TaskCount) {
        match self.counts.entry((more.lane.clone(), more.state)) {
            Entry::Vacant(place) => {
                place.insert(more);
            }
            Entry::Occupied(mut place) => {
                let count = place.get_mut();
                count.count += more.count;
                count.oldest_due_time = count.oldest_due_time.min(more.oldest_due_time);
            }
        }
    }

    pub(super) fn finish(self) -> Vec<TaskCount> {
        self.counts.into_values().collect()
    }
}

fn matches(filter: &TaskFilter, task: &Task) -> bool {
    filter.job_id.as_ref().is_none_or(|job_id| *job_id == task.job_id)
        && (filter.states.is_empty() || filter.states.contains(&task.state))
        && filter.executor_id.as_ref().is_none_or(|executor_id| {
            task.holder
                .as_ref()
                .is_some_and(|holder| holder.executor_id == *executor_id)
        })
}
