//! All tasks by id, live and final: each keeps its slot until it is purged.

use std::collections::HashMap;

use super::lanes::LaneId;
use crate::id::TaskId;
use crate::task::Task;

/// A task's place in memory, by which the sets that it is in refer to it.
pub(super) type Slot = u32;

/// A task and what only this store knows of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) task: Task,
    /// Its lane; of no meaning when it is final.
    pub(super) lane: LaneId,
    /// Its latest attempt in the history, from which the earlier ones are linked.
    pub(super) last_attempt: Option<u64>,
}

/// All tasks.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    by_id: HashMap<TaskId, Slot>,
    // Boxed, so that growing moves a word a task.
    entries: Vec<Option<Box<Entry>>>,
    free: Vec<Slot>,
    /// A bit for each slot: whether its task is live.
    live: Vec<u64>,
}

impl Tasks {
    pub(super) fn slot(&self, task_id: &TaskId) -> Option<Slot> {
        self.by_id.get(task_id).copied()
    }

    /// The slot of a live task.
    pub(super) fn live_slot(&self, task_id: &TaskId) -> Option<Slot> {
        self.slot(task_id).filter(|slot| self.is_live(*slot))
    }

    /// Adds a live task, whose id must be new.
    pub(super) fn add(&mut self, task: Task, lane: LaneId) -> Slot {
        let task_id = task.task_id.clone();
        let entry = Some(Box::new(Entry {
            task,
            lane,
            last_attempt: None,
        }));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                slot
            }
            None => {
                self.entries.push(entry);
                Slot::try_from(self.entries.len() - 1).expect("invariant: memory ends before 2^32 tasks do")
            }
        };
        let word = slot as usize / 64;
        if self.live.len() <= word {
            self.live.resize(word + 1, 0);
        }
        self.live[word] |= 1 << (slot % 64);
        self.by_id.insert(task_id, slot);
        slot
    }

    /// Notes that a task is final.
    pub(super) fn end(&mut self, slot: Slot) {
        self.live[slot as usize / 64] &= !(1 << (slot % 64));
    }

    /// Forgets a task.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Box<Entry>> {
        let entry = self.entries.get_mut(slot as usize)?.take()?;
        self.end(slot);
        self.by_id.remove(&entry.task.task_id);
        self.free.push(slot);
        Some(entry)
    }

    pub(super) fn is_live(&self, slot: Slot) -> bool {
        self.live
            .get(slot as usize / 64)
            .is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }

    /// The entry in a slot that is in use.
    pub(super) fn entry(&self, slot: Slot) -> &Entry {
        self.entries[slot as usize]
            .as_deref()
            .expect("invariant: sets name only slots in use")
    }

    /// As [`entry`](Self::entry), to change it.
    pub(super) fn entry_mut(&mut self, slot: Slot) -> &mut Entry {
        self.entries[slot as usize]
            .as_deref_mut()
            .expect("invariant: sets name only slots in use")
    }

    pub(super) fn task(&self, slot: Slot) -> &Task {
        &self.entry(slot).task
    }

    pub(super) fn task_mut(&mut self, slot: Slot) -> &mut Task {
        &mut self.entry_mut(slot).task
    }

    /// Replaces a task by what `change` makes of it.
    pub(super) fn replace(&mut self, slot: Slot, change: impl FnOnce(Task) -> Task) {
        let place = &mut self.entries[slot as usize];
        let mut entry = place.take().expect("invariant: sets name only slots in use");
        let Entry {
            task,
            lane,
            last_attempt,
        } = *entry;
        *entry = Entry {
            task: change(task),
            lane,
            last_attempt,
        };
        *place = Some(entry);
    }

    /// The live tasks in slots from `from` on.
    pub(super) fn live_from(&self, from: usize) -> impl Iterator<Item = (Slot, &Task)> {
        (from / 64..self.live.len())
            .flat_map(|word| Bits(self.live[word]).map(move |bit| word * 64 + bit as usize))
            .filter(move |slot| *slot >= from)
            .map(|slot| (slot as Slot, self.task(slot as Slot)))
    }
}

/// The positions of the set bits of a word.
struct Bits(u64);

impl Iterator for Bits {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let bit = self.0.trailing_zeros();
        if bit == 64 {
            return None;
        }
        self.0 &= self.0 - 1;
        Some(bit)
    }
}
