//! Purging: history that is old enough goes.

use super::history::Note;
use super::places::fire_key_of;
use super::state::{State, clamp};
use super::tasks::Slot;
use crate::store::{Purge, Purged};

impl State {
    pub(super) fn purge(&mut self, purge: &Purge) -> Purged {
        let limit = clamp(purge.limit);
        let (tasks, mut more) = self.purge_tasks(purge, limit);
        more |= self.purge_decisions(purge, limit);
        more |= self.runs.purge(purge.before, limit);
        let tasks_alive = &self.tasks;
        more |= self.unique.purge(purge.now, limit, |task_id| {
            tasks_alive.live_slot(task_id).is_some()
        });
        self.purge_changes(purge);
        Purged { tasks, more }
    }

    fn purge_tasks(&mut self, purge: &Purge, limit: usize) -> (usize, bool) {
        let finished = self.history.finished.from(0);
        let mut old = finished
            .filter(|(_, slot)| {
                self.tasks
                    .task(**slot)
                    .end_time
                    .is_some_and(|end| end < purge.before)
            })
            .map(|(number, slot)| (number, *slot));
        let gone: Vec<(u64, Slot)> = old.by_ref().take(limit).collect();
        let more = gone.len() == limit && old.next().is_some();
        drop(old);
        for (number, slot) in &gone {
            self.history.finished.remove(*number);
            self.forget(*slot);
        }
        (gone.len(), more)
    }

    fn forget(&mut self, slot: Slot) {
        let Some(entry) = self.tasks.remove(slot) else {
            return;
        };
        let attempts: Vec<u64> = self
            .history
            .attempts_of(entry.last_attempt)
            .map(|(number, _)| number)
            .collect();
        for number in attempts {
            self.history.attempts.remove(number);
        }
        self.logs.purge(&entry.task.task_id);
        if let Some(key) = fire_key_of(&entry.task) {
            self.fires.remove(&key);
        }
    }

    fn purge_decisions(&mut self, purge: &Purge, limit: usize) -> bool {
        let decisions = self.history.decisions.from(0);
        let old = decisions.filter(|(_, decision)| decision.decision_time < purge.before);
        let gone: Vec<u64> = old.map(|(number, _)| number).take(limit + 1).collect();
        for number in gone.iter().take(limit) {
            self.history.decisions.remove(*number);
        }
        gone.len() > limit
    }

    /// Drops changes of tasks that are gone, and of jobs long ago.
    fn purge_changes(&mut self, purge: &Purge) {
        let gone: Vec<u64> = self
            .history
            .changes
            .from(0)
            .take_while(|(_, (time, note))| match note {
                Note::Job(..) => *time < purge.before,
                Note::Task(number) => self.history.finished.get(*number).is_none(),
            })
            .map(|(number, _)| number)
            .collect();
        for number in gone {
            self.history.changes.remove(number);
        }
    }
}
