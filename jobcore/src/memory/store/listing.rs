//! Reads over live tasks, and changes in the order in which they happened.

use std::collections::{BTreeMap, BinaryHeap};

use super::history::{Note, parse};
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

    pub(super) fn list_tasks(&self, filter: &TaskFilter, page: &PageRequest) -> Page<Task> {
        let limit = clamp(page.limit);
        let after = page.cursor.as_ref().map(|cursor| cursor.0.as_str());
        let mut slots = self.lowest_ids(limit + 1, |task| {
            after.is_none_or(|after| task.task_id.as_str() > after) && matches(filter, task)
        });
        let more = slots.len() > limit;
        slots.truncate(limit);
        let items: Vec<Task> = slots
            .into_iter()
            .map(|slot| self.tasks.task(slot).clone())
            .collect();
        let next = items
            .last()
            .filter(|_| more)
            .map(|task| Cursor(task.task_id.as_str().to_owned()));
        Page { items, next }
    }

    /// The live tasks of a job without a request to cancel, by id, at most `limit`.
    pub(super) fn uncancelled(&self, job_id: &JobId, limit: usize) -> Vec<Slot> {
        self.lowest_ids(limit, |task| task.job_id == *job_id && task.cancel.is_none())
    }

    /// The live tasks with the lowest ids among those that match, in order.
    fn lowest_ids(&self, count: usize, matches: impl Fn(&Task) -> bool) -> Vec<Slot> {
        let mut lowest: BinaryHeap<(&TaskId, Slot)> = BinaryHeap::with_capacity(count + 1);
        for (slot, task) in self.tasks.live().filter(|(_, task)| matches(task)) {
            if lowest.len() < count {
                lowest.push((&task.task_id, slot));
            } else if lowest.peek().is_some_and(|(highest, _)| task.task_id < **highest) {
                lowest.pop();
                lowest.push((&task.task_id, slot));
            }
        }
        lowest
            .into_sorted_vec()
            .into_iter()
            .map(|(_, slot)| slot)
            .collect()
    }

    pub(super) fn task_counts(&self) -> Vec<TaskCount> {
        let mut counts: BTreeMap<(Lane, TaskState), TaskCount> = BTreeMap::new();
        for (_, task) in self.tasks.live() {
            let count = counts
                .entry((task.lane.clone(), task.state))
                .or_insert_with(|| TaskCount {
                    lane: task.lane.clone(),
                    state: task.state,
                    count: 0,
                    oldest_due_time: task.due_time,
                });
            count.count += 1;
            count.oldest_due_time = count.oldest_due_time.min(task.due_time);
        }
        counts.into_values().collect()
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

fn matches(filter: &TaskFilter, task: &Task) -> bool {
    filter.job_id.as_ref().is_none_or(|job_id| *job_id == task.job_id)
        && (filter.states.is_empty() || filter.states.contains(&task.state))
        && filter.executor_id.as_ref().is_none_or(|executor_id| {
            task.holder
                .as_ref()
                .is_some_and(|holder| holder.executor_id == *executor_id)
        })
}
