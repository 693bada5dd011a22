//! Promotion: what is due becomes ready, and gates let pass what they may.

use std::collections::{BTreeMap, BTreeSet};

use super::gates::GateEntry;
use super::queues::Queue;
use super::state::{State, clamp};
use super::tasks::Slot;
use crate::engine::gate::{
    Candidate, Connected, GateState, Occupant, Plan, Rooms, SKIPPED, SUPERSEDED, Step, plan,
};
use crate::engine::part::abandoned;
use crate::engine::settle::JOB_DELETED;
use crate::gate::GateKey;
use crate::id::TaskId;
use crate::overlap::OverlapPolicy;
use crate::store::{Decision, DecisionKind, PromoteRequest, Promoted};
use crate::task::{Rank, TaskState};
use crate::time::Timestamp;

impl State {
    pub(super) fn promote(&mut self, request: PromoteRequest) -> Promoted {
        let mut promotion = Promotion {
            now: request.now,
            left: clamp(request.limit),
            promoted: Promoted::default(),
            next: None,
        };
        self.ripen(request.now);
        let gates = match request.gates {
            Some(gates) => gates,
            None => {
                self.promote_due(&mut promotion);
                self.skip_abandoned(&mut promotion);
                self.gates.forget_idle(request.now);
                self.gates.waited_at()
            }
        };
        self.pass_gates(gates, &mut promotion);
        let Promotion {
            now,
            next,
            mut promoted,
            ..
        } = promotion;
        let waits = [&self.scheduled, &self.delayed].map(|set| {
            set.range((now, TaskId::from_stored(""))..)
                .map(|((due_time, _), _)| *due_time)
                .find(|due_time| *due_time > now)
        });
        promoted.next_due_time = waits.into_iter().flatten().chain(next).min();
        promoted
    }

    /// Moves `Blocked` tasks that came due to their gates.
    fn ripen(&mut self, now: Timestamp) {
        while let Some(first) = self.delayed.first_entry() {
            if first.key().0 > now {
                break;
            }
            let slot = first.remove();
            self.gates.wait(self.tasks.task(slot), slot, &self.tasks);
        }
    }

    /// Those of `keys` behind which something waits that is due, each once.
    pub(super) fn waited_at(&mut self, keys: Vec<GateKey>, now: Timestamp) -> Vec<GateKey> {
        if keys.is_empty() {
            return keys;
        }
        self.ripen(now);
        let keys: BTreeSet<GateKey> = keys.into_iter().collect();
        keys.into_iter()
            .filter(|key| self.gates.is_waited_at(key, now, &self.tasks))
            .collect()
    }

    fn promote_due(&mut self, promotion: &mut Promotion) {
        while let Some(((due_time, _), slot)) = self.scheduled.first_key_value() {
            if *due_time > promotion.now {
                return;
            }
            if promotion.left == 0 {
                promotion.promoted.more = true;
                return;
            }
            let slot = *slot;
            promotion.left -= 1;
            if self.job_of(slot).is_none() {
                self.finish_here(slot, TaskState::Cancelled, JOB_DELETED, promotion);
                continue;
            }
            self.detach(slot);
            self.tasks.task_mut(slot).state = TaskState::Ready;
            self.attach(slot);
            promotion.promoted.ready += 1;
        }
    }

    /// Settles parts of broadcasts that nobody will start.
    fn skip_abandoned(&mut self, promotion: &mut Promotion) {
        for (executor_id, lane) in self.lanes.fixed() {
            let record = self.executors.get(&executor_id);
            let Some(abandoned) = abandoned(&executor_id, record, promotion.now) else {
                continue;
            };
            let due = |slot: &Slot| self.tasks.task(*slot).due_time <= abandoned.due_by;
            let slots: Vec<Slot> = self
                .lanes
                .ready(lane)
                .filter(due)
                .take(promotion.left + 1)
                .collect();
            for slot in slots {
                if promotion.left == 0 {
                    promotion.promoted.more = true;
                    return;
                }
                promotion.left -= 1;
                self.finish_here(slot, TaskState::Skipped, &abandoned.reason, promotion);
            }
        }
    }

    /// Plans what is concerned by `gates`, and carries the plan out.
    fn pass_gates(&mut self, gates: Vec<GateKey>, promotion: &mut Promotion) {
        self.settle_deleted(&gates, promotion);
        let connected = self.connected(gates);
        if connected.queues().next().is_none() {
            return;
        }
        let view = self.view(&connected);
        let candidates = self.candidates(
            &connected,
            &Rooms::new(&view, promotion.now, promotion.left),
            promotion.now,
        );
        let plan = plan(&view, &candidates, promotion.now, promotion.left);
        self.carry_out(plan, promotion);
    }

    /// The tasks that a plan must see.
    pub(super) fn candidates(
        &self,
        connected: &Connected,
        rooms: &Rooms<'_>,
        now: Timestamp,
    ) -> Vec<Candidate> {
        let queues = connected
            .queues()
            .filter_map(|gates| Some((gates, self.gates.queue(gates)?)));
        let slots = queues.flat_map(|(gates, queue)| queue.concerned(rooms.of(gates), now, &self.tasks));
        slots.map(|slot| Candidate::of(self.tasks.task(slot))).collect()
    }

    /// Settles what waits at these gates, or at gates connected with them, and whose job is gone.
    fn settle_deleted(&mut self, gates: &[GateKey], promotion: &mut Promotion) {
        if self.jobless.is_empty() {
            return;
        }
        let connected = self.connected(gates.to_vec());
        let queues = connected.queues().filter_map(|gates| self.gates.queue(gates));
        let tasks = queues
            .flat_map(Queue::slots)
            .map(|slot| (self.tasks.task(slot), slot));
        let deleted = tasks
            .filter(|(task, _)| task.due_time <= promotion.now && self.jobless.contains_key(&task.job_id));
        let deleted: BTreeMap<TaskId, Slot> =
            deleted.map(|(task, slot)| (task.task_id.clone(), slot)).collect();
        for slot in deleted.into_values() {
            if promotion.left == 0 {
                promotion.promoted.more = true;
                return;
            }
            promotion.left -= 1;
            self.finish_here(slot, TaskState::Cancelled, JOB_DELETED, promotion);
        }
    }

    /// All gates connected with `gates` by tasks that wait behind both.
    pub(super) fn connected(&self, gates: Vec<GateKey>) -> Connected {
        let mut connected = Connected::with(gates);
        while let Some(key) = connected.next_gate() {
            let entry = self.gates.get(&key);
            entry
                .into_iter()
                .flat_map(|entry| &entry.queues)
                .for_each(|queue| connected.add_queue(queue));
        }
        connected
    }

    pub(super) fn view(&self, connected: &Connected) -> BTreeMap<GateKey, GateState> {
        let entries = connected
            .gates()
            .filter_map(|key| Some((key.clone(), self.gates.get(key)?)));
        entries
            .map(|(key, entry)| {
                let state = GateState {
                    policy: entry.policy.clone(),
                    arrival_time: entry.arrival_time,
                    live: entry.live,
                    occupants: self.occupants(entry),
                };
                (key, state)
            })
            .collect()
    }

    /// The tasks that passed, where the policy asks for them.
    fn occupants(&self, entry: &GateEntry) -> Vec<Occupant> {
        if entry.policy.overlap == OverlapPolicy::Allow {
            return Vec::new();
        }
        let tasks = entry.occupants.iter().map(|slot| self.tasks.task(*slot));
        tasks.map(Occupant::of).collect()
    }

    fn carry_out(&mut self, plan: Plan, promotion: &mut Promotion) {
        promotion.promoted.more |= plan.more;
        for (key, arrival_time) in &plan.arrival_times {
            self.gates.arrive(key, *arrival_time);
        }
        for (task_id, step) in plan.steps {
            let Some(slot) = self.tasks.live_slot(&task_id) else {
                continue;
            };
            match step {
                Step::Pass { due_time } => self.pass(slot, due_time, promotion),
                Step::Wait { until } => promotion.look_again(until),
                Step::Skip => {
                    self.decide(slot, DecisionKind::OverlapSkipped, SKIPPED, promotion.now);
                    self.finish_here(slot, TaskState::Skipped, SKIPPED, promotion);
                }
                Step::Cancel => {
                    self.decide(slot, DecisionKind::OverlapCancelled, SUPERSEDED, promotion.now);
                    self.finish_here(slot, TaskState::Cancelled, SUPERSEDED, promotion);
                }
                Step::RequestCancel => {
                    self.decide(slot, DecisionKind::OverlapCancelled, SUPERSEDED, promotion.now);
                    self.request_cancel(slot, SUPERSEDED, None, promotion.now);
                    promotion.promoted.cancelling.push(task_id);
                }
            }
        }
    }

    fn pass(&mut self, slot: Slot, due_time: Timestamp, promotion: &mut Promotion) {
        self.detach(slot);
        let task = self.tasks.task_mut(slot);
        task.passed = true;
        if due_time > promotion.now {
            task.state = TaskState::Scheduled;
            task.due_time = due_time;
            task.rank = Rank::new(due_time, task.priority);
        } else {
            task.state = TaskState::Ready;
            promotion.promoted.ready += 1;
        }
        self.attach(slot);
    }

    fn finish_here(&mut self, slot: Slot, state: TaskState, reason: &str, promotion: &mut Promotion) {
        let task = self.tasks.task(slot);
        let settled = (task.task_id.clone(), task.job_id.clone(), state);
        promotion.promoted.settled.push(settled);
        self.finish_waiting(slot, state, reason, promotion.now);
    }

    fn decide(&mut self, slot: Slot, kind: DecisionKind, reason: &str, now: Timestamp) {
        let task = self.tasks.task(slot);
        self.history.decisions.push(Decision {
            job_id: task.job_id.clone(),
            scheduled_for: task.scheduled_for,
            count: 1,
            task_id: Some(task.task_id.clone()),
            kind,
            decision_time: now,
            reason: reason.to_owned(),
        });
    }
}

/// A promotion on its way.
struct Promotion {
    now: Timestamp,
    /// How many tasks may still be moved.
    left: usize,
    promoted: Promoted,
    /// When a rate lets the next one pass.
    next: Option<Timestamp>,
}

impl Promotion {
    fn look_again(&mut self, until: Option<Timestamp>) {
        self.next = self.next.into_iter().chain(until).min();
    }
}
