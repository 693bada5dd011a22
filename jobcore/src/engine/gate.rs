//! Gates: which of the waiting tasks pass, wait, are skipped or cancelled.
//!
//! The store locks the gates in key order, reads a [`GateState`] for each and the [`Candidate`]s that wait behind them,
//! and carries out the [`Plan`] in the same transaction. As only passing raises what is counted here, and only under
//! these locks, a limit can't be exceeded however many promoters run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::gate::{GateKey, GatePolicy, Rate};
use crate::id::TaskId;
use crate::overlap::OverlapPolicy;
use crate::task::Rank;
use crate::time::Timestamp;

/// How far ahead a rate sets due times: no more, so that a task of higher priority that comes later isn't kept behind
/// a long line of slots already given away.
pub const RATE_HORIZON: Duration = Duration::from_secs(1);

/// The reason of tasks, and of decisions, where an overlap policy skips.
pub const SKIPPED: &str = "an earlier task of the job is not final";

/// The reason of tasks, requests and decisions where an overlap policy cancels in favour of a newer task.
pub const SUPERSEDED: &str = "superseded by a newer task of the job";

/// A gate as its lock holder sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct GateState {
    /// What it lets pass.
    pub policy: GatePolicy,
    /// The theoretical arrival time of the rate's virtual schedule; `None` before the first.
    pub arrival_time: Option<Timestamp>,
    /// How many tasks behind it are `Ready`, `Leased` or `Running`, or `Scheduled` after having passed.
    pub live: u32,
    /// Tasks that passed before and aren't final: what an overlap policy calls earlier ones. May be left empty where
    /// the policy is `Allow`.
    pub occupants: Vec<Occupant>,
}

/// A task that passed a gate and isn't final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// The task.
    pub task_id: TaskId,
    /// Whether it is held, and so can only be asked to cancel.
    pub held: bool,
    /// Whether it was asked already.
    pub cancelling: bool,
}

/// A `Blocked` task that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The task.
    pub task_id: TaskId,
    /// Its gates; all of them are part of the view.
    pub gates: Vec<GateKey>,
    /// Whether it passed before (it comes back for a retry), and so still has its place in the overlap.
    pub passed: bool,
    /// When it became due.
    pub due_time: Timestamp,
    /// Its place in the lane.
    pub rank: Rank,
    /// When it was made.
    pub create_time: Timestamp,
}

/// What becomes of one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It passes all its gates, and is due at this instant, at most [`RATE_HORIZON`] ahead.
    Pass {
        /// When.
        due_time: Timestamp,
    },
    /// It stays. With an instant: look again then, for a rate.
    Wait {
        /// When to look again.
        until: Option<Timestamp>,
    },
    /// It is settled as `Skipped`.
    Skip,
    /// It waits (as a candidate, or as an occupant that isn't held) and is settled as `Cancelled`.
    Cancel,
    /// It is an occupant that is held: it gets a request to cancel.
    RequestCancel,
}

/// What the lock holder has to do.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// What becomes of each candidate, and of occupants that give way.
    pub steps: Vec<(TaskId, Step)>,
    /// New arrival times of gates with a rate.
    pub arrival_times: BTreeMap<GateKey, Timestamp>,
}

/// Decides about `candidates` behind `gates` at `now`.
///
/// Candidates are taken in order of rank, except that tasks behind an overlap policy keep the order in which they came
/// due. One that is full behind one of its gates takes no place behind the others.
pub fn plan(gates: &BTreeMap<GateKey, GateState>, candidates: &[Candidate], now: Timestamp) -> Plan {
    let mut ordered: Vec<&Candidate> = candidates.iter().collect();
    ordered.sort_by_key(|candidate| order(gates, candidate));
    let mut planner = Planner {
        gates: gates.clone(),
        queued: BTreeMap::new(),
        plan: Plan::default(),
        now,
    };
    planner.give_way(&ordered);
    let decided: BTreeSet<TaskId> = planner
        .plan
        .steps
        .iter()
        .map(|(task_id, _)| task_id.clone())
        .collect();
    for candidate in ordered {
        if !decided.contains(&candidate.task_id) {
            let step = planner.decide(candidate);
            planner.plan.steps.push((candidate.task_id.clone(), step));
        }
    }
    planner.plan
}

/// By rank; behind an overlap policy by when they came due. Ties by age, then id, so that the order is the same
/// everywhere.
fn order<'a>(
    gates: &BTreeMap<GateKey, GateState>,
    candidate: &'a Candidate,
) -> (bool, i64, Timestamp, &'a TaskId) {
    let overlap = candidate
        .gates
        .iter()
        .any(|key| gates.get(key).is_some_and(has_overlap));
    let place = if overlap {
        candidate.due_time.as_micros()
    } else {
        candidate.rank.0
    };
    (
        !candidate.passed,
        place,
        candidate.create_time,
        &candidate.task_id,
    )
}

fn has_overlap(gate: &GateState) -> bool {
    gate.policy.overlap != OverlapPolicy::Allow
}

struct Planner {
    gates: BTreeMap<GateKey, GateState>,
    /// How many candidates wait behind an overlap policy for their turn.
    queued: BTreeMap<GateKey, u32>,
    plan: Plan,
    now: Timestamp,
}

impl Planner {
    /// `CancelPrevious`: everything older than the newest candidate gives way.
    fn give_way(&mut self, ordered: &[&Candidate]) {
        let now_occupied: Vec<GateKey> = self
            .gates
            .iter()
            .filter(|(_, gate)| gate.policy.overlap == OverlapPolicy::CancelPrevious)
            .map(|(key, _)| key.clone())
            .collect();
        for key in now_occupied {
            let fresh = ordered
                .iter()
                .filter(|candidate| !candidate.passed && candidate.gates.contains(&key));
            let fresh: Vec<&TaskId> = fresh.map(|candidate| &candidate.task_id).collect();
            let Some((newest, older)) = fresh.split_last() else {
                continue;
            };
            let gate = self
                .gates
                .get_mut(&key)
                .expect("invariant: the key was taken from the map");
            for occupant in gate
                .occupants
                .iter()
                .filter(|occupant| occupant.task_id != **newest)
            {
                match (occupant.held, occupant.cancelling) {
                    (true, true) => {}
                    (true, false) => self
                        .plan
                        .steps
                        .push((occupant.task_id.clone(), Step::RequestCancel)),
                    (false, _) => self.plan.steps.push((occupant.task_id.clone(), Step::Cancel)),
                }
            }
            gate.occupants.retain(|occupant| occupant.held);
            self.plan
                .steps
                .extend(older.iter().map(|task_id| ((*task_id).clone(), Step::Cancel)));
        }
    }

    fn decide(&mut self, candidate: &Candidate) -> Step {
        let mut due_time = candidate.due_time.max(self.now);
        let mut full = false;
        for key in &candidate.gates {
            let Some(gate) = self.gates.get(key) else { continue };
            let queued = self.queued.get(key).copied().unwrap_or(0);
            match overlap(gate, queued, candidate) {
                Turn::Now => {}
                Turn::Later => full = true,
                Turn::Never => return Step::Skip,
            }
            full |= gate.policy.max_live.is_some_and(|max| gate.live >= max);
            if let Some(rate) = gate.policy.rate {
                due_time = due_time.max(slot(rate, gate.arrival_time));
            }
        }
        let too_far = due_time > self.now + RATE_HORIZON;
        if full || too_far {
            self.queue(candidate);
            return Step::Wait {
                until: (!full).then(|| due_time - RATE_HORIZON),
            };
        }
        self.pass(candidate, due_time);
        Step::Pass { due_time }
    }

    fn queue(&mut self, candidate: &Candidate) {
        for key in candidate.gates.iter().filter(|_| !candidate.passed) {
            *self.queued.entry(key.clone()).or_default() += 1;
        }
    }

    fn pass(&mut self, candidate: &Candidate, due_time: Timestamp) {
        for key in &candidate.gates {
            let Some(gate) = self.gates.get_mut(key) else {
                continue;
            };
            gate.live = gate.live.saturating_add(1);
            if !candidate.passed {
                let task_id = candidate.task_id.clone();
                gate.occupants.push(Occupant {
                    task_id,
                    held: false,
                    cancelling: false,
                });
            }
            if let Some(rate) = gate.policy.rate {
                let arrival = gate.arrival_time.unwrap_or(due_time).max(due_time) + interval(rate);
                gate.arrival_time = Some(arrival);
                self.plan.arrival_times.insert(key.clone(), arrival);
            }
        }
    }
}

/// Whether a task may run beside those that came before it.
enum Turn {
    Now,
    Later,
    Never,
}

fn overlap(gate: &GateState, queued: u32, candidate: &Candidate) -> Turn {
    let free = gate.occupants.is_empty() && queued == 0;
    match gate.policy.overlap {
        OverlapPolicy::Allow => Turn::Now,
        _ if candidate.passed || free => Turn::Now,
        OverlapPolicy::Skip => Turn::Never,
        OverlapPolicy::QueueOne if queued > 0 => Turn::Never,
        OverlapPolicy::QueueOne | OverlapPolicy::QueueAll | OverlapPolicy::CancelPrevious => Turn::Later,
    }
}

/// The earliest instant at which the rate lets the next one pass: the generic cell rate algorithm (ITU-T I.371) as a
/// virtual schedule.
fn slot(rate: Rate, arrival_time: Option<Timestamp>) -> Timestamp {
    let tolerance = interval(rate).saturating_mul(rate.burst.saturating_sub(1));
    arrival_time.map_or(Timestamp::MIN, |arrival| arrival - tolerance)
}

fn interval(rate: Rate) -> Duration {
    rate.per / rate.count.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(name: &str, second: i64) -> Candidate {
        Candidate {
            task_id: TaskId::new(name).unwrap(),
            gates: vec![GateKey::of_key("k")],
            passed: false,
            due_time: Timestamp::from_secs(second),
            rank: Rank(second),
            create_time: Timestamp::from_secs(second),
        }
    }

    fn gate(policy: GatePolicy, live: u32, occupants: &[(&str, bool)]) -> BTreeMap<GateKey, GateState> {
        let occupants = occupants
            .iter()
            .map(|(name, held)| Occupant {
                task_id: TaskId::new(name).unwrap(),
                held: *held,
                cancelling: false,
            })
            .collect();
        BTreeMap::from([(
            GateKey::of_key("k"),
            GateState {
                policy,
                arrival_time: None,
                live,
                occupants,
            },
        )])
    }

    fn overlap(overlap: OverlapPolicy) -> GatePolicy {
        GatePolicy {
            overlap,
            ..GatePolicy::default()
        }
    }

    fn steps(plan: &Plan) -> Vec<String> {
        plan.steps
            .iter()
            .map(|(task_id, step)| match step {
                Step::Pass { due_time } => format!("{task_id} passes at {}", due_time.as_micros() / 1_000),
                Step::Wait { .. } => format!("{task_id} waits"),
                Step::Skip => format!("{task_id} skipped"),
                Step::Cancel => format!("{task_id} cancelled"),
                Step::RequestCancel => format!("{task_id} asked"),
            })
            .collect()
    }

    fn now() -> Timestamp {
        Timestamp::from_secs(10)
    }

    #[test]
    fn a_limit_lets_the_lowest_ranks_pass() {
        let policy = GatePolicy {
            max_live: Some(3),
            ..GatePolicy::default()
        };
        let plan = plan(
            &gate(policy, 1, &[]),
            &[task("c", 3), task("a", 1), task("b", 2)],
            now(),
        );
        assert_eq!(
            steps(&plan),
            ["a passes at 10000", "b passes at 10000", "c waits"]
        );
    }

    #[test]
    fn overlap_policies() {
        let two = [task("b", 1), task("c", 2)];
        type Case<'a> = (OverlapPolicy, &'a [(&'a str, bool)], &'a [&'a str]);
        let cases: [Case<'_>; 9] = [
            (OverlapPolicy::Skip, &[("a", true)], &["b skipped", "c skipped"]),
            (OverlapPolicy::Skip, &[], &["b passes at 10000", "c skipped"]),
            (OverlapPolicy::QueueOne, &[("a", true)], &["b waits", "c skipped"]),
            (OverlapPolicy::QueueOne, &[], &["b passes at 10000", "c waits"]),
            (OverlapPolicy::QueueAll, &[("a", true)], &["b waits", "c waits"]),
            (OverlapPolicy::QueueAll, &[], &["b passes at 10000", "c waits"]),
            (
                OverlapPolicy::CancelPrevious,
                &[("a", true)],
                &["a asked", "b cancelled", "c waits"],
            ),
            (
                OverlapPolicy::CancelPrevious,
                &[("a", false)],
                &["a cancelled", "b cancelled", "c passes at 10000"],
            ),
            (
                OverlapPolicy::Allow,
                &[("a", true)],
                &["b passes at 10000", "c passes at 10000"],
            ),
        ];
        for (policy, occupants, expected) in cases {
            let plan = plan(&gate(overlap(policy), 0, occupants), &two, now());
            assert_eq!(steps(&plan), expected, "{policy:?} {occupants:?}");
        }
    }

    #[test]
    fn a_retry_keeps_its_place_in_the_overlap() {
        let mut again = task("a", 5);
        again.passed = true;
        let plan = plan(
            &gate(overlap(OverlapPolicy::QueueAll), 0, &[("a", false)]),
            &[task("b", 1), again],
            now(),
        );
        assert_eq!(steps(&plan), ["a passes at 10000", "b waits"]);
    }

    #[test]
    fn a_rate_spreads_and_looks_one_second_ahead() {
        let rate = Rate {
            count: 2,
            per: Duration::from_secs(1),
            burst: 1,
        };
        let policy = GatePolicy {
            rate: Some(rate),
            ..GatePolicy::default()
        };
        let many: Vec<_> = ["a", "b", "c", "d"].iter().map(|name| task(name, 1)).collect();
        let plan = plan(&gate(policy, 0, &[]), &many, now());
        assert_eq!(
            steps(&plan),
            [
                "a passes at 10000",
                "b passes at 10500",
                "c passes at 11000",
                "d waits"
            ]
        );
        assert_eq!(
            plan.steps[3].1,
            Step::Wait {
                until: Some(Timestamp::from_millis(10_500))
            }
        );
    }

    #[test]
    fn a_burst_goes_at_once_after_a_quiet_time() {
        let rate = Rate {
            count: 1,
            per: Duration::from_secs(1),
            burst: 2,
        };
        let policy = GatePolicy {
            rate: Some(rate),
            ..GatePolicy::default()
        };
        let plan = plan(
            &gate(policy, 0, &[]),
            &[task("a", 1), task("b", 2), task("c", 3)],
            now(),
        );
        assert_eq!(
            steps(&plan),
            ["a passes at 10000", "b passes at 10000", "c passes at 11000"]
        );
    }
}
