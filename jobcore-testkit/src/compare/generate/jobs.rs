//! Operations on jobs, records and executors.

use std::collections::BTreeMap;
use std::time::Duration;

use jobcore::job::{Command, JobDefinition};
use jobcore::json::Json;
use jobcore::lane::{Capability, ExecutorProfile};
use jobcore::schedule::Schedule;
use jobcore::store::{
    Decision, DecisionKind, DeleteJob, Expected, ExpireExecutors, Fire, Heartbeat, Held, JoinKey, PauseJob,
    PauseState, PutJob, PutRecord, Reach, RegisterExecutor, SetExecutorStatus,
};
use jobcore::task::{NewTask, Origin};
use rand::Rng;

use super::super::operation::Operation;
use super::super::snapshot::Snapshot;
use super::Generator;

impl Generator {
    pub(super) fn put_jobs(&mut self, seen: &Snapshot) -> Operation {
        let count = self.random.random_range(1..4);
        let puts = (0..count).map(|_| self.put_job(seen)).collect();
        Operation::PutJobs(puts)
    }

    fn put_job(&mut self, seen: &Snapshot) -> PutJob {
        let job_id = self.job_id();
        let version = seen
            .jobs
            .iter()
            .find(|job| job.job_id == job_id)
            .map_or(1, |job| job.version);
        let expected = *self.pick(&[
            Expected::Any,
            Expected::Any,
            Expected::Absent,
            Expected::Version(version),
        ]);
        let schedule =
            (!self.one_in(3)).then(|| Schedule::cron("* * * * *").expect("invariant: a good rule"));
        let name = *self.pick(&["h0", "h1"]);
        let grace = *self.pick(&[0, 100, 2_000]);
        PutJob {
            job_id,
            next_fire_time: schedule.as_ref().map(|_| self.near()),
            definition: JobDefinition {
                schedule,
                cancel_grace: Duration::from_millis(grace),
                ..JobDefinition::new(name, Command::handler(name))
            },
            expected,
            zone_version: (*self.pick(&["2026a", "2026b"])).into(),
            now: self.now,
        }
    }

    pub(super) fn pause_jobs(&mut self) -> Operation {
        let to = *self.pick(&[PauseState::Paused, PauseState::Active, PauseState::Active]);
        let pause = PauseJob {
            job_id: self.job_id(),
            expected: *self.pick(&[Expected::Any, Expected::Any, Expected::Version(2)]),
            to,
            next_fire_time: Some(self.near()),
            now: self.now,
        };
        Operation::PauseJobs(vec![pause])
    }

    pub(super) fn delete_jobs(&mut self) -> Operation {
        Operation::DeleteJobs(vec![DeleteJob {
            job_id: self.job_id(),
            expected: *self.pick(&[Expected::Any, Expected::Version(1)]),
        }])
    }

    pub(super) fn fire(&mut self, seen: &Snapshot) -> Operation {
        if seen.jobs.is_empty() {
            return self.put_jobs(seen);
        }
        let job = self.pick(&seen.jobs).clone();
        let tasks = (0..self.random.random_range(0..3)).map(|part| NewTask {
            job_id: job.job_id.clone(),
            scheduled_for: job.next_fire_time,
            part,
            parts: 2,
            origin: Origin::Fire,
            ..self.new_task(seen)
        });
        let tasks = tasks.collect();
        let decision = self.one_in(3).then(|| Decision {
            job_id: job.job_id.clone(),
            scheduled_for: job.next_fire_time,
            count: 2,
            task_id: None,
            kind: DecisionKind::MisfireMerged,
            decision_time: self.now,
            reason: "merged".into(),
        });
        let stale = self.one_in(6);
        Operation::Fire(vec![Fire {
            job_id: job.job_id.clone(),
            version: job.version + u64::from(stale),
            expected_next_fire_time: job.next_fire_time,
            next_fire_time: (!self.one_in(4)).then(|| self.near()),
            last_fire_time: (!self.one_in(3)).then_some(job.next_fire_time).flatten(),
            zone_version: (*self.pick(&["2026a", "2026b"])).into(),
            error: self.one_in(6).then(|| "can't be read".into()),
            tasks,
            decisions: decision.into_iter().collect(),
            now: self.now,
        }])
    }

    pub(super) fn put_records(&mut self, seen: &Snapshot) -> Operation {
        let key = *self.pick(&["a", "b"]);
        let there = seen.records.iter().find(|record| record.key == key);
        let version = there.map_or(1, |record| record.version);
        let number = self.random.random_range(0..9);
        let value = (!self.one_in(3)).then(|| Json::encode(&number).expect("invariant: a number"));
        Operation::PutRecords(vec![PutRecord {
            namespace: "n".into(),
            key: key.into(),
            value,
            expected: *self.pick(&[Expected::Any, Expected::Absent, Expected::Version(version)]),
            now: self.now,
        }])
    }

    pub(super) fn register(&mut self) -> Operation {
        let nonce = self.random.random_range(1..4);
        let join = self.one_in(3).then_some(JoinKey {
            nonce,
            previous: None,
        });
        let handlers = ["h0", "h1"].map(|name| Capability::handler(name).expect("invariant: a good name"));
        Operation::Register(RegisterExecutor {
            executor_id: self.executor_id(),
            host: "localhost".into(),
            port: 1,
            profile: ExecutorProfile {
                group: "default".into(),
                capabilities: handlers.to_vec(),
                labels: BTreeMap::new(),
                capacity: 4,
            },
            reach: *self.pick(&[Reach::Direct, Reach::Remote]),
            address: None,
            lease_duration: Duration::from_millis(*self.pick(&[100, 400, 1_000])),
            join,
        })
    }

    pub(super) fn set_status(&mut self, seen: &Snapshot) -> Operation {
        let executor_id = self.executor_id();
        Operation::SetStatus(match self.random.random_range(0..6) {
            0 => SetExecutorStatus::Disable(executor_id),
            1 | 2 => SetExecutorStatus::Enable(executor_id),
            3 => SetExecutorStatus::Drain(executor_id),
            _ => SetExecutorStatus::Leave(self.holder(&seen.executors)),
        })
    }

    pub(super) fn heartbeat(&mut self, seen: &Snapshot) -> Operation {
        let holder = self.holder(&seen.executors);
        let fences = self.fences(seen);
        let held = if self.one_in(2) {
            Held::Leases(fences.into_iter().map(|fence| fence.token).collect())
        } else {
            Held::Tasks(
                fences
                    .into_iter()
                    .map(|fence| (fence.task_id, fence.token))
                    .collect(),
            )
        };
        Operation::Heartbeat(Heartbeat {
            holder,
            held,
            closed: Vec::new(),
            resources: self.one_in(4).then_some(Json::NULL),
        })
    }

    pub(super) fn expire(&mut self) -> Operation {
        let spared = self.executor_id();
        let spare = if self.one_in(3) { vec![spared] } else { Vec::new() };
        Operation::Expire(ExpireExecutors {
            spare,
            grace: Duration::from_millis(*self.pick(&[0, 0, 200])),
            limit: self.limit(),
        })
    }
}
