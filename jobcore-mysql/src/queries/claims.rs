//! What was claimed by this process, so that an ordinary end needn't read it again.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use jobcore::id::TaskId;
use jobcore::lease::{Fence, FencingToken, Holder};
use jobcore::task::{Rank, Task};

use super::stored_task::StoredTask;

/// How many claimed tasks are remembered: many times what a node holds at once, some hundred bytes each.
const MOST: usize = 50_000;

/// The claimed tasks whose end may be an ordinary one, by lease.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    leases: HashMap<FencingToken, Claim>,
    count: usize,
}

#[derive(Debug)]
struct Claim {
    holder: Holder,
    tasks: HashMap<TaskId, StoredTask>,
}

impl Claims {
    /// Remembers a task that was just claimed, unless its row has what most don't have.
    pub(crate) fn keep(&mut self, stored: StoredTask) {
        let usual = stored.task.rank == Rank::new(stored.task.due_time, stored.task.priority);
        let Some(holder) = stored
            .task
            .holder
            .as_ref()
            .filter(|_| usual && !stored.has_extra())
        else {
            return;
        };
        if self.count >= MOST {
            self.leases.clear();
            self.count = 0;
        }
        let claim = self.leases.entry(stored.task.token).or_insert_with(|| Claim {
            holder: holder.clone(),
            tasks: HashMap::new(),
        });
        if claim.tasks.insert(stored.task.task_id.clone(), stored).is_none() {
            self.count += 1;
        }
    }

    /// Takes out the task that `fence` holds, if its row is as the claim left it as far as is known here.
    pub(crate) fn take(&mut self, fence: &Fence) -> Option<StoredTask> {
        let claim = self.leases.get(&fence.token)?;
        let claimed = claim.tasks.get(&fence.task_id)?;
        if claim.holder != fence.holder || claimed.task.attempt != fence.attempt {
            return None;
        }
        self.remove(fence.token, &fence.task_id)
    }

    /// Whether the task that `fence` names is remembered under its token.
    pub(crate) fn has(&self, fence: &Fence) -> bool {
        let claim = self.leases.get(&fence.token);
        claim.is_some_and(|claim| claim.tasks.contains_key(&fence.task_id))
    }

    /// What is left of a lease in a range of a lane, if that is at most `most`.
    pub(crate) fn left(
        &self,
        token: FencingToken,
        lane_id: i64,
        range: RangeInclusive<Rank>,
        most: usize,
    ) -> Option<Vec<TaskId>> {
        let Some(claim) = self.leases.get(&token) else {
            return Some(Vec::new());
        };
        let lies_there =
            |stored: &&StoredTask| stored.lane_id == lane_id && range.contains(&stored.task.rank);
        let left = claim.tasks.values().filter(lies_there);
        let left: Vec<TaskId> = left
            .take(most + 1)
            .map(|stored| stored.task.task_id.clone())
            .collect();
        (left.len() <= most).then_some(left)
    }

    /// Notes that a task's row is written anew: its end has to read it.
    pub(crate) fn changed(&mut self, task: &Task) {
        self.remove(task.token, &task.task_id);
    }

    /// Forgets a task that its lease holds no more.
    pub(crate) fn forget(&mut self, token: FencingToken, task_id: &TaskId) {
        self.remove(token, task_id);
    }

    fn remove(&mut self, token: FencingToken, task_id: &TaskId) -> Option<StoredTask> {
        let claim = self.leases.get_mut(&token)?;
        let claimed = claim.tasks.remove(task_id);
        if claimed.is_some() {
            self.count -= 1;
        }
        if claim.tasks.is_empty() {
            self.leases.remove(&token);
        }
        claimed
    }
}
