//! Gates: what is live behind each, and which queues wait there.

use std::collections::{BTreeMap, BTreeSet};

use super::queues::Queue;
use super::tasks::{Slot, Tasks};
use crate::engine::gate::counts;
use crate::gate::{GateKey, GatePolicy};
use crate::overlap::OverlapPolicy;
use crate::task::Task;
use crate::time::Timestamp;

/// A gate that live tasks name, or whose rate still remembers the last one.
#[derive(Debug, Default)]
pub(super) struct GateEntry {
    pub(super) policy: GatePolicy,
    pub(super) arrival_time: Option<Timestamp>,
    /// How many live tasks name it.
    tasks: usize,
    /// How many of them count against the limit.
    pub(super) live: u32,
    /// Those that passed.
    pub(super) occupants: BTreeSet<Slot>,
    /// The queues that wait here, by the gates of their tasks. None is empty.
    pub(super) queues: BTreeSet<Vec<GateKey>>,
}

/// All gates.
#[derive(Debug, Default)]
pub(super) struct Gates {
    by_key: BTreeMap<GateKey, GateEntry>,
    queues: BTreeMap<Vec<GateKey>, Queue>,
    /// Gates without tasks, kept for their arrival time.
    idle: BTreeSet<GateKey>,
}

impl Gates {
    /// Counts a new task in, whose policy is the gate's from now on.
    pub(super) fn enter(&mut self, key: &GateKey, policy: &GatePolicy, tasks: &Tasks) {
        self.idle.remove(key);
        let entry = self.by_key.entry(key.clone()).or_default();
        entry.tasks += 1;
        if entry.policy == *policy {
            return;
        }
        entry.policy = policy.clone();
        for gates in entry.queues.clone() {
            let overlap = self.has_overlap(&gates);
            if let Some(queue) = self.queues.get_mut(&gates) {
                queue.set_overlap(overlap, tasks);
            }
        }
    }

    fn has_overlap(&self, keys: &[GateKey]) -> bool {
        let mut entries = keys.iter().filter_map(|key| self.get(key));
        entries.any(|entry| entry.policy.overlap != OverlapPolicy::Allow)
    }

    /// Counts a task out that is final.
    pub(super) fn leave(&mut self, key: &GateKey, now: Timestamp) {
        let Some(entry) = self.by_key.get_mut(key) else {
            return;
        };
        entry.tasks -= 1;
        if entry.tasks > 0 {
            return;
        }
        if entry.arrival_time.is_some_and(|arrival_time| arrival_time > now) {
            self.idle.insert(key.clone());
        } else {
            self.by_key.remove(key);
        }
    }

    /// Forgets gates that nothing names and whose rate is quiet again.
    pub(super) fn forget_idle(&mut self, now: Timestamp) {
        let by_key = &mut self.by_key;
        self.idle.retain(|key| {
            let quiet = by_key
                .get(key)
                .and_then(|entry| entry.arrival_time)
                .is_none_or(|arrival_time| arrival_time <= now);
            if quiet {
                by_key.remove(key);
            }
            !quiet
        });
    }

    /// Counts a task at its gates as its state says.
    pub(super) fn count(&mut self, task: &Task, slot: Slot) {
        for key in &task.gates {
            if let Some(entry) = self.by_key.get_mut(key) {
                entry.live += u32::from(counts(task));
                if task.passed {
                    entry.occupants.insert(slot);
                }
            }
        }
    }

    /// Takes back what [`count`](Self::count) did, before the task changes.
    pub(super) fn uncount(&mut self, task: &Task, slot: Slot) {
        for key in &task.gates {
            if let Some(entry) = self.by_key.get_mut(key) {
                entry.live -= u32::from(counts(task));
                entry.occupants.remove(&slot);
            }
        }
    }

    /// Adds a due `Blocked` task to those that wait.
    pub(super) fn wait(&mut self, task: &Task, slot: Slot, tasks: &Tasks) {
        if let Some(queue) = self.queues.get_mut(&task.gates) {
            queue.add(task, slot);
            return;
        }
        let mut queue = Queue::default();
        queue.set_overlap(self.has_overlap(&task.gates), tasks);
        queue.add(task, slot);
        self.queues.insert(task.gates.clone(), queue);
        for key in &task.gates {
            if let Some(entry) = self.by_key.get_mut(key) {
                entry.queues.insert(task.gates.clone());
            }
        }
    }

    /// Takes a task from those that wait.
    pub(super) fn stop_waiting(&mut self, task: &Task) {
        let Some(queue) = self.queues.get_mut(&task.gates) else {
            return;
        };
        queue.remove(task);
        if !queue.is_empty() {
            return;
        }
        self.queues.remove(&task.gates);
        for key in &task.gates {
            if let Some(entry) = self.by_key.get_mut(key) {
                entry.queues.remove(&task.gates);
            }
        }
    }

    pub(super) fn get(&self, key: &GateKey) -> Option<&GateEntry> {
        self.by_key.get(key)
    }

    /// The tasks with just these gates that wait there.
    pub(super) fn queue(&self, gates: &[GateKey]) -> Option<&Queue> {
        self.queues.get(gates)
    }

    pub(super) fn arrive(&mut self, key: &GateKey, arrival_time: Timestamp) {
        if let Some(entry) = self.by_key.get_mut(key) {
            entry.arrival_time = Some(arrival_time);
        }
    }

    /// The gates where something waits.
    pub(super) fn waited_at(&self) -> Vec<GateKey> {
        let waited = self.by_key.iter().filter(|(_, entry)| !entry.queues.is_empty());
        waited.map(|(key, _)| key.clone()).collect()
    }

    /// Whether a task waits at the gate that is due at `now`.
    pub(super) fn is_waited_at(&self, key: &GateKey, now: Timestamp, tasks: &Tasks) -> bool {
        let queues = self.get(key).into_iter().flat_map(|entry| &entry.queues);
        let mut slots = queues
            .filter_map(|gates| self.queue(gates))
            .flat_map(Queue::slots);
        slots.any(|slot| tasks.task(slot).due_time <= now)
    }
}
