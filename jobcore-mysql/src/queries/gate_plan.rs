//! A plan about gates that holds: made of what was read, and made again where a task turns out to be otherwise under its lock.

use std::collections::{BTreeMap, HashMap, HashSet};

use jobcore::Timestamp;
use jobcore::engine::gate::{Candidate, GateState, Occupant, Plan, Step, plan};
use jobcore::gate::GateKey;
use jobcore::id::TaskId;
use jobcore::task::{Task, TaskState};

use super::stored_task::StoredTask;
use super::task_row::{Lock, tasks_by_id};
use crate::connection::Cx;
use crate::error::Result;

/// A plan, and all tasks that it changes. Their rows are locked, and they are as the plan saw them.
#[derive(Debug)]
pub(crate) struct FirmPlan {
    pub(crate) plan: Plan,
    pub(crate) tasks: HashMap<TaskId, StoredTask>,
}

/// Decides about `candidates` behind `gates`, whose rows the caller has locked.
///
/// Only what is to move, or to be asked to cancel, is locked: a look at gates that are full reads no task. That the others
/// may change meanwhile does no harm. A candidate only goes away, or comes due otherwise, and who does that has the gates
/// promoted again; of what passed, nothing comes back without a lock on the gates, so what the plan takes for full was so.
pub(crate) async fn firm_plan(
    cx: &mut Cx<'_>,
    mut gates: BTreeMap<GateKey, GateState>,
    mut candidates: Vec<Candidate>,
    now: Timestamp,
    limit: usize,
) -> Result<FirmPlan> {
    let mut tasks = HashMap::new();
    let mut judged: HashSet<TaskId> = HashSet::new();
    loop {
        let plan = plan(&gates, &candidates, now, limit);
        let changing = plan
            .steps
            .iter()
            .filter(|(task_id, step)| !matches!(step, Step::Wait { .. }) && !judged.contains(task_id));
        let changing: Vec<TaskId> = changing.map(|(task_id, _)| task_id.clone()).collect();
        let found = lock(cx, &changing).await?;
        let mut judge = Judge {
            changing: changing.iter().collect(),
            found: &found,
            otherwise: false,
        };
        candidates.retain_mut(|candidate| judge.keeps_candidate(candidate, now));
        for gate in gates.values_mut() {
            gate.occupants
                .retain_mut(|occupant| judge.keeps_occupant(occupant));
        }
        let otherwise = judge.otherwise;
        tasks.extend(found);
        judged.extend(changing);
        if !otherwise {
            return Ok(FirmPlan { plan, tasks });
        }
    }
}

async fn lock(cx: &mut Cx<'_>, task_ids: &[TaskId]) -> Result<HashMap<TaskId, StoredTask>> {
    let task_ids: Vec<&TaskId> = task_ids.iter().collect();
    let tasks = tasks_by_id(cx, &task_ids, Lock::Update).await?.into_iter();
    Ok(tasks
        .map(|stored| (stored.task.task_id.clone(), stored))
        .collect())
}

/// Compares what a plan saw of the tasks that it changes with what they are now.
struct Judge<'t> {
    changing: HashSet<&'t TaskId>,
    found: &'t HashMap<TaskId, StoredTask>,
    /// Whether something isn't as the plan saw it.
    otherwise: bool,
}

impl Judge<'_> {
    fn keeps_candidate(&mut self, candidate: &mut Candidate, now: Timestamp) -> bool {
        if !self.changing.contains(&candidate.task_id) {
            return true;
        }
        let task = self.found.get(&candidate.task_id).map(|stored| &stored.task);
        let task = task.filter(|task| may_pass(task, now));
        self.keeps(candidate, task.map(Candidate::of))
    }

    fn keeps_occupant(&mut self, occupant: &mut Occupant) -> bool {
        if !self.changing.contains(&occupant.task_id) {
            return true;
        }
        let task = self.found.get(&occupant.task_id).map(|stored| &stored.task);
        self.keeps(occupant, task.map(Occupant::of))
    }

    fn keeps<T: PartialEq>(&mut self, seen: &mut T, is: Option<T>) -> bool {
        let Some(is) = is else {
            self.otherwise = true;
            return false;
        };
        self.otherwise |= is != *seen;
        *seen = is;
        true
    }
}

/// Whether the task waits at its gates and is due.
pub(crate) fn may_pass(task: &Task, now: Timestamp) -> bool {
    task.state == TaskState::Blocked && task.due_time <= now
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> TaskId {
        TaskId::from_stored(text)
    }

    #[test]
    fn what_is_otherwise_under_its_lock_is_noticed() {
        let (changed, other) = (id("changed"), id("other"));
        let found = HashMap::new();
        let mut judge = Judge {
            changing: HashSet::from([&changed]),
            found: &found,
            otherwise: false,
        };
        let occupant = |task_id: &TaskId| Occupant {
            task_id: task_id.clone(),
            gates: Vec::new(),
            held: false,
            cancelling: false,
            counts: true,
        };
        assert!(
            judge.keeps_occupant(&mut occupant(&other)),
            "it isn't changed, so it wasn't looked at"
        );
        assert!(!judge.otherwise);
        assert!(
            !judge.keeps_occupant(&mut occupant(&changed)),
            "it is final by now"
        );
        assert!(judge.otherwise);
        judge.otherwise = false;
        let mut seen = occupant(&other);
        let held = Occupant {
            held: true,
            ..occupant(&other)
        };
        assert!(judge.keeps(&mut seen, Some(held.clone())));
        assert!(judge.otherwise);
        assert_eq!(seen, held);
    }
}
