//! Gates: which of the waiting tasks pass, wait, are skipped or cancelled.
//!
//! The store locks the gates in key order, reads a [`GateState`] for each and the [`Candidate`]s that wait behind them,
//! and carries out the [`Plan`] in the same transaction. As only passing raises what is counted here, and only under
//! these locks, a limit can't be exceeded however many promoters run.

mod connected;
mod room;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use self::connected::Connected;
pub use self::room::{Room, Rooms};
use crate::gate::{GateKey, GatePolicy, Rate};
use crate::id::TaskId;
use crate::overlap::OverlapPolicy;
use crate::task::{Rank, Task, TaskState};
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
    /// How many tasks behind it [count](counts). What is beyond `max_live` needn't be counted, and nothing where the
    /// policy has none; but behind an overlap policy all are, since those that give way are taken off again.
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
    /// All its gates.
    pub gates: Vec<GateKey>,
    /// Whether it is held, and so can only be asked to cancel.
    pub held: bool,
    /// Whether it was asked already.
    pub cancelling: bool,
    /// Whether it [counts] at its gates, so that they have a place more once it is gone.
    pub counts: bool,
}

impl Occupant {
    /// The occupant that `task`, which passed, is.
    pub fn of(task: &Task) -> Self {
        Self {
            task_id: task.task_id.clone(),
            gates: task.gates.clone(),
            held: task.state.is_held(),
            cancelling: task.cancel.is_some(),
            counts: counts(task),
        }
    }
}

/// Whether a task counts against the limits of its gates: it is `Ready`, `Leased` or `Running`, or `Scheduled` after
/// having passed.
pub fn counts(task: &Task) -> bool {
    task.state.is_live() || (task.state == TaskState::Scheduled && task.passed)
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

impl Candidate {
    /// The candidate that `task` is.
    pub fn of(task: &Task) -> Self {
        Self {
            task_id: task.task_id.clone(),
            gates: task.gates.clone(),
            passed: task.passed,
            due_time: task.due_time,
            rank: task.rank,
            create_time: task.create_time,
        }
    }
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

impl Step {
    /// Whether the task moves on, so that it counts among the moved ones.
    pub const fn is_move(&self) -> bool {
        matches!(self, Self::Pass { .. } | Self::Skip | Self::Cancel)
    }
}

/// What the lock holder has to do.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Plan {
    /// What becomes of each candidate, and of occupants that give way. No task is named twice.
    pub steps: Vec<(TaskId, Step)>,
    /// New arrival times of gates with a rate.
    pub arrival_times: BTreeMap<GateKey, Timestamp>,
    /// Whether more could move than was asked for; then some candidates have no step.
    pub more: bool,
}

impl Plan {
    /// How many tasks it moves.
    pub fn moves(&self) -> usize {
        self.steps.iter().filter(|(_, step)| step.is_move()).count()
    }
}

/// Decides about `candidates` behind `gates` at `now`, and stops before more than `limit` of all tasks would move.
///
/// Candidates are taken in order of rank, except that tasks behind an overlap policy keep the order in which they came
/// due. One that is full behind one of its gates takes no place behind the others.
pub fn plan(
    gates: &BTreeMap<GateKey, GateState>,
    candidates: &[Candidate],
    now: Timestamp,
    limit: usize,
) -> Plan {
    let mut ordered: Vec<&Candidate> = candidates.iter().collect();
    ordered.sort_by_key(|candidate| order(gates, candidate));
    let mut planner = Planner {
        gates: gates.clone(),
        queued: BTreeMap::new(),
        decided: BTreeSet::new(),
        plan: Plan::default(),
        left: limit,
        now,
    };
    // Stopped by the limit or at the end: the plan says which.
    let _ = planner
        .give_way(&ordered)
        .and_then(|()| planner.pass_or_wait(&ordered));
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
    decided: BTreeSet<TaskId>,
    plan: Plan,
    /// How many tasks may still move.
    left: usize,
    now: Timestamp,
}

/// The limit was reached.
struct Full;

impl Planner {
    fn step(&mut self, task_id: &TaskId, step: Step) -> Result<(), Full> {
        if step.is_move() {
            let Some(left) = self.left.checked_sub(1) else {
                self.plan.more = true;
                return Err(Full);
            };
            self.left = left;
        }
        self.decided.insert(task_id.clone());
        self.plan.steps.push((task_id.clone(), step));
        Ok(())
    }

    /// `CancelPrevious`: everything older than the newest candidate gives way.
    fn give_way(&mut self, ordered: &[&Candidate]) -> Result<(), Full> {
        let keys: Vec<GateKey> = self
            .gates
            .iter()
            .filter(|(_, gate)| gate.policy.overlap == OverlapPolicy::CancelPrevious)
            .map(|(key, _)| key.clone())
            .collect();
        for key in keys {
            let fresh = ordered
                .iter()
                .filter(|candidate| !candidate.passed && candidate.gates.contains(&key));
            let fresh: Vec<&TaskId> = fresh.map(|candidate| &candidate.task_id).collect();
            let Some((_, older)) = fresh.split_last() else {
                continue;
            };
            let gate = self.gates.get(&key);
            for occupant in gate.map_or_else(Vec::new, |gate| gate.occupants.clone()) {
                self.give_way_one(&occupant)?;
            }
            for task_id in older {
                if !self.decided.contains(*task_id) {
                    self.step(task_id, Step::Cancel)?;
                }
            }
        }
        Ok(())
    }

    /// Cancels an occupant that waits, which gives its place back at once, or asks one that is held.
    fn give_way_one(&mut self, occupant: &Occupant) -> Result<(), Full> {
        if self.decided.contains(&occupant.task_id) || (occupant.held && occupant.cancelling) {
            return Ok(());
        }
        if occupant.held {
            return self.step(&occupant.task_id, Step::RequestCancel);
        }
        self.step(&occupant.task_id, Step::Cancel)?;
        for key in &occupant.gates {
            if let Some(gate) = self.gates.get_mut(key) {
                gate.live = gate.live.saturating_sub(u32::from(occupant.counts));
                gate.occupants.retain(|other| other.task_id != occupant.task_id);
            }
        }
        Ok(())
    }

    fn pass_or_wait(&mut self, ordered: &[&Candidate]) -> Result<(), Full> {
        for candidate in ordered {
            if self.decided.contains(&candidate.task_id) {
                continue;
            }
            let step = self.decide(candidate);
            self.step(&candidate.task_id, step.clone())?;
            match step {
                Step::Pass { due_time } => self.pass(candidate, due_time),
                Step::Wait { .. } => self.queue(candidate),
                Step::Skip | Step::Cancel | Step::RequestCancel => {}
            }
        }
        Ok(())
    }

    fn decide(&self, candidate: &Candidate) -> Step {
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
        if full || due_time > self.now + RATE_HORIZON {
            let until = (!full).then(|| due_time - RATE_HORIZON);
            return Step::Wait { until };
        }
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
                gate.occupants.push(Occupant {
                    task_id: candidate.task_id.clone(),
                    gates: candidate.gates.clone(),
                    held: false,
                    cancelling: false,
                    counts: true,
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
