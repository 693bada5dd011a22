//! Operations on tasks and workflow runs.

use std::collections::BTreeMap;
use std::time::Duration;

use jobcore::attempt::{AttemptStatus, LogChunk, LogStream};
use jobcore::gate::{Gate, GateKey, GatePolicy, Rate};
use jobcore::id::{ClaimId, TaskId};
use jobcore::job::Delivery;
use jobcore::json::Json;
use jobcore::lane::{Capability, Lane};
use jobcore::overlap::OverlapPolicy;
use jobcore::store::{
    AdvanceRun, AttemptEnd, CancelTasks, CancelWhich, ChangeTask, ClaimRequest, NewRun, Next, PromoteRequest,
    Purge, RecoverRequest, SaveProgress, Settlement, Start,
};
use jobcore::task::{NewTask, Origin, Progress, StepRef, TaskState, UniqueKey};
use rand::Rng;

use super::super::operation::Operation;
use super::super::snapshot::Snapshot;
use super::{Generator, run_id};

impl Generator {
    fn lane(&mut self) -> Lane {
        let name = *self.pick(&["h0", "h1"]);
        let capability = Capability::handler(name).expect("invariant: a good name");
        let executor = self.one_in(4).then(|| self.executor_id());
        Lane::new("default", &capability, &BTreeMap::new(), executor.as_ref())
    }

    /// A new task; seldom one whose id is taken.
    pub(super) fn new_task(&mut self, seen: &Snapshot) -> NewTask {
        let number = if self.one_in(12) {
            self.random.random_range(0..=self.next_task)
        } else {
            self.next_task += 1;
            self.next_task
        };
        let task_id = TaskId::new(format!("t{number:03}")).expect("invariant: a good id");
        if !self.asked.tasks.contains(&task_id) {
            self.asked.tasks.push(task_id.clone());
        }
        let run = seen.runs.iter().find(|run| run.end_time.is_none());
        let step = run.filter(|_| self.one_in(5)).map(|run| StepRef {
            run_id: run.run_id.clone(),
            step: format!("s{number}"),
        });
        NewTask {
            task_id,
            job_id: self.job_id(),
            scheduled_for: None,
            part: 0,
            parts: 1,
            origin: Origin::Manual,
            arguments: None,
            priority: *self.pick(&[0, 0, 0, 1, -2]),
            due_time: self.near(),
            lane: self.lane(),
            gates: self.gates(),
            delivery: *self.pick(&[Delivery::AtLeastOnce, Delivery::AtLeastOnce, Delivery::AtMostOnce]),
            unique_key: self.one_in(8).then(|| self.unique_key()),
            step,
            create_time: self.now,
        }
    }

    fn unique_key(&mut self) -> UniqueKey {
        let key = UniqueKey::new("s", *self.pick(&["u0", "u1"])).expect("invariant: a good key");
        UniqueKey {
            keep: Duration::from_millis(*self.pick(&[100, 5_000])),
            ..key
        }
    }

    /// None, that of a job, that of a key, or both.
    fn gates(&mut self) -> Vec<Gate> {
        let overlap = *self.pick(&[
            OverlapPolicy::Allow,
            OverlapPolicy::Skip,
            OverlapPolicy::QueueOne,
            OverlapPolicy::QueueAll,
            OverlapPolicy::CancelPrevious,
        ]);
        let job = Gate {
            key: GateKey::of_job(&self.job_id()),
            policy: GatePolicy {
                overlap,
                max_live: self.one_in(2).then_some(1),
                rate: None,
            },
        };
        let rate = Rate {
            count: 2,
            per: Duration::from_secs(1),
            burst: *self.pick(&[1, 3]),
        };
        let key = Gate {
            key: GateKey::of_key(self.pick::<&str>(&["k0", "k1"])),
            policy: GatePolicy {
                overlap: OverlapPolicy::Allow,
                max_live: self.one_in(2).then_some(2),
                rate: self.one_in(2).then_some(rate),
            },
        };
        match self.random.random_range(0..6) {
            0 => vec![job],
            1 => vec![key],
            2 => vec![job, key],
            _ => Vec::new(),
        }
    }

    pub(super) fn insert(&mut self, seen: &Snapshot) -> Operation {
        let count = self.random.random_range(1..6);
        let tasks = (0..count).map(|_| self.new_task(seen)).collect();
        Operation::Insert(tasks, self.now)
    }

    /// Of all gates and without a limit: else it's the store's choice how far it follows gates that are connected, and
    /// with which task it begins.
    pub(super) fn promote(&mut self) -> Operation {
        Operation::Promote(PromoteRequest {
            now: self.now,
            gates: None,
            limit: 1_000,
        })
    }

    pub(super) fn claim(&mut self, seen: &Snapshot) -> Operation {
        if self.one_in(8)
            && let Some(again) = &self.last_claim
        {
            return Operation::Claim(ClaimRequest {
                now: self.now,
                ..again.clone()
            });
        }
        let (first, second) = (self.lane(), self.lane());
        let mut lanes = vec![first.clone()];
        if second != first {
            lanes.push(second);
        }
        if self.one_in(2) {
            lanes.push(first.quarantine());
        }
        self.next_claim += 1;
        let request = ClaimRequest {
            claim_id: ClaimId(self.next_claim),
            replay: false,
            holder: self.holder(&seen.executors),
            lanes,
            limit: *self.pick(&[1, 2, 3, 10]),
            max_held: self.one_in(4).then_some(3),
            start_before: (self.timed && self.one_in(4)).then(|| self.now + Duration::from_millis(100)),
            now: self.now,
        };
        self.last_claim = Some(ClaimRequest {
            replay: true,
            ..request.clone()
        });
        Operation::Claim(request)
    }

    pub(super) fn start(&mut self, seen: &Snapshot) -> Operation {
        let start_time = self.now;
        let fences = self.fences(seen).into_iter();
        Operation::Start(fences.map(|fence| Start { fence, start_time }).collect())
    }

    pub(super) fn settle(&mut self, seen: &Snapshot) -> Operation {
        let fences = self.fences(seen);
        let settlements = fences.into_iter().map(|fence| {
            let (status, next) = self.end();
            let began = !self.one_in(4);
            Settlement {
                fence,
                attempt: began.then(|| AttemptEnd {
                    status,
                    start_time: self.now,
                    end_time: self.now,
                    exit_code: None,
                    output: "out".into(),
                    error: String::new(),
                }),
                next,
                checkpoint: self.one_in(5).then_some(Json::from_stored("[1]")),
            }
        });
        Operation::Settle(settlements.collect(), self.now)
    }

    fn end(&mut self) -> (AttemptStatus, Next) {
        let due_time = self.near();
        let last = |state| Next::Final { state, reason: None };
        match self.random.random_range(0..10) {
            0..5 => (AttemptStatus::Success, last(TaskState::Succeeded)),
            5 => (AttemptStatus::Failed, last(TaskState::Failed)),
            6 | 7 => (AttemptStatus::Failed, Next::Retry { due_time }),
            8 => (AttemptStatus::Cancelled, last(TaskState::Cancelled)),
            _ => (AttemptStatus::Released, Next::Again { due_time }),
        }
    }

    pub(super) fn save(&mut self, seen: &Snapshot) -> Operation {
        let fences = self.fences(seen);
        let updates = fences.into_iter().map(|fence| SaveProgress {
            fence,
            checkpoint: self.one_in(2).then_some(Json::from_stored("[2]")),
            progress: self.one_in(2).then_some(Progress {
                percent: 50.0,
                message: "half".into(),
            }),
        });
        Operation::Save(updates.collect())
    }

    pub(super) fn recover(&mut self) -> Operation {
        Operation::Recover(RecoverRequest {
            now: self.now,
            limit: self.limit(),
        })
    }

    /// A task that was named before; the first one if none was.
    fn known_task(&mut self) -> TaskId {
        if self.asked.tasks.is_empty() {
            return TaskId::new("t000").expect("invariant: a good id");
        }
        let tasks = self.asked.tasks.clone();
        // Recent ones are more likely live.
        let recent = &tasks[tasks.len().saturating_sub(30)..];
        self.pick(recent).clone()
    }

    pub(super) fn change(&mut self) -> Operation {
        let changes = (0..2).map(|_| ChangeTask {
            task_id: self.known_task(),
            priority: self.one_in(2).then_some(3),
            due_time: self.one_in(2).then(|| self.near()),
        });
        Operation::Change(changes.collect(), self.now)
    }

    pub(super) fn cancel(&mut self) -> Operation {
        let which = if self.one_in(4) {
            CancelWhich::Job(self.job_id())
        } else {
            CancelWhich::Tasks((0..3).map(|_| self.known_task()).collect())
        };
        let grace = *self.pick(&[None, Some(0), Some(300)]);
        Operation::Cancel(CancelTasks {
            which,
            reason: (*self.pick(&["why", "because"])).into(),
            grace: grace.map(Duration::from_millis),
            now: self.now,
            limit: self.limit(),
        })
    }

    pub(super) fn insert_run(&mut self) -> Operation {
        let id = run_id(self.pick::<&str>(&["r0", "r1"]));
        let mut first = self.new_task(&Snapshot::default());
        first.step = Some(StepRef {
            run_id: id.clone(),
            step: "first".into(),
        });
        Operation::InsertRun(NewRun {
            run_id: id,
            job_id: self.job_id(),
            state: Json::NULL,
            tasks: vec![first],
            now: self.now,
        })
    }

    pub(super) fn advance_run(&mut self, seen: &Snapshot) -> Operation {
        let id = run_id(self.pick::<&str>(&["r0", "r1"]));
        let run = seen.runs.iter().find(|run| run.run_id == id);
        let version = run.map_or(1, |run| run.version);
        let reports = run.map_or(0, |run| run.inbox.len() as u64);
        Operation::AdvanceRun(AdvanceRun {
            run_id: id,
            expected_version: version + u64::from(self.one_in(6)),
            state: Json::from_stored("[3]"),
            consumed: reports.checked_sub(1).filter(|_| !self.one_in(3)),
            tasks: if self.one_in(2) {
                vec![self.new_task(seen)]
            } else {
                Vec::new()
            },
            end_time: None,
            now: self.now,
        })
    }

    pub(super) fn append_logs(&mut self, seen: &Snapshot) -> Operation {
        let task_id = self
            .fence(seen)
            .map_or_else(|| self.known_task(), |fence| fence.task_id);
        let chunks = (0..3).map(|_| LogChunk {
            task_id: task_id.clone(),
            attempt: 1,
            sequence: self.random.random_range(0..6),
            stream: LogStream::Log,
            log_time: self.now,
            text: format!("line {}", self.random.random_range(0..9)),
        });
        Operation::AppendLogs(chunks.collect())
    }

    /// Without a limit: which of those that ended at one instant is the oldest is the store's choice.
    pub(super) fn purge(&mut self) -> Operation {
        Operation::Purge(Purge {
            before: self.near(),
            limit: 1_000,
            now: self.now,
        })
    }
}
