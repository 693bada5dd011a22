//! What cases have in common: jobs, tasks and nodes with little ceremony.

mod attempts;
mod values;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use jobcore::Timestamp;
use jobcore::clock::Clock;
use jobcore::gate::{Gate, GateKey, GatePolicy};
use jobcore::id::TaskId;
use jobcore::job::{Delivery, Job, JobDefinition};
use jobcore::lease::Holder;
use jobcore::store::{
    CancelTasks, CancelWhich, Cancelled, ExecutorFilter, ExecutorRecord, Expected, ExpireExecutors,
    HeartbeatOutcome, Held, InsertOutcome, PromoteRequest, Promoted, PutJob, PutJobOutcome, Reach,
    RecoverRequest, Recovered, RegisterExecutor, Store,
};
use jobcore::task::{NewTask, Origin, Task, TaskState};

pub(crate) use self::values::*;
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
