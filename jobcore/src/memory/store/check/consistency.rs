//! What must always hold between the parts of the state.

use std::collections::{BTreeMap, HashMap};

use crate::gate::GateKey;
use crate::id::JobId;
use crate::lane::Lane;
use crate::memory::store::state::State;
use crate::memory::store::tasks::Slot;
use crate::overlap::OverlapPolicy;
use crate::task::{Rank, Task, TaskState};

/// Each live task is in just the sets that its state says, and all counts are right.
pub(super) fn check(state: &State) {
    let live: Vec<(Slot, &Task)> = state.tasks.live().collect();
    for (slot, task) in &live {
        assert!(!task.state.is_final(), "{task:?}");
        assert_eq!(task.rank, Rank::new(task.due_time, task.priority));
        assert_eq!(state.tasks.live_slot(&task.task_id), Some(*slot));
        check_place(state, *slot, task);
    }
    let held = live.iter().filter(|(_, task)| task.state.is_held()).count();
    assert_eq!(
        state.leases.iter().map(|(_, lease)| lease.held).sum::<usize>(),
        held
    );
    let scheduled = live.iter().filter(|(_, task)| task.state == TaskState::Scheduled);
    assert_eq!(state.scheduled.len(), scheduled.count());
    let asked = live
        .iter()
        .filter(|(_, task)| task.state.is_held() && task.cancel.is_some());
    assert_eq!(state.cancelling.len(), asked.count());
    let mut lanes: BTreeMap<Lane, usize> = BTreeMap::new();
    for (_, task) in &live {
        *lanes.entry(task.lane.clone()).or_default() += 1;
    }
    assert_eq!(state.lanes.counts(), lanes);
    check_counts(state, &live);
    check_jobless(state, &live);
}

fn check_place(state: &State, slot: Slot, task: &Task) {
    let due = (task.due_time, task.task_id.clone());
    let waits = state
        .gates
        .queue(&task.gates)
        .is_some_and(|queue| queue.slots().any(|other| other == slot));
    let delayed = state.delayed.get(&due) == Some(&slot);
    let scheduled = state.scheduled.get(&due) == Some(&slot);
    let lane = state.lanes.find(&task.lane).expect("a live task's lane exists");
    assert_eq!(lane, state.tasks.entry(slot).lane);
    let ready = state.lanes.is_ready(lane, task);
    let leased = state
        .leases
        .get(task.token)
        .is_some_and(|lease| lease.slots.contains(&slot) && Some(&lease.holder) == task.holder.as_ref());
    let places = match task.state {
        TaskState::Blocked => [waits != delayed, !scheduled, !ready, task.holder.is_none()],
        TaskState::Scheduled => [!waits && !delayed, scheduled, !ready, task.holder.is_none()],
        TaskState::Ready => [!waits && !delayed, !scheduled, ready, task.holder.is_none()],
        _ => [!waits && !delayed, !scheduled, !ready, leased],
    };
    assert_eq!(places, [true; 4], "{task:?}");
}

fn check_counts(state: &State, live: &[(Slot, &Task)]) {
    let mut counts: BTreeMap<&GateKey, (u32, Vec<Slot>)> = BTreeMap::new();
    for (slot, task) in live {
        let counted = task.state.is_live() || (task.state == TaskState::Scheduled && task.passed);
        for key in &task.gates {
            let count = counts.entry(key).or_default();
            count.0 += u32::from(counted);
            count.1.extend(task.passed.then_some(*slot));
        }
    }
    for (key, (count, mut passed)) in counts {
        let entry = state.gates.get(key).expect("a live task's gate exists");
        passed.sort_unstable();
        assert_eq!(entry.live, count, "{key}");
        assert_eq!(
            entry.occupants.iter().copied().collect::<Vec<_>>(),
            passed,
            "{key}"
        );
    }
}

fn check_jobless(state: &State, live: &[(Slot, &Task)]) {
    let mut jobless: HashMap<JobId, usize> = HashMap::new();
    for (_, task) in live.iter().filter(|(_, task)| task.is_gated()) {
        if state.jobs.get(&task.job_id).is_none() {
            *jobless.entry(task.job_id.clone()).or_default() += 1;
        }
    }
    assert_eq!(state.jobless, jobless);
}

/// What gates promise while their policies stay: no limit is exceeded, and no two tasks run where they mustn't.
pub(super) fn check_gates(state: &State) {
    let keys = state.tasks.live().flat_map(|(_, task)| task.gates.clone());
    for entry in keys.filter_map(|key| state.gates.get(&key)) {
        assert!(
            entry.policy.max_live.is_none_or(|max| entry.live <= max),
            "{entry:?}"
        );
        assert!(
            entry.policy.overlap == OverlapPolicy::Allow || entry.occupants.len() <= 1,
            "{entry:?}"
        );
    }
}
