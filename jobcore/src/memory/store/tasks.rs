//! All tasks by id, live and final: each keeps its slot until it is purged.

use std::ops::Range;

use super::finished::Finished;
use super::ids::{Ids, Key};
use super::lanes::LaneId;
use super::timeline::{Dated, Timeline};
use crate::id::{JobId, TaskId};
use crate::task::{Task, TaskState};
use crate::time::Timestamp;

/// A task's place in memory, by which the sets that it is in refer to it.
pub(super) type Slot = u32;

/// A live task and what only this store knows of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) task: Task,
    pub(super) lane: LaneId,
    /// Its latest attempt in the history, from which the earlier ones are linked.
    pub(super) last_attempt: Option<u64>,
}

impl Dated for (Slot, Finished) {
    fn time(&self) -> Timestamp {
        self.1.end_time
    }
}

/// What is in a slot.
#[derive(Debug)]
enum Place {
    Free,
    // Boxed, so that growing moves little.
    Live(Box<Entry>),
    /// A final task, by its number among those.
    Final(u64),
}

/// All tasks.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    ids: Ids,
    places: Vec<Place>,
    free: Vec<Slot>,
    /// A bit for each slot: whether its task is live.
    live: Vec<u64>,
    /// Final tasks, in the order in which they became so, with their slots.
    pub(super) finished: Timeline<(Slot, Finished)>,
}

impl Tasks {
    pub(super) fn slot(&self, task_id: &TaskId) -> Option<Slot> {
        self.ids.get(&self.ids.key(task_id))
    }

    /// The key to [`add`](Self::add) a task with this id; `None` if there is one, live or final.
    pub(super) fn new_key(&self, task_id: &TaskId) -> Option<Key> {
        let key = self.ids.key(task_id);
        self.ids.get(&key).is_none().then_some(key)
    }

    /// The slot of a live task.
    pub(super) fn live_slot(&self, task_id: &TaskId) -> Option<Slot> {
        self.slot(task_id).filter(|slot| self.is_live(*slot))
    }

    /// Adds a live task under the key of its id.
    pub(super) fn add(&mut self, key: Key, task: Task, lane: LaneId) -> Slot {
        let place = Place::Live(Box::new(Entry {
            task,
            lane,
            last_attempt: None,
        }));
        let slot = match self.free.pop() {
            Some(slot) => {
                self.places[slot as usize] = place;
                slot
            }
            None => {
                self.places.push(place);
                Slot::try_from(self.places.len() - 1).expect("invariant: memory ends before 2^32 tasks do")
            }
        };
        let word = slot as usize / 64;
        if self.live.len() <= word {
            self.live.resize(word + 1, 0);
        }
        self.live[word] |= 1 << (slot % 64);
        self.ids.insert(key, slot);
        slot
    }

    /// Makes a task final; returns its number.
    pub(super) fn finish(
        &mut self,
        slot: Slot,
        state: TaskState,
        reason: Option<String>,
        end_time: Timestamp,
    ) -> u64 {
        self.live[slot as usize / 64] &= !(1 << (slot % 64));
        let number = self.finished.end();
        let place = &mut self.places[slot as usize];
        if let Place::Live(entry) = std::mem::replace(place, Place::Final(number)) {
            self.finished
                .push((slot, Finished::new(*entry, state, reason, end_time)));
        }
        number
    }

    /// Forgets a final task.
    pub(super) fn purge(&mut self, number: u64) -> Option<Finished> {
        let (slot, finished) = self.finished.remove(number)?;
        self.places[slot as usize] = Place::Free;
        self.ids.remove(&finished.task_id);
        self.free.push(slot);
        Some(finished)
    }

    pub(super) fn is_live(&self, slot: Slot) -> bool {
        self.live
            .get(slot as usize / 64)
            .is_some_and(|word| word & (1 << (slot % 64)) != 0)
    }

    /// The live task in a slot; sets of live tasks name only such.
    pub(super) fn entry(&self, slot: Slot) -> &Entry {
        match &self.places[slot as usize] {
            Place::Live(entry) => entry,
            place => unreachable!("invariant: slot {slot} holds a live task, not {place:?}"),
        }
    }

    /// As [`entry`](Self::entry), to change it.
    pub(super) fn entry_mut(&mut self, slot: Slot) -> &mut Entry {
        match &mut self.places[slot as usize] {
            Place::Live(entry) => entry,
            place => unreachable!("invariant: slot {slot} holds a live task, not {place:?}"),
        }
    }

    pub(super) fn task(&self, slot: Slot) -> &Task {
        &self.entry(slot).task
    }

    pub(super) fn task_mut(&mut self, slot: Slot) -> &mut Task {
        &mut self.entry_mut(slot).task
    }

    /// The final task in a slot.
    pub(super) fn finished_in(&self, slot: Slot) -> Option<&Finished> {
        match self.places[slot as usize] {
            Place::Final(number) => Some(&self.finished.get(number)?.1),
            _ => None,
        }
    }

    /// A copy of the task in a slot, live or final.
    pub(super) fn copy(&self, slot: Slot) -> Option<Task> {
        match &self.places[slot as usize] {
            Place::Free => None,
            Place::Live(entry) => Some(entry.task.clone()),
            Place::Final(number) => Some(self.finished.get(*number)?.1.to_task()),
        }
    }

    /// The ids of the task in a slot, live or final, and of its job.
    pub(super) fn ids_in(&self, slot: Slot) -> Option<(&TaskId, &JobId)> {
        match &self.places[slot as usize] {
            Place::Free => None,
            Place::Live(entry) => Some((&entry.task.task_id, &entry.task.job_id)),
            Place::Final(number) => {
                let finished = &self.finished.get(*number)?.1;
                Some((&finished.task_id, &finished.job_id))
            }
        }
    }

    /// The latest attempt of the task in a slot, live or final.
    pub(super) fn last_attempt(&self, slot: Slot) -> Option<u64> {
        match &self.places[slot as usize] {
            Place::Free => None,
            Place::Live(entry) => entry.last_attempt,
            Place::Final(number) => self.finished.get(*number)?.1.last_attempt,
        }
    }

    /// Replaces a live task by what `change` makes of it.
    pub(super) fn replace(&mut self, slot: Slot, change: impl FnOnce(Task) -> Task) {
        let place = &mut self.places[slot as usize];
        if let Place::Live(mut entry) = std::mem::replace(place, Place::Free) {
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
            *place = Place::Live(entry);
        }
    }

    /// The live tasks, in order of slots.
    pub(super) fn live(&self) -> impl Iterator<Item = (Slot, &Task)> {
        self.live_in(0..Slot::MAX)
    }

    /// The live tasks in these slots, in order; the range begins and ends with a multiple of 64, or beyond all slots.
    pub(super) fn live_in(&self, slots: Range<Slot>) -> impl Iterator<Item = (Slot, &Task)> {
        let words = slots.start / 64..slots.end.div_ceil(64).min(self.live.len() as Slot);
        words
            .flat_map(|word| Bits(self.live[word as usize]).map(move |bit| word * 64 + bit))
            .map(|slot| (slot, self.task(slot)))
    }

    /// How many slots there are, in use or not.
    pub(super) const fn slots(&self) -> usize {
        self.places.len()
    }
}

/// The positions of the set bits of a word.
struct Bits(u64);

impl Iterator for Bits {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        let bit = self.0.trailing_zeros();
        if bit == 64 {
            return None;
        }
        self.0 &= self.0 - 1;
        Some(bit)
    }
}
