//! A store as nodes use it, with little ceremony.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jobcore::attempt::AttemptStatus;
use jobcore::id::{ClaimId, ExecutorId, JobId, TaskId};
use jobcore::job::{Command, Delivery, JobDefinition};
use jobcore::lane::{Capability, ExecutorProfile, Lane};
use jobcore::lease::{Fence, Holder, Lease};
use jobcore::schedule::Schedule;
use jobcore::store::{
    AttemptEnd, ClaimOutcome, ClaimRequest, Expected, Heartbeat, HeartbeatOutcome, Held, InsertOutcome,
    JobStore as _, Next, PutJob, PutJobOutcome, Reach, RegisterExecutor, SettleOutcome, Settlement,
    TaskStore as _,
};
use jobcore::task::{NewTask, Origin, TaskState};
use jobcore::{Result, Timestamp};
use jobcore_mysql::MySqlStore;

/// The version of the time zone data that jobs are planned with.
pub(crate) const ZONE_VERSION: &str = "2026a";

/// A store, and when the test began by its clock.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    store: Arc<MySqlStore>,
    pub(crate) now: Timestamp,
}

impl Deref for Client {
    type Target = MySqlStore;

    fn deref(&self) -> &MySqlStore {
        &self.store
    }
}

impl Client {
    pub(crate) async fn new(store: MySqlStore) -> Self {
        let now = store.now().await.unwrap();
        Self {
            store: Arc::new(store),
            now,
        }
    }

    /// A job that calls the handler of its name, due `after` the start; without, it has no schedule.
    pub(crate) fn new_job(&self, id: &str, after: Option<Duration>) -> PutJob {
        let mut definition = JobDefinition::new(id, Command::handler(id));
        definition.schedule = after.map(|_| Schedule::cron("* * * * *").unwrap());
        PutJob {
            job_id: job_id(id),
            definition,
            expected: Expected::Absent,
            next_fire_time: after.map(|after| self.now + after),
            zone_version: ZONE_VERSION.into(),
            now: self.now,
        }
    }

    /// Puts new jobs.
    pub(crate) async fn put(&self, jobs: Vec<PutJob>) {
        for batch in jobs.chunks(1_000) {
            let outcomes = self.put_jobs(batch.to_vec()).await.unwrap();
            let created = |outcome| matches!(outcome, PutJobOutcome::Created(_));
            assert!(outcomes.into_iter().all(created));
        }
    }

    /// A task of this job, in the lane of its handler, due at the start.
    pub(crate) fn task(&self, job: &str, id: &str) -> NewTask {
        NewTask {
            task_id: task_id(id),
            job_id: job_id(job),
            scheduled_for: None,
            part: 0,
            parts: 1,
            origin: Origin::Manual,
            arguments: None,
            priority: 0,
            due_time: self.now,
            lane: lane(job),
            gates: Vec::new(),
            delivery: Delivery::AtLeastOnce,
            unique_key: None,
            step: None,
            create_time: self.now,
        }
    }

    /// Tasks of this job with numbered ids.
    pub(crate) fn tasks(&self, job: &str, count: usize) -> Vec<NewTask> {
        (0..count)
            .map(|number| self.task(job, &format!("{job}-{number:06}")))
            .collect()
    }

    /// Inserts new tasks.
    pub(crate) async fn insert(&self, tasks: Vec<NewTask>) {
        for batch in tasks.chunks(1_000) {
            let outcomes = self.insert_tasks(batch.to_vec(), self.now).await.unwrap();
            assert_eq!(outcomes, vec![InsertOutcome::Inserted; batch.len()]);
        }
    }

    /// Puts a job without a schedule, if it isn't there.
    pub(crate) async fn put_job_again(&self, id: &str) -> Result<()> {
        let expected = Expected::Any;
        let job = PutJob {
            expected,
            ..self.new_job(id, None)
        };
        self.put_jobs(vec![job]).await.map(drop)
    }

    /// A new executor that stays alive for an hour.
    pub(crate) async fn join(&self, id: &str) -> Holder {
        self.try_join(id).await.unwrap()
    }

    /// The same, where it may fail.
    pub(crate) async fn try_join(&self, id: &str) -> Result<Holder> {
        let registration = RegisterExecutor {
            executor_id: executor_id(id),
            host: "localhost".into(),
            port: 0,
            profile: ExecutorProfile {
                group: "default".into(),
                capabilities: Vec::new(),
                labels: BTreeMap::new(),
                capacity: 10,
            },
            reach: Reach::Direct,
            address: None,
            lease_duration: Duration::from_secs(3_600),
            join: None,
        };
        Ok(Holder {
            executor_id: executor_id(id),
            incarnation: self.register_executor(registration).await?.incarnation,
        })
    }

    /// A claim from the lane of a handler.
    pub(crate) fn claim_request(&self, holder: &Holder, handler: &str, limit: usize) -> ClaimRequest {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        ClaimRequest {
            claim_id: ClaimId(NUMBER.fetch_add(1, Ordering::Relaxed).into()),
            replay: false,
            holder: holder.clone(),
            lanes: vec![lane(handler)],
            limit,
            max_held: None,
            start_before: None,
            now: self.now,
        }
    }

    /// Claims from the lane of a handler, where something is ready.
    pub(crate) async fn take(&self, holder: &Holder, handler: &str, limit: usize) -> Lease {
        match self
            .claim(self.claim_request(holder, handler, limit))
            .await
            .unwrap()
        {
            ClaimOutcome::Claimed(lease) => lease,
            other => panic!("there should be something to claim: {other:?}"),
        }
    }

    /// How an attempt ended that began and ended at the start.
    pub(crate) fn ended(&self, fence: &Fence, status: AttemptStatus, next: Next) -> Settlement {
        let attempt = AttemptEnd {
            status,
            start_time: self.now,
            end_time: self.now,
            exit_code: None,
            output: "done".into(),
            error: String::new(),
        };
        Settlement {
            fence: fence.clone(),
            attempt: Some(attempt),
            next,
            checkpoint: None,
        }
    }

    pub(crate) fn succeeded(&self, fence: &Fence) -> Settlement {
        let next = Next::Final {
            state: TaskState::Succeeded,
            reason: None,
        };
        self.ended(fence, AttemptStatus::Success, next)
    }

    /// Settles, and expects it to count.
    pub(crate) async fn finish(&self, settlements: Vec<Settlement>) {
        let outcomes = self.settle(settlements, self.now).await.unwrap();
        let settled = |outcome: &_| matches!(outcome, SettleOutcome::Settled { .. });
        assert!(outcomes.iter().all(settled), "{outcomes:?}");
    }

    /// Settles all that a lease holds as successes.
    pub(crate) async fn succeed(&self, lease: &Lease) {
        let fences = fences(lease);
        let settlements = fences.iter().map(|fence| self.succeeded(fence));
        self.finish(settlements.collect()).await;
    }

    /// A heartbeat that names these leases.
    pub(crate) async fn beat(&self, holder: &Holder, leases: &[&Lease]) -> HeartbeatOutcome {
        let heartbeat = Heartbeat {
            holder: holder.clone(),
            held: Held::Leases(leases.iter().map(|lease| lease.token).collect()),
            closed: Vec::new(),
            resources: None,
        };
        self.heartbeat(vec![heartbeat]).await.unwrap().remove(0)
    }
}

pub(crate) fn job_id(id: &str) -> JobId {
    JobId::new(id).unwrap()
}

pub(crate) fn task_id(id: &str) -> TaskId {
    TaskId::new(id).unwrap()
}

pub(crate) fn executor_id(id: &str) -> ExecutorId {
    ExecutorId::new(id).unwrap()
}

/// The lane of a handler.
pub(crate) fn lane(handler: &str) -> Lane {
    let capability = Capability::handler(handler).unwrap();
    Lane::new("default", &capability, &BTreeMap::new(), None)
}

/// What a lease holds.
pub(crate) fn fences(lease: &Lease) -> Vec<Fence> {
    let claimed = lease.tasks.iter();
    claimed
        .map(|claimed| claimed.fence(lease.token, &lease.holder))
        .collect()
}
