//! What waits at gates, in queues of tasks with the same gates.
//!
//! Tasks with the same gates are alike but for their order: once one of them is held up by a gate that lets nothing
//! more through, so are all behind it. So a promotion looks at no more of a queue than its gates can let pass, however
//! long the queue is.

use std::collections::BTreeMap;

use super::gates::{GateEntry, Gates};
use super::tasks::{Slot, Tasks};
use crate::engine::gate::RATE_HORIZON;
use crate::gate::GateKey;
use crate::id::TaskId;
use crate::overlap::OverlapPolicy;
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
        let mut slots = Vec::new();
        let mut fresh = 0;
        for ((is_fresh, ..), slot) in &self.waiting {
            if slots.len() >= room.tasks || (*is_fresh && fresh >= room.fresh) {
                break;
            }
            if tasks.task(*slot).due_time <= now {
                fresh += usize::from(*is_fresh);
                slots.push(*slot);
            }
        }
        slots
    }
}

/// How many tasks of a queue its gates can let pass at the most, and one more, which tells when to look again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    tasks: usize,
    /// Of those that never passed.
    fresh: usize,
}

impl Room {
    /// The room behind all of `keys`.
    pub(super) fn behind(keys: &[GateKey], gates: &Gates, now: Timestamp) -> Self {
        let mut room = Self {
            tasks: usize::MAX,
            fresh: usize::MAX,
        };
        for entry in keys.iter().filter_map(|key| gates.get(key)) {
            match entry.policy.overlap {
                OverlapPolicy::Allow => {}
                OverlapPolicy::QueueAll => room.fresh = 1,
                // Each of them is decided about now: skipped, cancelled, or the one that waits.
                OverlapPolicy::Skip | OverlapPolicy::QueueOne | OverlapPolicy::CancelPrevious => {
                    return Self {
                        tasks: usize::MAX,
                        fresh: usize::MAX,
                    };
                }
            }
            room.tasks = room.tasks.min(room_of(entry, now).saturating_add(1));
        }
        room
    }
}

/// How many tasks one gate can let pass at the most.
fn room_of(entry: &GateEntry, now: Timestamp) -> usize {
    let limit = entry.policy.max_live.map(|max| max.saturating_sub(entry.live));
    let rate = entry.policy.rate.map(|rate| {
        let interval = (rate.per / rate.count.max(1)).as_micros().max(1);
        let arrival_time = entry.arrival_time.map_or(now, |arrival| arrival.max(now));
        let tolerance = interval * u128::from(rate.burst.saturating_sub(1));
        let ahead = (RATE_HORIZON.as_micros() + tolerance).checked_sub(arrival_time.since(now).as_micros());
        // A partial interval counts: more than can pass does no harm.
        ahead.map_or(0, |ahead| {
            usize::try_from(ahead / interval + 1).unwrap_or(usize::MAX)
        })
    });
    let limit = limit.map_or(usize::MAX, |limit| limit as usize);
    limit.min(rate.unwrap_or(usize::MAX))
}
