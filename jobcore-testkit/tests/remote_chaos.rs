//! Schedulers and remote executors under everything that can go wrong at once, from seeds on paused time: in the end
//! every task is done, none that asks for at most once twice.

#![expect(clippy::unwrap_used, reason = "a failure should end the test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jobcore::attempt::AttemptStatus;
use jobcore::clock::{Clock, SeededEntropy};
use jobcore::config::{HeartbeatThread, Roles};
use jobcore::id::{ExecutorId, TaskId};
use jobcore::memory::{MemoryStore, MemoryTransport};
use jobcore::retry::RetryPolicy;
use jobcore::store::{AttemptFilter, HistoryStore, PageRequest, Store, TaskStore};
use jobcore::task::TaskState;
use jobcore::transport::{ExecutorTransport, Transport};
use jobcore::{
    Engine, ExecutorNode, HandlerError, JobBuilder, NodeState, SchedulerExt, TaskContext, Timestamp, Trigger,
};
use jobcore_testkit::faulty::{FaultPlan, Faults, Faulty};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

#[derive(Debug)]
struct PausedClock(tokio::time::Instant);

#[async_trait]
impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_767_225_600) + self.0.elapsed()
    }

    async fn sleep_until(&self, time: Timestamp) {
        tokio::time::sleep(time.since(self.now())).await;
    }
}

/// One seed's cluster.
struct World {
    clock: Arc<PausedClock>,
    store: Arc<MemoryStore>,
    place: MemoryTransport,
    random: StdRng,
    faults: Vec<Arc<Faults>>,
    plan: FaultPlan,
    /// How often each attempt began.
    runs: Arc<Mutex<BTreeMap<(TaskId, u32), u32>>>,
    schedulers: Vec<Engine>,
    executors: Vec<(ExecutorNode, Arc<Faults>)>,
    lives: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(PausedClock(tokio::time::Instant::now()));
        let mut plan = FaultPlan::all(0.03);
        plan.longest_delay = Duration::from_secs(8);
        Self {
            store: Arc::new(MemoryStore::new(clock.clone())),
            place: MemoryTransport::new(clock.clone()),
            random: StdRng::seed_from_u64(seed),
            clock,
            faults: Vec::new(),
            plan,
            runs: Arc::default(),
            schedulers: Vec::new(),
            executors: Vec::new(),
            lives: 0,
        }
    }

    fn faults(&mut self) -> Arc<Faults> {
        let faults = Faults::new(self.random.random(), self.clock.clone()).with_plan(self.plan);
        self.faults.push(Arc::new(faults));
        self.faults.last().unwrap().clone()
    }

    fn name(&mut self, kind: &str) -> ExecutorId {
        self.lives += 1;
        ExecutorId::new(format!("{kind}{}", self.lives)).unwrap()
    }

    async fn add_scheduler(&mut self) {
        let id = self.name("s");
        let store: Arc<dyn Store> = Arc::new(Faulty::new(self.store.clone(), self.faults()));
        let transport: Arc<dyn Transport> = Arc::new(Faulty::new(self.place.scheduler(), self.faults()));
        let entropy = Arc::new(SeededEntropy::new(self.random.random()));
        for _ in 0..100 {
            let started = Engine::builder(store.clone())
                .transport(transport.clone())
                .clock(self.clock.clone())
                .entropy(entropy.clone())
                .configure(|config| {
                    config.executor_id = Some(id.clone());
                    config.roles = Roles::Scheduler;
                    config.heartbeat_thread = HeartbeatThread::Shared;
                })
                .start()
                .await;
            if let Ok(engine) = started {
                self.schedulers.push(engine);
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("a scheduler should start now and then");
    }

    fn add_executor(&mut self, id: ExecutorId) {
        let faults = self.faults();
        let end: Arc<dyn ExecutorTransport> = Arc::new(Faulty::new(self.place.executor(), faults.clone()));
        let runs = self.runs.clone();
        let node = ExecutorNode::builder(end)
            .handler("work", move |seconds: f32, cx: TaskContext| {
                *runs
                    .lock()
                    .entry((cx.task_id().clone(), cx.attempt()))
                    .or_default() += 1;
                async move {
                    cx.log("works").await;
                    tokio::time::sleep(Duration::from_secs_f32(seconds)).await;
                    cx.save_checkpoint(&seconds).await?;
                    Ok::<_, HandlerError>(())
                }
            })
            .clock(self.clock.clone())
            .entropy(Arc::new(SeededEntropy::new(self.random.random())))
            .configure(|config| {
                config.executor_id = Some(id);
                config.capacity = 3;
                config.heartbeat_thread = HeartbeatThread::Shared;
            })
            .start()
            .unwrap();
        self.executors.push((node, faults));
    }

    /// Triggers some tasks, as far as the scheduler can be reached.
    async fn trigger(&mut self, count: usize) -> Vec<(TaskId, bool)> {
        let mut tasks = Vec::new();
        for _ in 0..count {
            let once: bool = self.random.random();
            let seconds: f32 = self.random.random_range(0.0..4.0);
            let id = format!("job-{once}-{}", self.random.random_range(0..4));
            let mut job = JobBuilder::handler("work")
                .id(&id)
                .arguments(1.0)
                .retry(RetryPolicy::fixed(100, Duration::from_millis(100)));
            if once {
                job = job.at_most_once();
            }
            let engine = &self.schedulers[0];
            let Ok(job) = engine.put_job(job).await else {
                continue;
            };
            let trigger = Trigger::new(job.job_id.clone()).arguments(&seconds).unwrap();
            if let Ok(task_id) = engine.trigger_one(trigger).await {
                tasks.push((task_id, once));
            }
        }
        tasks
    }

    /// Something happens to the cluster.
    async fn befall(&mut self) {
        let n = self.random.random_range(0..self.executors.len());
        match self.random.random_range(0..8) {
            0 => {
                let (node, _) = self.executors.remove(n);
                let id = node.executor_id().clone();
                drop(node);
                self.add_executor(id);
            }
            1 => {
                drop(self.executors.remove(n));
                let id = self.name("e");
                self.add_executor(id);
            }
            2 => {
                drop(self.schedulers.remove(0));
                self.add_scheduler().await;
            }
            3 => self.executors[n].1.begin_outage(),
            4 => self.executors[n].1.end_outage(),
            5 => self.faults[self.random.random_range(0..self.faults.len())].begin_outage(),
            6 => self.faults.iter().for_each(|faults| faults.end_outage()),
            _ => {
                let (node, _) = self.executors.remove(n);
                let id = node.executor_id().clone();
                tokio::spawn(async move { node.drain(Duration::from_secs(1)).await });
                self.add_executor(id);
            }
        }
    }

    fn heal(&self) {
        for faults in &self.faults {
            faults.set_plan(FaultPlan::default());
            faults.end_outage();
        }
    }
}

/// Whether another attempt followed one of which nobody knows how far it came.
async fn is_repeated_after_a_loss(world: &World, task_id: &TaskId) -> bool {
    let filter = AttemptFilter {
        task_id: Some(task_id.clone()),
        ..AttemptFilter::default()
    };
    let attempts = world
        .store
        .list_attempts(&filter, &PageRequest::first(1_000))
        .await
        .unwrap()
        .items;
    let last = attempts.iter().map(|attempt| attempt.attempt).max();
    attempts
        .iter()
        .any(|attempt| attempt.status == AttemptStatus::Lost && Some(attempt.attempt) < last)
}

async fn live_through(seed: u64) -> usize {
    let mut world = World::new(seed);
    world.add_scheduler().await;
    world.add_scheduler().await;
    for _ in 0..3 {
        let id = world.name("e");
        world.add_executor(id);
    }
    let mut tasks = Vec::new();
    for _ in 0..12 {
        let count = world.random.random_range(0..8);
        tasks.extend(world.trigger(count).await);
        world.befall().await;
        let pause = world.random.random_range(0..5_000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
    world.heal();
    // A process whose id was taken over has ended; its host starts it again.
    for n in 0..world.executors.len() {
        if *world.executors[n].0.state().borrow() == NodeState::Superseded {
            let id = world.name("e");
            world.add_executor(id);
        }
    }
    world.heal();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(300);
    let ids: Vec<TaskId> = tasks.iter().map(|(id, _)| id.clone()).collect();
    loop {
        let found = world.store.get_tasks(&ids).await.unwrap();
        let open: Vec<_> = found
            .iter()
            .flatten()
            .filter(|task| !task.state.is_final())
            .collect();
        if open.is_empty() {
            assert_eq!(
                found.iter().flatten().count(),
                ids.len(),
                "seed {seed}: a task is lost"
            );
            for (id, _) in tasks.iter().filter(|(_, once)| *once) {
                assert!(
                    !is_repeated_after_a_loss(&world, id).await,
                    "seed {seed}: {id} began again after it was lost"
                );
            }
            for (task, (id, once)) in found.into_iter().flatten().zip(&tasks) {
                let runs = world.runs.lock();
                let runs = runs.range((id.clone(), 0)..=(id.clone(), u32::MAX));
                let (attempts, most) =
                    runs.fold((0, 0), |(count, most), (_, runs)| (count + 1, most.max(*runs)));
                assert!(
                    !once || most <= 1,
                    "seed {seed}: an attempt of {id} began {most} times"
                );
                assert!(
                    *once || task.state == TaskState::Succeeded,
                    "seed {seed}: {task:?}"
                );
                assert!(
                    task.state != TaskState::Succeeded || attempts > 0,
                    "seed {seed}: {id} never ran"
                );
            }
            return ids.len();
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "seed {seed}: still open after it was healed: {open:#?}"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// `JOBCORE_SEEDS=A..B` runs others, `A..A+1` replays one.
fn seeds() -> std::ops::Range<u64> {
    let range = std::env::var("JOBCORE_SEEDS").unwrap_or_default();
    let ends = range
        .split_once("..")
        .and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    ends.unwrap_or(0..40)
}

#[test]
fn no_task_is_lost_and_none_that_forbids_it_runs_twice() {
    let mut tasks = 0;
    for seed in seeds() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        tasks += runtime.block_on(live_through(seed));
    }
    assert!(tasks > 0);
}
