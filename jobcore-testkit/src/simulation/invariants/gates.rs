//! Limits, rates and overlap policies are never exceeded.

use std::collections::{BTreeSet, HashMap};

use jobcore::Timestamp;
use jobcore::gate::{GateKey, GatePolicy, Rate};
use jobcore::overlap::OverlapPolicy;
use jobcore::task::{NewTask, Task, TaskState};

use super::super::call::Call;
use super::{Invariant, Step, ensure};

#[derive(Default)]
pub(super) struct Gates {
    policies: HashMap<GateKey, GatePolicy>,
    /// When the latest tasks pass a gate with a rate.
    passes: HashMap<GateKey, Passes>,
}

impl Invariant for Gates {
    fn name(&self) -> &'static str {
        "gates are never exceeded"
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        match step.call {
            Call::Insert(tasks, _) => self.learn(step, tasks.iter()),
            Call::Fire(fires) => self.learn(step, fires.iter().flat_map(|fire| &fire.tasks)),
            _ => {}
        }
        let mut passed = BTreeSet::new();
        for change in step.changes {
            let was_counted = change.before.as_ref().is_some_and(|task| is_counted(task));
            if !was_counted && is_counted(&change.after) {
                let fresh = change.before.as_ref().is_none_or(|task| !task.passed);
                for key in &change.after.gates {
                    passed.insert((key.clone(), fresh));
                    let passes = self.passes.entry(key.clone()).or_default();
                    passes.add(step, &change.after);
                }
            }
        }
        for (key, fresh) in &passed {
            self.check(step, key, *fresh)?;
        }
        Ok(())
    }
}

impl Gates {
    /// The policy that came with the newest task holds.
    fn learn<'a>(&mut self, step: &Step<'_>, tasks: impl Iterator<Item = &'a NewTask>) {
        let new = tasks.filter(|task| {
            step.change(&task.task_id)
                .is_some_and(|change| change.before.is_none())
        });
        for gate in new.flat_map(|task| &task.gates) {
            self.policies.insert(gate.key.clone(), gate.policy.clone());
        }
    }

    fn check(&mut self, step: &Step<'_>, key: &GateKey, fresh: bool) -> Result<(), String> {
        let Some(policy) = self.policies.get(key) else {
            return Err(format!("nobody made gate {key}"));
        };
        if let Some(most) = policy.max_live {
            let live = step.mirror.behind(key).filter(|task| is_counted(task)).count();
            ensure!(
                live <= most as usize,
                "{live} are live behind gate {key}, which allows {most}"
            );
        }
        if fresh && policy.overlap != OverlapPolicy::Allow {
            let earlier = step.mirror.behind(key).filter(|task| task.passed).count();
            ensure!(
                earlier <= 1,
                "{earlier} tasks overlap behind gate {key} under {:?}",
                policy.overlap
            );
        }
        match policy.rate {
            Some(rate) => self.check_rate(key, rate),
            None => Ok(()),
        }
    }

    fn check_rate(&mut self, key: &GateKey, rate: Rate) -> Result<(), String> {
        let Some(passes) = self.passes.get_mut(key) else {
            return Ok(());
        };
        let passes = &mut passes.times;
        passes.sort_unstable();
        let burst = rate.burst as usize;
        let interval = rate.per / rate.count;
        for pair in passes.windows(burst + 1) {
            let (first, last) = (pair[0], pair[burst]);
            ensure!(
                first + interval <= last,
                "{} passed gate {key} from {first} to {last}, more than {rate:?}",
                burst + 1
            );
        }
        let known = passes.len().saturating_sub(100);
        passes.drain(..known);
        Ok(())
    }
}

/// When tasks passed a gate, since the clocks that judged it last went back: what they say before and after can't be
/// compared, and the gate itself may have been forgotten in between.
#[derive(Default)]
struct Passes {
    judged: Timestamp,
    times: Vec<Timestamp>,
}

impl Passes {
    fn add(&mut self, step: &Step<'_>, task: &Task) {
        // At once, or at the due time that a rate gave it.
        let time = match step.call {
            Call::Promote(request) => {
                if request.now < self.judged {
                    self.times.clear();
                }
                self.judged = request.now;
                task.due_time.max(request.now)
            }
            _ => task.due_time,
        };
        self.times.push(time);
    }
}

fn is_counted(task: &Task) -> bool {
    task.state.is_live() || (task.state == TaskState::Scheduled && task.passed)
}
