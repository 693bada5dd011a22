//! What waits at gates, in queues of tasks with the same gates.
//!
//! A promotion looks at no more of a queue than there is [`Room`] for, however long the queue is.

use std::collections::BTreeMap;

use super::tasks::{Slot, Tasks};
use crate::engine::gate::Room;
use crate::id::TaskId;
use crate::task::Task;
use crate::time::Timestamp;

/// The order in which the plan takes tasks of one queue.
type Turn = (bool, i64, Timestamp, TaskId);

/// Due `Blocked` tasks with the same gates.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Whether one of the gates has an overlap policy, behind which tasks keep the order in which they came due.
    overlap: bool,
    waiting: BTreeMap<Turn, Slot>,
}

impl Queue {
    fn turn(&self, task: &Task) -> Turn {
        let place = if self.overlap {
            task.due_time.as_micros()
        } else {
            task.rank.0
        };
        (!task.passed, place, task.create_time, task.task_id.clone())
    }

    /// Orders the tasks anew, after the policy of a gate changed.
    pub(super) fn set_overlap(&mut self, overlap: bool, tasks: &Tasks) {
        if self.overlap == overlap {
            return;
        }
        self.overlap = overlap;
        let slots: Vec<Slot> = std::mem::take(&mut self.waiting).into_values().collect();
        for slot in slots {
            self.add(tasks.task(slot), slot);
        }
    }

    pub(super) fn add(&mut self, task: &Task, slot: Slot) {
        self.waiting.insert(self.turn(task), slot);
    }

    pub(super) fn remove(&mut self, task: &Task) {
        self.waiting.remove(&self.turn(task));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// All that wait, in order.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.waiting.values().copied()
    }

    /// Those that a plan at `now` must see: none of the others can be moved by it.
    pub(super) fn concerned(&self, room: Room, now: Timestamp, tasks: &Tasks) -> Vec<Slot> {
        let first_fresh: Turn = (true, i64::MIN, Timestamp::MIN, TaskId::from_stored(""));
        let due = |(_, slot): (&Turn, &Slot)| Some(*slot).filter(|slot| tasks.task(*slot).due_time <= now);
        let passed = self
            .waiting
            .range(..first_fresh.clone())
            .filter_map(due)
            .take(room.passed);
        let fresh = self.waiting.range(first_fresh..).filter_map(due).take(room.fresh);
        passed.chain(fresh).collect()
    }
}
