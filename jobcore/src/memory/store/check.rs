//! Random operations, after each of which the state must be what its parts say of each other.

mod consistency;
mod driver;

use std::collections::HashMap;

use driver::Driver;
use proptest::prelude::*;

use super::queues::Queue;
use super::state::State;
use crate::engine::gate::{Candidate, Plan, Rooms, Step, plan};
use crate::id::TaskId;
use crate::lease::FencingToken;
use crate::task::{Task, TaskState};

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_parts_agree_after_any_operations(seed: u64) {
        let mut driver = Driver::new(seed, driver::Policies::Changing);
        for _ in 0..300 {
            driver.step();
            consistency::check(&driver.state);
        }
    }

    #[test]
    fn limits_and_overlap_hold_under_steady_policies(seed: u64) {
        let mut driver = Driver::new(seed, driver::Policies::Steady);
        for _ in 0..300 {
            driver.step();
            consistency::check_gates(&driver.state);
        }
    }

    #[test]
    fn a_short_look_at_the_queues_plans_what_a_full_one_does(seed: u64) {
        let mut driver = Driver::new(seed, driver::Policies::Changing);
        for _ in 0..300 {
            driver.step();
            for limit in [usize::MAX, 0, 1, 3] {
                let (short, full) = plans(&driver, limit);
                prop_assert_eq!(short, full);
            }
        }
    }

    #[test]
    fn tokens_increase_and_final_is_final(seed: u64) {
        let mut driver = Driver::new(seed, driver::Policies::Steady);
        let mut seen: HashMap<TaskId, Task> = HashMap::new();
        for _ in 0..300 {
            driver.step();
            for task_id in driver.task_ids() {
                let slot = driver.state.tasks.slot(task_id);
                let Some(task) = slot.and_then(|slot| driver.state.tasks.copy(slot)) else {
                    // Purged: no longer to be compared with.
                    seen.remove(task_id);
                    continue;
                };
                if let Some(before) = seen.insert(task_id.clone(), task.clone()) {
                    prop_assert!(may_follow(&before, &task), "{:?}\nthen {:?}", before, task);
                }
            }
        }
    }
}

/// Whether a task may have become this one.
fn may_follow(before: &Task, after: &Task) -> bool {
    if before.state.is_final() {
        return before == after;
    }
    let new_lease = after.token > before.token;
    let was_held = before.state.is_held();
    after.token >= before.token
        && (new_lease || after.state != TaskState::Leased || before.state == TaskState::Leased)
        && (was_held || new_lease || !after.state.is_held())
        && after.failures >= before.failures
        && after.orphanings >= before.orphanings
        && after.token != FencingToken(u64::MAX)
}

/// What becomes of tasks, but for those that wait.
type Steps = Vec<(TaskId, Step)>;

/// What a promotion would plan from what it looks at, and from all that waits.
fn plans(driver: &Driver, limit: usize) -> (Steps, Steps) {
    let state: &State = &driver.state;
    let connected = state.connected(state.gates.waited_at());
    let view = state.view(&connected);
    let short = state.candidates(&connected, &Rooms::new(&view, driver.now, limit), driver.now);
    let queues = connected.queues().filter_map(|gates| state.gates.queue(gates));
    let tasks = queues.flat_map(Queue::slots).map(|slot| state.tasks.task(slot));
    let full: Vec<Candidate> = tasks
        .filter(|task| task.due_time <= driver.now)
        .map(Candidate::of)
        .collect();
    let [short, full] = [short, full].map(|candidates| plan(&view, &candidates, driver.now, limit));
    assert_eq!(
        (&short.arrival_times, short.more),
        (&full.arrival_times, full.more)
    );
    (moved(short), moved(full))
}

fn moved(plan: Plan) -> Steps {
    let mut steps = plan.steps;
    steps.retain(|(_, step)| !matches!(step, Step::Wait { .. }));
    steps
}
