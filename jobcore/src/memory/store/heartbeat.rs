//! Starts, signs of life and progress: what holders say while they hold.

use std::collections::HashSet;

use super::executors::Standing;
use super::state::State;
use crate::engine::settle::holds;
use crate::id::TaskId;
use crate::lease::{FencingToken, Holder};
use crate::store::{
    Alive, ExecutorStatus, Heartbeat, HeartbeatOutcome, Held, SaveOutcome, SaveProgress, Start, StartOutcome,
};
use crate::task::TaskState;
use crate::time::Timestamp;

impl State {
    pub(super) fn start(&mut self, start: Start) -> StartOutcome {
        let fence = start.fence;
        let Some(slot) = self.slot_of(&fence).filter(|slot| self.tasks.is_live(*slot)) else {
            return StartOutcome::Fenced;
        };
        let entry = self.tasks.entry_mut(slot);
        let task = &mut entry.task;
        if !holds(task, &fence) {
            return StartOutcome::Fenced;
        }
        if task.state == TaskState::Running {
            return StartOutcome::Started;
        }
        if task.cancel.is_some() {
            return StartOutcome::CancelRequested;
        }
        task.state = TaskState::Running;
        task.start_time = Some(start.start_time);
        let attempts = &mut self.history.attempts;
        entry.last_attempt = Some(attempts.begin(slot, fence, start.start_time, entry.last_attempt));
        StartOutcome::Started
    }

    pub(super) fn save(&mut self, update: SaveProgress) -> SaveOutcome {
        let Some(slot) = self.tasks.live_slot(&update.fence.task_id) else {
            return SaveOutcome::Fenced;
        };
        let task = self.tasks.task_mut(slot);
        if !holds(task, &update.fence) {
            return SaveOutcome::Fenced;
        }
        if update.checkpoint.is_some() {
            task.checkpoint = update.checkpoint;
        }
        if update.progress.is_some() {
            task.progress = update.progress;
        }
        SaveOutcome::Saved
    }

    pub(super) fn heartbeat(&mut self, beat: Heartbeat, now: Timestamp) -> HeartbeatOutcome {
        let status = match self.executors.standing(&beat.holder) {
            Standing::Alive(status) => status,
            Standing::Gone => return HeartbeatOutcome::Dead,
            Standing::Superseded => return HeartbeatOutcome::Superseded,
        };
        self.executors.beat(&beat.holder.executor_id, beat.resources, now);
        HeartbeatOutcome::Alive(self.answer(&beat.holder, beat.held, status, now))
    }

    fn answer(&self, holder: &Holder, held: Held, status: ExecutorStatus, now: Timestamp) -> Alive {
        let (lost, unnamed) = match held {
            Held::Leases(tokens) => {
                let named: HashSet<FencingToken> = tokens.into_iter().collect();
                let unnamed = self.unnamed(holder, now, |token| named.contains(&token), |_, _| false);
                (Vec::new(), unnamed)
            }
            Held::Tasks(tasks) => {
                let named: HashSet<&(TaskId, FencingToken)> = tasks.iter().collect();
                let is_named = |token, task_id: &TaskId| named.contains(&(task_id.clone(), token));
                let unnamed = self.unnamed(holder, now, |_| false, is_named);
                let lost = tasks
                    .iter()
                    .filter(|(task_id, token)| !self.is_held_by(task_id, *token, holder));
                (lost.cloned().collect(), unnamed)
            }
        };
        Alive {
            now,
            status,
            cancel: self.cancelling_of(holder),
            unnamed,
            lost,
        }
    }

    /// What a holder holds and didn't name, by token and id.
    fn unnamed(
        &self,
        holder: &Holder,
        now: Timestamp,
        is_lease_named: impl Fn(FencingToken) -> bool,
        is_task_named: impl Fn(FencingToken, &TaskId) -> bool,
    ) -> Vec<(TaskId, FencingToken, u32)> {
        let mut unnamed = Vec::new();
        for token in self.executors.leases(&holder.executor_id) {
            let concerned = self.leases.get(token).is_some_and(|lease| {
                lease.holder == *holder && lease.start_before.is_none_or(|start_before| start_before < now)
            });
            if !concerned || is_lease_named(token) {
                continue;
            }
            for slot in self.held_under(token) {
                let task = self.tasks.task(slot);
                if !is_task_named(token, &task.task_id) {
                    unnamed.push((task.task_id.clone(), token, task.attempt));
                }
            }
        }
        unnamed
    }

    fn is_held_by(&self, task_id: &TaskId, token: FencingToken, holder: &Holder) -> bool {
        self.tasks.live_slot(task_id).is_some_and(|slot| {
            let task = self.tasks.task(slot);
            task.state.is_held() && task.token == token && task.holder.as_ref() == Some(holder)
        })
    }

    fn cancelling_of(&self, holder: &Holder) -> Vec<TaskId> {
        let mut tasks: Vec<TaskId> = self
            .cancelling
            .values()
            .map(|slot| self.tasks.task(*slot))
            .filter(|task| task.holder.as_ref() == Some(holder))
            .map(|task| task.task_id.clone())
            .collect();
        tasks.sort_unstable();
        tasks
    }
}
