//! Operations at random, from a seed.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::attempt::AttemptStatus;
use crate::gate::{Gate, GateKey, GatePolicy, Rate};
use crate::id::{ClaimId, ExecutorId, JobId, TaskId};
use crate::job::{Command, Delivery, JobDefinition, JobKind};
use crate::lane::{Capability, ExecutorProfile, Lane};
use crate::lease::{Fence, Holder};
use crate::memory::store::state::State;
use crate::overlap::OverlapPolicy;
use crate::store::*;
use crate::task::{NewTask, Origin, TaskState};
use crate::time::Timestamp;

/// Whether each gate keeps the policy that it began with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policies {
    Steady,
    Changing,
}

/// A state, and what is needed to go on with it.
pub(super) struct Driver {
    pub(super) state: State,
    pub(super) now: Timestamp,
    rng: StdRng,
    policies: Policies,
    task_ids: Vec<TaskId>,
    holders: Vec<Holder>,
    fences: Vec<Fence>,
}

impl Driver {
    pub(super) fn new(seed: u64, policies: Policies) -> Self {
        let mut driver = Self {
            state: State::default(),
            now: Timestamp::from_secs(1_000),
            rng: StdRng::seed_from_u64(seed),
            policies,
            task_ids: Vec::new(),
            holders: Vec::new(),
            fences: Vec::new(),
        };
        for n in 0..JOBS {
            driver.put_job(n);
        }
        driver.register();
        driver
    }

    /// All tasks that were ever inserted.
    pub(super) fn task_ids(&self) -> impl Iterator<Item = &TaskId> {
        self.task_ids.iter()
    }

    /// Does something, and lets some time pass.
    pub(super) fn step(&mut self) {
        self.now = self.now + Duration::from_millis(self.rng.random_range(0..400));
        match self.rng.random_range(0..100) {
            0..18 => self.insert(),
            18..34 => self.promote(),
            34..50 => self.claim(),
            50..57 => self.start(),
            57..72 => self.settle(),
            72..76 => self.cancel(),
            76..79 => self.change(),
            79..86 => self.register(),
            86..88 => self.expire(),
            88..96 => self.recover(),
            96..97 => self.put_or_delete_job(),
            97..98 => self.purge(),
            _ => self.beat(),
        }
    }

    fn insert(&mut self) {
        let count = self.rng.random_range(1..6);
        let tasks: Vec<NewTask> = (0..count).map(|_| self.task()).collect();
        self.task_ids
            .extend(tasks.iter().map(|task| task.task_id.clone()));
        let _ = self.state.insert_tasks(tasks, self.now);
    }

    fn task(&mut self) -> NewTask {
        let job = self.rng.random_range(0..JOBS);
        let due_time = match self.rng.random_range(0..3) {
            0 => self.now + Duration::from_millis(self.rng.random_range(0..3_000)),
            _ => self.now,
        };
        NewTask {
            task_id: TaskId::new(format!("t{:03}", self.rng.random_range(0..400))).unwrap(),
            job_id: job_id(job),
            scheduled_for: None,
            part: 0,
            parts: 1,
            origin: Origin::Manual,
            arguments: None,
            priority: self.rng.random_range(0..3),
            due_time,
            lane: lane(self.rng.random_range(0..2)),
            gates: self.gates(job),
            delivery: Delivery::AtLeastOnce,
            unique_key: None,
            step: None,
            create_time: self.now,
        }
    }

    fn gates(&mut self, job: u32) -> Vec<Gate> {
        let mut gates = Vec::new();
        if self.rng.random_bool(0.6) {
            let policy = self.policy(job);
            gates.push(Gate {
                key: GateKey::of_job(&job_id(job)),
                policy,
            });
        }
        if self.rng.random_bool(0.4) {
            let number = self.rng.random_range(0..3);
            let policy = self.policy(JOBS + number);
            gates.push(Gate {
                key: GateKey::of_key(&format!("k{number}")),
                policy,
            });
        }
        gates
    }

    fn policy(&mut self, number: u32) -> GatePolicy {
        let number = match self.policies {
            Policies::Steady => number,
            Policies::Changing => self.rng.random_range(0..JOBS + 3),
        };
        let overlap = match number {
            0 => OverlapPolicy::Skip,
            1 => OverlapPolicy::QueueOne,
            2 => OverlapPolicy::QueueAll,
            3 => OverlapPolicy::CancelPrevious,
            _ => OverlapPolicy::Allow,
        };
        let rate = Rate {
            count: 3,
            per: Duration::from_secs(1),
            burst: 2,
        };
        GatePolicy {
            overlap,
            max_live: (number >= JOBS).then(|| number - JOBS + 1),
            rate: (number == JOBS + 1).then_some(rate),
        }
    }

    fn promote(&mut self) {
        let keys = self.state.gates.waited_at();
        let some = self.rng.random_bool(0.4) && !keys.is_empty();
        let gates = some.then(|| vec![keys[self.rng.random_range(0..keys.len())].clone()]);
        let limit = [3, 1_000][self.rng.random_range(0..2)];
        let _ = self.state.promote(PromoteRequest {
            now: self.now,
            gates,
            limit,
        });
    }

    fn claim(&mut self) {
        let request = ClaimRequest {
            claim_id: ClaimId(self.rng.random()),
            replay: false,
            holder: self.holder(),
            lanes: vec![lane(0), lane(1), lane(0).quarantine(), lane(1).quarantine()],
            limit: self.rng.random_range(1..6),
            max_held: None,
            start_before: None,
            now: self.now,
        };
        if let ClaimOutcome::Claimed(lease) = self.state.claim(request) {
            let fences = lease
                .tasks
                .iter()
                .map(|claimed| claimed.fence(lease.token, &lease.holder));
            self.fences.extend(fences);
        }
    }

    fn holder(&mut self) -> Holder {
        self.holders[self.rng.random_range(0..self.holders.len())].clone()
    }

    /// A fence that was valid once; mostly one of the latest.
    fn fence(&mut self) -> Option<Fence> {
        let from = self.fences.len().saturating_sub(12);
        let count = self.fences.len();
        (count > 0).then(|| self.fences[self.rng.random_range(from..count)].clone())
    }

    fn start(&mut self) {
        if let Some(fence) = self.fence() {
            let start_time = self.now;
            let _ = self.state.start(Start { fence, start_time });
        }
    }

    fn settle(&mut self) {
        let Some(fence) = self.fence() else { return };
        let due_time = self.now + Duration::from_millis(self.rng.random_range(0..2_000));
        let next = match self.rng.random_range(0..6) {
            0 => Next::Retry { due_time },
            1 => Next::Again { due_time: self.now },
            _ => Next::Final {
                state: TaskState::Succeeded,
                reason: None,
            },
        };
        let attempt = self.rng.random_bool(0.8).then(|| AttemptEnd {
            status: AttemptStatus::Success,
            start_time: self.now,
            end_time: self.now,
            exit_code: None,
            output: String::new(),
            error: String::new(),
        });
        let settlement = Settlement {
            fence,
            attempt,
            next,
            checkpoint: None,
        };
        let _ = self.state.settle(vec![settlement], self.now);
    }

    fn cancel(&mut self) {
        let which = match self.rng.random_range(0..3) {
            0 => CancelWhich::Job(job_id(self.rng.random_range(0..JOBS))),
            _ => CancelWhich::Tasks(self.any_task().into_iter().collect()),
        };
        let grace = self.rng.random_bool(0.5).then_some(Duration::from_millis(300));
        let _ = self.state.cancel_tasks(&CancelTasks {
            which,
            reason: "by hand".to_owned(),
            grace,
            now: self.now,
            limit: 3,
        });
    }

    fn any_task(&mut self) -> Option<TaskId> {
        let count = self.task_ids.len();
        (count > 0).then(|| self.task_ids[self.rng.random_range(0..count)].clone())
    }

    fn change(&mut self) {
        let Some(task_id) = self.any_task() else { return };
        let due_time = self.now + Duration::from_millis(self.rng.random_range(0..2_000));
        let change = ChangeTask {
            task_id,
            priority: self.rng.random_bool(0.5).then_some(1),
            due_time: self.rng.random_bool(0.5).then_some(due_time),
        };
        let _ = self.state.change_task(&change, self.now);
    }

    fn register(&mut self) {
        let executor_id = ExecutorId::new(format!("e{}", self.rng.random_range(0..2))).unwrap();
        let registration = RegisterExecutor {
            executor_id: executor_id.clone(),
            host: String::new(),
            port: 0,
            profile: ExecutorProfile {
                group: "default".to_owned(),
                capabilities: vec![Capability::of_kind(JobKind::Shell)],
                labels: BTreeMap::new(),
                capacity: 1,
            },
            reach: Reach::Direct,
            address: None,
            lease_duration: Duration::from_secs(4),
            join: None,
        };
        let registration = self.state.executors.register(registration, self.now).unwrap();
        self.holders.push(Holder {
            executor_id,
            incarnation: registration.incarnation,
        });
        let old = self.holders.len().saturating_sub(3);
        self.holders.drain(..old);
    }

    fn beat(&mut self) {
        let beat = Heartbeat {
            holder: self.holder(),
            held: Held::Leases(Vec::new()),
            closed: Vec::new(),
            resources: None,
        };
        let _ = self.state.heartbeat(beat, self.now);
    }

    fn expire(&mut self) {
        let request = ExpireExecutors {
            spare: Vec::new(),
            grace: Duration::ZERO,
            limit: 10,
        };
        self.state.executors.expire(&request, self.now);
    }

    fn recover(&mut self) {
        let limit = self.rng.random_range(1..10);
        let _ = self.state.recover(RecoverRequest { now: self.now, limit });
    }

    fn put_or_delete_job(&mut self) {
        let number = self.rng.random_range(0..JOBS);
        if self.rng.random_bool(0.5) {
            self.put_job(number);
            return;
        }
        let delete = DeleteJob {
            job_id: job_id(number),
            expected: Expected::Any,
        };
        let _ = self.state.delete_jobs(&[delete], self.now);
    }

    fn put_job(&mut self, number: u32) {
        let _ = self.state.put_job(PutJob {
            job_id: job_id(number),
            definition: JobDefinition::new("job", Command::shell("true")),
            expected: Expected::Any,
            next_fire_time: None,
            zone_version: String::new(),
            now: self.now,
        });
    }

    fn purge(&mut self) {
        self.state.purge(&Purge {
            before: self.now - Duration::from_secs(2),
            limit: 5,
            now: self.now,
        });
    }
}

/// How many jobs there are.
const JOBS: u32 = 5;

fn job_id(number: u32) -> JobId {
    JobId::new(format!("j{number}")).unwrap()
}

fn lane(number: u32) -> Lane {
    let labels = BTreeMap::from([("n".to_owned(), number.to_string())]);
    Lane::new("default", &Capability::of_kind(JobKind::Shell), &labels, None)
}
