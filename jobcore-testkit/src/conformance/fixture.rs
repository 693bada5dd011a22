//! What cases have in common: jobs, tasks and nodes with little ceremony.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jobcore::Timestamp;
use jobcore::attempt::AttemptStatus;
use jobcore::clock::Clock;
use jobcore::gate::{Gate, GateKey, GatePolicy};
use jobcore::id::{ClaimId, ExecutorId, JobId, TaskId};
use jobcore::job::{Command, Delivery, Job, JobDefinition};
use jobcore::lane::{Capability, ExecutorProfile, Lane};
use jobcore::lease::{Fence, Holder, Lease};
use jobcore::schedule::Schedule;
use jobcore::store::{
    AttemptEnd, CancelTasks, CancelWhich, Cancelled, ClaimOutcome, ClaimRequest, ExecutorFilter,
    ExecutorRecord, Expected, ExpireExecutors, Heartbeat, HeartbeatOutcome, Held, InsertOutcome, Next,
    PromoteRequest, Promoted, PutJob, PutJobOutcome, Reach, RecoverRequest, Recovered, RegisterExecutor,
    SettleOutcome, Settlement, Start, StartOutcome, Store,
};
use jobcore::task::{NewTask, Origin, Task, TaskState};

use super::under_test::StoreUnderTest;

/// A lease time that is long for cases in which nothing expires, and short to wait for.
pub(crate) const LEASE: Duration = Duration::from_millis(100);

/// How often a case looks at a clock that it can't set.
const POLL: Duration = Duration::from_millis(5);

/// A store, and what most cases put into it.
pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    /// The store's clock when the case began; node time is counted from there.
    pub(crate) start: Timestamp,
    tested: StoreUnderTest,
    claims: AtomicU64,
}

impl Fixture {
    pub(crate) async fn new(tested: StoreUnderTest) -> Self {
        let store = Arc::clone(&tested.store);
        let start = store.now().await.expect("the store tells its time");
        let claims = AtomicU64::new(1);
        Self {
            store,
            start,
            tested,
            claims,
        }
    }

    /// Node time: so many seconds after the start; before it, if negative.
    pub(crate) fn at(&self, seconds: i64) -> Timestamp {
        Timestamp::from_micros(self.start.as_micros() + seconds * 1_000_000)
    }

    /// Returns when so much time has passed by the store's own clock.
    pub(crate) async fn pass(&self, time: Duration) {
        if let Some(clock) = &self.tested.clock {
            clock.advance(time);
            return;
        }
        let end = self.store.now().await.expect("the store tells its time") + time;
        while self.store.now().await.expect("the store tells its time") <= end {
            tokio::time::sleep(POLL).await;
        }
    }

    /// The store's clock, where the case sets it.
    pub(crate) fn set_clock(&self) -> Option<Timestamp> {
        self.tested.clock.as_ref().map(|clock| clock.now())
    }

    /// The job `greet`, without a schedule.
    pub(crate) async fn job(&self) -> Arc<Job> {
        self.put("greet", definition("greet")).await
    }

    /// A new job.
    pub(crate) async fn put(&self, id: &str, definition: JobDefinition) -> Arc<Job> {
        let outcomes = self.store.put_jobs(vec![self.new_job(id, definition)]).await;
        match one(outcomes.expect("put_jobs")) {
            PutJobOutcome::Created(job) => job,
            other => panic!("{id} should be new: {other:?}"),
        }
    }

    /// A put that expects nothing there, due in a minute if it has a schedule.
    pub(crate) fn new_job(&self, id: &str, definition: JobDefinition) -> PutJob {
        PutJob {
            job_id: job_id(id),
            next_fire_time: definition.schedule.as_ref().map(|_| self.at(60)),
            definition,
            expected: Expected::Absent,
            zone_version: "2026a".into(),
            now: self.start,
        }
    }

    /// A task of the job `greet`, due at once.
    pub(crate) fn task(&self, id: &str) -> NewTask {
        NewTask {
            task_id: task_id(id),
            job_id: job_id("greet"),
            scheduled_for: None,
            part: 0,
            parts: 1,
            origin: Origin::Manual,
            arguments: None,
            priority: 0,
            due_time: self.start,
            lane: lane("greet"),
            gates: Vec::new(),
            delivery: Delivery::AtLeastOnce,
            unique_key: None,
            step: None,
            create_time: self.start,
        }
    }

    /// The same behind a gate.
    pub(crate) fn gated(&self, id: &str, key: &GateKey, policy: &GatePolicy) -> NewTask {
        NewTask {
            gates: vec![Gate {
                key: key.clone(),
                policy: policy.clone(),
            }],
            ..self.task(id)
        }
    }

    /// Inserts tasks that are all new.
    pub(crate) async fn insert(&self, tasks: Vec<NewTask>) {
        let count = tasks.len();
        let outcomes = self.store.insert_tasks(tasks, self.start).await;
        assert_eq!(
            outcomes.expect("insert_tasks"),
            vec![InsertOutcome::Inserted; count]
        );
    }

    /// Inserts tasks with these ids, due one millisecond after the other so that their order is known.
    pub(crate) async fn insert_some(&self, ids: &[&str]) {
        let tasks = ids.iter().enumerate().map(|(n, id)| NewTask {
            due_time: self.at(-60) + Duration::from_millis(n as u64),
            ..self.task(id)
        });
        self.insert(tasks.collect()).await;
    }

    /// Registers an executor that claims for itself.
    pub(crate) async fn node(&self, id: &str) -> Holder {
        self.register(registration(id)).await
    }

    /// Registers an executor that others claim for.
    pub(crate) async fn remote(&self, id: &str) -> Holder {
        let reach = Reach::Remote;
        self.register(RegisterExecutor {
            reach,
            ..registration(id)
        })
        .await
    }

    pub(crate) async fn register(&self, registration: RegisterExecutor) -> Holder {
        let executor_id = registration.executor_id.clone();
        let registered = self.store.register_executor(registration).await;
        Holder {
            executor_id,
            incarnation: registered.expect("register_executor").incarnation,
        }
    }

    /// The executor's record.
    pub(crate) async fn executor(&self, id: &str) -> ExecutorRecord {
        let filter = ExecutorFilter {
            executor_id: Some(executor_id(id)),
            ..ExecutorFilter::default()
        };
        one(self.store.list_executors(&filter).await.expect("list_executors"))
    }

    /// A claim of up to `limit` tasks from the lane `greet`.
    pub(crate) fn claim_request(&self, holder: &Holder, limit: usize) -> ClaimRequest {
        ClaimRequest {
            claim_id: ClaimId(u128::from(self.claims.fetch_add(1, Ordering::Relaxed))),
            replay: false,
            holder: holder.clone(),
            lanes: vec![lane("greet")],
            limit,
            max_held: None,
            start_before: None,
            now: self.start,
        }
    }

    /// Claims, and expects to get something.
    pub(crate) async fn claim(&self, holder: &Holder, limit: usize) -> Lease {
        self.claim_with(self.claim_request(holder, limit)).await
    }

    /// Claims, and expects to get something.
    pub(crate) async fn claim_with(&self, request: ClaimRequest) -> Lease {
        match self.store.claim(request).await.expect("claim") {
            ClaimOutcome::Claimed(lease) => lease,
            other => panic!("there should be something to claim: {other:?}"),
        }
    }

    /// Inserts a task, and claims it: the fence of what is held then.
    pub(crate) async fn held(&self, id: &str, holder: &Holder) -> Fence {
        self.insert(vec![self.task(id)]).await;
        self.claim_one(id, holder).await
    }

    /// The same, and started.
    pub(crate) async fn running(&self, id: &str, holder: &Holder) -> Fence {
        let fence = self.held(id, holder).await;
        self.start_one(&fence).await;
        fence
    }

    /// Claims exactly this task.
    pub(crate) async fn claim_one(&self, id: &str, holder: &Holder) -> Fence {
        let lease = self.claim(holder, 10).await;
        assert_eq!(ids_of(&lease), [id]);
        fences(&lease).remove(0)
    }

    pub(crate) async fn start_one(&self, fence: &Fence) {
        assert_eq!(self.try_start(fence).await, StartOutcome::Started);
    }

    pub(crate) async fn try_start(&self, fence: &Fence) -> StartOutcome {
        let start = Start {
            fence: fence.clone(),
            start_time: self.start,
        };
        one(self.store.start(vec![start]).await.expect("start"))
    }

    /// The end of an attempt that lasted from the start to `end_time`.
    pub(crate) fn ended(&self, status: AttemptStatus, end_time: Timestamp) -> AttemptEnd {
        AttemptEnd {
            status,
            start_time: self.start,
            end_time,
            exit_code: None,
            output: "out".into(),
            error: String::new(),
        }
    }

    pub(crate) fn succeeded(&self, fence: &Fence, end_time: Timestamp) -> Settlement {
        Settlement {
            fence: fence.clone(),
            attempt: Some(self.ended(AttemptStatus::Success, end_time)),
            next: Next::Final {
                state: TaskState::Succeeded,
                reason: None,
            },
            checkpoint: None,
        }
    }

    pub(crate) fn retry(&self, fence: &Fence, due_time: Timestamp) -> Settlement {
        Settlement {
            fence: fence.clone(),
            attempt: Some(self.ended(AttemptStatus::Failed, self.start)),
            next: Next::Retry { due_time },
            checkpoint: None,
        }
    }

    /// Gives a task back of which no attempt began.
    pub(crate) fn hand_back(&self, fence: &Fence) -> Settlement {
        Settlement {
            fence: fence.clone(),
            attempt: None,
            next: Next::Again { due_time: self.start },
            checkpoint: None,
        }
    }

    /// Settles one at the start.
    pub(crate) async fn settle(&self, settlement: Settlement) -> SettleOutcome {
        self.settle_at(settlement, self.start).await
    }

    pub(crate) async fn settle_at(&self, settlement: Settlement, now: Timestamp) -> SettleOutcome {
        one(self.store.settle(vec![settlement], now).await.expect("settle"))
    }

    /// Settles a success, and expects it to count.
    pub(crate) async fn succeed(&self, fence: &Fence) {
        self.succeed_at(fence, self.start).await;
    }

    pub(crate) async fn succeed_at(&self, fence: &Fence, now: Timestamp) {
        let outcome = self.settle_at(self.succeeded(fence, now), now).await;
        assert_eq!(settled_state(&outcome), TaskState::Succeeded);
    }

    /// Makes a task that has succeeded at `end_time`.
    pub(crate) async fn finished(&self, new: NewTask, holder: &Holder, end_time: Timestamp) {
        let id = new.task_id.to_string();
        self.insert(vec![new]).await;
        let fence = self.claim_one(&id, holder).await;
        self.succeed_at(&fence, end_time).await;
    }

    /// A task that exists.
    pub(crate) async fn get(&self, id: &str) -> Task {
        self.find(id).await.unwrap_or_else(|| panic!("{id} should exist"))
    }

    pub(crate) async fn find(&self, id: &str) -> Option<Task> {
        one(self.store.get_tasks(&[task_id(id)]).await.expect("get_tasks"))
    }

    pub(crate) async fn state(&self, id: &str) -> TaskState {
        self.get(id).await.state
    }

    /// The states of these tasks.
    pub(crate) async fn states(&self, ids: &[&str]) -> Vec<TaskState> {
        let ids: Vec<TaskId> = ids.iter().map(|id| task_id(id)).collect();
        let tasks = self.store.get_tasks(&ids).await.expect("get_tasks");
        tasks
            .into_iter()
            .map(|task| task.expect("the task exists").state)
            .collect()
    }

    /// Promotes everything at `now`.
    pub(crate) async fn promote(&self, now: Timestamp) -> Promoted {
        let request = PromoteRequest {
            now,
            gates: None,
            limit: 1_000,
        };
        self.store.promote(request).await.expect("promote")
    }

    pub(crate) async fn beat(&self, holder: &Holder, held: Held) -> HeartbeatOutcome {
        one(self
            .store
            .heartbeat(vec![heartbeat(holder, held)])
            .await
            .expect("heartbeat"))
    }

    /// Lets the executors' leases expire, and declares them dead.
    pub(crate) async fn kill(&self, holders: &[&Holder]) {
        self.pass(LEASE * 2).await;
        let mut dead = self.expire(10).await;
        dead.sort();
        let mut expected: Vec<Holder> = holders.iter().map(|holder| (*holder).clone()).collect();
        expected.sort();
        assert_eq!(dead, expected);
    }

    pub(crate) async fn expire(&self, limit: usize) -> Vec<Holder> {
        let request = ExpireExecutors {
            spare: Vec::new(),
            grace: Duration::ZERO,
            limit,
        };
        self.store
            .expire_executors(request)
            .await
            .expect("expire_executors")
    }

    pub(crate) async fn recover(&self, now: Timestamp) -> Recovered {
        let request = RecoverRequest { now, limit: 1_000 };
        self.store.recover(request).await.expect("recover")
    }

    pub(crate) async fn cancel(&self, ids: &[&str]) -> Cancelled {
        let which = CancelWhich::Tasks(ids.iter().map(|id| task_id(id)).collect());
        self.cancel_with(which, None).await
    }

    pub(crate) async fn cancel_with(&self, which: CancelWhich, grace: Option<Duration>) -> Cancelled {
        let request = CancelTasks {
            which,
            reason: "not needed".into(),
            grace,
            now: self.start,
            limit: 1_000,
        };
        self.store.cancel_tasks(request).await.expect("cancel_tasks")
    }
}

/// A registration of an executor that claims for itself.
pub(crate) fn registration(id: &str) -> RegisterExecutor {
    RegisterExecutor {
        executor_id: executor_id(id),
        host: "localhost".into(),
        port: 0,
        profile: ExecutorProfile {
            group: "default".into(),
            capabilities: vec![Capability::handler("greet").expect("a good name")],
            labels: BTreeMap::new(),
            capacity: 10,
        },
        reach: Reach::Direct,
        address: None,
        lease_duration: LEASE,
        join: None,
    }
}

pub(crate) fn heartbeat(holder: &Holder, held: Held) -> Heartbeat {
    Heartbeat {
        holder: holder.clone(),
        held,
        closed: Vec::new(),
        resources: None,
    }
}

/// A definition that calls the handler `name`.
pub(crate) fn definition(name: &str) -> JobDefinition {
    JobDefinition::new(name, Command::handler(name))
}

pub(crate) fn lane(handler: &str) -> Lane {
    let capability = Capability::handler(handler).expect("a good name");
    Lane::new("default", &capability, &BTreeMap::new(), None)
}

pub(crate) fn job_id(id: &str) -> JobId {
    JobId::new(id).expect("a good id")
}

pub(crate) fn task_id(id: &str) -> TaskId {
    TaskId::new(id).expect("a good id")
}

pub(crate) fn executor_id(id: &str) -> ExecutorId {
    ExecutorId::new(id).expect("a good id")
}

/// The only item of an answer to a batch of one.
pub(crate) fn one<T: std::fmt::Debug>(mut answers: Vec<T>) -> T {
    assert_eq!(answers.len(), 1, "one request has one answer: {answers:?}");
    answers.remove(0)
}

pub(crate) fn ids_of(lease: &Lease) -> Vec<&str> {
    lease
        .tasks
        .iter()
        .map(|claimed| claimed.task.task_id.as_str())
        .collect()
}

pub(crate) fn fences(lease: &Lease) -> Vec<Fence> {
    lease
        .tasks
        .iter()
        .map(|claimed| claimed.fence(lease.token, &lease.holder))
        .collect()
}

#[track_caller]
pub(crate) fn settled_state(outcome: &SettleOutcome) -> TaskState {
    match outcome {
        SettleOutcome::Settled { state, .. } => *state,
        other => panic!("the settlement should count: {other:?}"),
    }
}

/// A definition with a schedule. Stores don't read it: it only has to be kept.
pub(crate) fn scheduled(name: &str) -> JobDefinition {
    let schedule = Schedule::cron("* * * * *").expect("a good schedule");
    JobDefinition {
        schedule: Some(schedule),
        ..definition(name)
    }
}

/// Reads a listing page by page, each at most so long, and checks that the pages have an end.
macro_rules! pages {
    ($limit:expr, |$page:ident| $read:expr) => {{
        let (mut items, mut cursor) = (Vec::new(), None);
        loop {
            let $page = jobcore::store::PageRequest {
                cursor,
                limit: $limit,
            };
            let page = $read.await.expect("the page can be read");
            assert!(page.items.len() <= $limit, "a page is longer than asked for");
            items.extend(page.items);
            assert!(items.len() <= 1_000, "the pages go in a circle");
            match page.next {
                Some(next) => cursor = Some(next),
                None => break items,
            }
        }
    }};
}

pub(crate) use pages;
