//! Lanes: the ready tasks of each in the order of claims.

use std::collections::{BTreeMap, HashMap};

use super::tasks::Slot;
use crate::id::{ExecutorId, TaskId};
use crate::lane::Lane;
use crate::task::{Rank, Task};

/// A lane's place in memory.
pub(super) type LaneId = u32;

#[derive(Debug)]
struct Entry {
    lane: Lane,
    /// How many live tasks it has, whatever their state. The lane is forgotten with the last.
    tasks: usize,
    ready: BTreeMap<(Rank, TaskId), Slot>,
}

/// The lanes that have live tasks.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    by_lane: HashMap<Lane, LaneId>,
    entries: Vec<Option<Entry>>,
    free: Vec<LaneId>,
    /// The lane that was entered last: the next task is often of the same.
    latest: Option<(Lane, LaneId)>,
}

impl Lanes {
    /// Counts a live task into `lane`.
    pub(super) fn enter(&mut self, lane: &Lane) -> LaneId {
        let id = match &self.latest {
            Some((latest, id)) if latest == lane => *id,
            _ => self.find_or_add(lane),
        };
        self.entry_mut(id).tasks += 1;
        id
    }

    fn find_or_add(&mut self, lane: &Lane) -> LaneId {
        let id = self.find(lane).unwrap_or_else(|| self.add(lane));
        self.latest = Some((lane.clone(), id));
        id
    }

    fn add(&mut self, lane: &Lane) -> LaneId {
        let entry = Some(Entry {
            lane: lane.clone(),
            tasks: 0,
            ready: BTreeMap::new(),
        });
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                LaneId::try_from(self.entries.len() - 1).expect("invariant: memory ends before 2^32 lanes do")
            }
        };
        self.by_lane.insert(lane.clone(), id);
        id
    }

    /// Counts a task out that is no longer live, or is in another lane now. It must not be ready.
    pub(super) fn leave(&mut self, id: LaneId) {
        let entry = self.entry_mut(id);
        entry.tasks -= 1;
        if entry.tasks > 0 {
            return;
        }
        if let Some(entry) = self.entries[id as usize].take() {
            self.by_lane.remove(&entry.lane);
        }
        self.free.push(id);
        if self.latest.as_ref().is_some_and(|(_, latest)| *latest == id) {
            self.latest = None;
        }
    }

    pub(super) fn find(&self, lane: &Lane) -> Option<LaneId> {
        self.by_lane.get(lane).copied()
    }

    /// Adds a task to those that can be claimed.
    pub(super) fn insert(&mut self, id: LaneId, task: &Task, slot: Slot) {
        self.entry_mut(id)
            .ready
            .insert((task.rank, task.task_id.clone()), slot);
    }

    /// Takes a task from those that can be claimed.
    pub(super) fn remove(&mut self, id: LaneId, task: &Task) {
        self.entry_mut(id)
            .ready
            .remove(&(task.rank, task.task_id.clone()));
    }

    /// Takes the first of those that can be claimed.
    pub(super) fn pop(&mut self, id: LaneId) -> Option<Slot> {
        let entry = self.entries.get_mut(id as usize)?.as_mut()?;
        Some(entry.ready.pop_first()?.1)
    }

    /// The lanes with something ready that placement fixed to one executor, in order.
    pub(super) fn fixed(&self) -> Vec<(ExecutorId, LaneId)> {
        let ready = |id: &LaneId| {
            self.entries[*id as usize]
                .as_ref()
                .is_some_and(|entry| !entry.ready.is_empty())
        };
        let lanes = self
            .by_lane
            .iter()
            .filter(|(lane, id)| lane.executor().is_some() && ready(id));
        let mut lanes: Vec<(&Lane, LaneId)> = lanes.map(|(lane, id)| (lane, *id)).collect();
        lanes.sort_unstable();
        let named = lanes
            .into_iter()
            .filter_map(|(lane, id)| Some((lane.executor()?, id)));
        named
            .map(|(executor, id)| (ExecutorId::from_stored(executor), id))
            .collect()
    }

    /// The tasks of a lane that can be claimed, in the order of claims.
    pub(super) fn ready(&self, id: LaneId) -> impl Iterator<Item = Slot> {
        let entry = self.entries.get(id as usize).and_then(Option::as_ref);
        entry.into_iter().flat_map(|entry| entry.ready.values().copied())
    }

    #[cfg(test)]
    pub(super) fn is_ready(&self, id: LaneId, task: &Task) -> bool {
        let entry = self.entries[id as usize].as_ref();
        entry.is_some_and(|entry| entry.ready.contains_key(&(task.rank, task.task_id.clone())))
    }

    /// How many live tasks each lane has.
    #[cfg(test)]
    pub(super) fn counts(&self) -> BTreeMap<Lane, usize> {
        let entries = self.entries.iter().flatten();
        entries.map(|entry| (entry.lane.clone(), entry.tasks)).collect()
    }

    /// All lanes, in order.
    pub(super) fn all(&self) -> Vec<Lane> {
        let mut lanes: Vec<Lane> = self.by_lane.keys().cloned().collect();
        lanes.sort_unstable();
        lanes
    }

    fn entry_mut(&mut self, id: LaneId) -> &mut Entry {
        self.entries[id as usize]
            .as_mut()
            .expect("invariant: a live task's lane has an entry")
    }
}
