//! Purging: history that is old enough goes.

use super::history::Note;
use super::places::fire_key_of;
use super::state::{State, clamp};
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
        let gone = self.tasks.finished.before(purge.before, limit + 1);
        for number in gone.iter().take(limit) {
            self.forget(*number);
        }
        (gone.len().min(limit), gone.len() > limit)
    }

    fn forget(&mut self, number: u64) {
        let Some(task) = self.tasks.purge(number) else {
            return;
        };
        self.history.attempts.purge(task.last_attempt);
        self.logs.purge(&task.task_id);
        if let Some(key) = fire_key_of(&task) {
            self.fires.remove(&key);
        }
    }

    fn purge_decisions(&mut self, purge: &Purge, limit: usize) -> bool {
        let gone = self.history.decisions.before(purge.before, limit + 1);
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
            .take_while(|(_, note)| match note {
                Note::Job(note) => note.change_time < purge.before,
                Note::Task(number) => self.tasks.finished.get(*number).is_none(),
            })
            .map(|(number, _)| number)
            .collect();
        for number in gone {
            self.history.changes.remove(number);
        }
    }
}
