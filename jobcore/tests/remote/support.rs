//! A small cluster on paused time: schedulers, remote executors, and a transport that misbehaves when told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jobcore::attempt::LogChunk;
use jobcore::clock::{Clock, SeededEntropy};
use jobcore::config::{EngineConfig, HeartbeatThread, Roles};
use jobcore::id::{ExecutorId, TaskId};
use jobcore::json::Json;
use jobcore::lease::Holder;
use jobcore::memory::{MemoryStore, MemoryTransport};
use jobcore::store::Store;
use jobcore::task::{Task, TaskState};
use jobcore::transport::{
    Address, Batch, BatchId, Beat, ControlMessage, ExecutorTransport, Heartbeats, Join, JoinMessage, Joined,
    Report, TaskMessage, Transport,
};
use jobcore::{
    Engine, Error, ErrorKind, ExecutorNode, ExecutorNodeBuilder, HandlerError, JobBuilder, NodeState, Result,
    SchedulerExt, TaskContext, Timestamp, Trigger,
};
use parking_lot::Mutex;

/// The time of the paused runtime.
#[derive(Debug)]
pub(crate) struct PausedClock(tokio::time::Instant);

#[async_trait]
impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(1_767_225_600) + self.0.elapsed()
    }

    async fn sleep_until(&self, time: Timestamp) {
        tokio::time::sleep(time.since(self.now())).await;
    }
}

/// What the handlers of a test did.
#[derive(Default)]
pub(crate) struct Diary {
    /// Who carried which task out, in order.
    pub(crate) runs: Mutex<Vec<(TaskId, ExecutorId)>>,
    pub(crate) cancelled: AtomicU32,
}

impl Diary {
    pub(crate) fn runs_of(&self, task_id: &TaskId) -> Vec<String> {
        let runs = self.runs.lock();
        runs.iter()
            .filter(|(id, _)| id == task_id)
            .map(|(_, executor)| executor.to_string())
            .collect()
    }

    pub(crate) fn by_executor(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (_, executor) in self.runs.lock().iter() {
            *counts.entry(executor.to_string()).or_default() += 1;
        }
        counts
    }
}

pub(crate) struct World {
    pub(crate) clock: Arc<PausedClock>,
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) place: MemoryTransport,
    pub(crate) diary: Arc<Diary>,
    pub(crate) faults: Arc<Faults>,
    seed: AtomicU32,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(PausedClock(tokio::time::Instant::now()));
        Self {
            store: Arc::new(MemoryStore::new(clock.clone())),
            place: MemoryTransport::new(clock.clone()),
            clock,
            diary: Arc::default(),
            faults: Arc::default(),
            seed: AtomicU32::new(1),
        }
    }

    fn entropy(&self) -> Arc<SeededEntropy> {
        Arc::new(SeededEntropy::new(u64::from(
            self.seed.fetch_add(1, Ordering::Relaxed),
        )))
    }

    /// A scheduler that carries nothing out itself.
    pub(crate) async fn scheduler(&self, id: &str) -> Engine {
        let transport = Arc::new(FaultyTransport {
            inner: self.place.scheduler(),
            faults: self.faults.clone(),
        });
        let id = ExecutorId::new(id).unwrap();
        Engine::builder(self.store.clone())
            .transport(transport)
            .clock(self.clock.clone())
            .entropy(self.entropy())
            .configure(|config| {
                config.executor_id = Some(id);
                config.roles = Roles::Scheduler;
                config.heartbeat_thread = HeartbeatThread::Shared;
            })
            .start()
            .await
            .unwrap()
    }

    /// An executor with the handlers of the tests.
    pub(crate) fn executor(&self, id: &str) -> (ExecutorNode, Arc<FaultyEnd>) {
        self.executor_with(id, |_| {})
    }

    pub(crate) fn executor_with(
        &self,
        id: &str,
        change: impl FnOnce(&mut EngineConfig),
    ) -> (ExecutorNode, Arc<FaultyEnd>) {
        let end = Arc::new(FaultyEnd {
            inner: self.place.executor(),
            cut: AtomicBool::new(false),
            faults: self.faults.clone(),
        });
        let id = ExecutorId::new(id).unwrap();
        let node = self
            .handlers(ExecutorNode::builder(end.clone()))
            .clock(self.clock.clone())
            .entropy(self.entropy())
            .configure(|config| {
                config.executor_id = Some(id);
                config.capacity = 4;
                config.heartbeat_thread = HeartbeatThread::Shared;
                change(config);
            })
            .start()
            .unwrap();
        (node, end)
    }

    fn handlers(&self, builder: ExecutorNodeBuilder) -> ExecutorNodeBuilder {
        let (work, wait) = (self.diary.clone(), self.diary.clone());
        builder
            .handler("work", move |seconds: f32, cx: TaskContext| {
                note(&work, &cx);
                async move {
                    tokio::time::sleep(Duration::from_secs_f32(seconds)).await;
                    Ok::<_, HandlerError>(())
                }
            })
            .handler("wait", move |(): (), cx: TaskContext| {
                note(&wait, &cx);
                let diary = wait.clone();
                async move {
                    cx.cancelled().await;
                    diary.cancelled.fetch_add(1, Ordering::Relaxed);
                    Err::<(), _>(HandlerError::cancelled("told to"))
                }
            })
            .handler("steps", |(): (), cx: TaskContext| async move {
                let step = cx.checkpoint().map_or(0, |saved| saved.decode::<u32>().unwrap());
                cx.log(format!("from step {step}")).await;
                cx.progress(50.0, "half");
                cx.save_checkpoint(&(step + 1)).await?;
                if step == 0 {
                    Err(HandlerError::new("after the first step"))
                } else {
                    Ok(step)
                }
            })
    }

    /// Triggers `count` tasks of a job: their ids.
    pub(crate) async fn trigger(&self, engine: &Engine, job: JobBuilder, count: usize) -> Vec<TaskId> {
        let job = engine.put_job(job).await.unwrap();
        let mut ids = Vec::new();
        for _ in 0..count {
            ids.push(
                engine
                    .trigger_one(Trigger::new(job.job_id.clone()))
                    .await
                    .unwrap(),
            );
        }
        ids
    }

    pub(crate) async fn task(&self, task_id: &TaskId) -> Task {
        use jobcore::store::TaskStore;
        let tasks = self.store.get_tasks(std::slice::from_ref(task_id)).await.unwrap();
        tasks.into_iter().next().flatten().unwrap()
    }

    /// Waits until the task is as it should be, up to ten minutes of paused time.
    pub(crate) async fn until(&self, task_id: &TaskId, what: &str, good: impl Fn(&Task) -> bool) -> Task {
        for _ in 0..60_000 {
            let task = self.task(task_id).await;
            if good(&task) {
                return task;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{task_id} never was {what}: {:?}", self.task(task_id).await);
    }

    pub(crate) async fn until_state(&self, task_id: &TaskId, state: TaskState) -> Task {
        self.until(task_id, state.as_str(), |task| task.state == state)
            .await
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }
}

fn note(diary: &Diary, cx: &TaskContext) {
    diary
        .runs
        .lock()
        .push((cx.task_id().clone(), cx.executor_id().clone()));
}

pub(crate) async fn reaches(node: &ExecutorNode, state: NodeState) {
    let mut states = node.state();
    let reached = tokio::time::timeout(Duration::from_secs(600), states.wait_for(|now| *now == state)).await;
    reached.expect("the state is reached").unwrap();
}

/// What goes wrong between the ends.
#[derive(Default)]
pub(crate) struct Faults {
    /// How many of the next dispatches get lost.
    pub(crate) lose_dispatches: AtomicU32,
    /// How many of the next controls get lost.
    pub(crate) lose_controls: AtomicU32,
    /// How many of the next dispatches arrive 20 s late.
    pub(crate) delay_dispatches: AtomicU32,
    /// How many of the next dispatches arrive once more 2 s later.
    pub(crate) repeat_dispatches: AtomicU32,
    /// Schedulers hear no heartbeats.
    pub(crate) deaf: AtomicBool,
    /// Everything is sent twice.
    pub(crate) twice: AtomicBool,
}

fn takes_one(counter: &AtomicU32) -> bool {
    counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
        .is_ok()
}

struct FaultyTransport {
    inner: Arc<dyn Transport>,
    faults: Arc<Faults>,
}

#[async_trait]
impl Transport for FaultyTransport {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn inbox(&self, join: &JoinMessage, taken: &[Json]) -> Result<Json> {
        self.inner.inbox(join, taken).await
    }

    async fn welcome(&self, join: &JoinMessage, answer: Joined) -> Result<()> {
        self.inner.welcome(join, answer).await
    }

    async fn dispatch(&self, to: &Address, tasks: Vec<TaskMessage>) -> Result<()> {
        if takes_one(&self.faults.lose_dispatches) {
            return Ok(());
        }
        if takes_one(&self.faults.delay_dispatches) {
            let (inner, to) = (self.inner.clone(), to.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(20)).await;
                inner.dispatch(&to, tasks).await
            });
            return Ok(());
        }
        if takes_one(&self.faults.repeat_dispatches) {
            let (inner, to, tasks) = (self.inner.clone(), to.clone(), tasks.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(2)).await;
                inner.dispatch(&to, tasks).await
            });
        }
        if self.faults.twice.load(Ordering::Relaxed) {
            self.inner.dispatch(to, tasks.clone()).await?;
        }
        self.inner.dispatch(to, tasks).await
    }

    async fn control(&self, to: &Address, messages: Vec<ControlMessage>) -> Result<()> {
        if takes_one(&self.faults.lose_controls) {
            return Ok(());
        }
        if self.faults.twice.load(Ordering::Relaxed) {
            self.inner.control(to, messages.clone()).await?;
        }
        self.inner.control(to, messages).await
    }

    async fn reports(&self) -> Result<Batch<Report>> {
        self.inner.reports().await
    }

    async fn heartbeats(&self, wait: Duration) -> Result<Heartbeats> {
        let heard = self.inner.heartbeats(wait).await?;
        if self.faults.deaf.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "deaf"));
        }
        Ok(heard)
    }

    async fn logs(&self) -> Result<Batch<LogChunk>> {
        self.inner.logs().await
    }

    async fn acknowledge(&self, batch: BatchId) -> Result<()> {
        self.inner.acknowledge(batch).await
    }
}

/// An executor's end that can be cut off: nothing it sends arrives, and it receives nothing.
pub(crate) struct FaultyEnd {
    inner: Arc<dyn ExecutorTransport>,
    cut: AtomicBool,
    faults: Arc<Faults>,
}

impl FaultyEnd {
    pub(crate) fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }

    fn check(&self) -> Result<()> {
        if self.cut.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Unavailable, "cut off"));
        }
        Ok(())
    }

    fn twice(&self) -> bool {
        self.faults.twice.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl ExecutorTransport for FaultyEnd {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn join(&self, join: Join) -> Result<Joined> {
        self.check()?;
        self.inner.join(join).await
    }

    async fn open(&self, address: &Address) -> Result<()> {
        self.inner.open(address).await
    }

    async fn tasks(&self) -> Result<Vec<TaskMessage>> {
        self.check()?;
        let tasks = self.inner.tasks().await?;
        self.check()?;
        Ok(tasks)
    }

    async fn control(&self) -> Result<Vec<ControlMessage>> {
        self.check()?;
        let messages = self.inner.control().await?;
        self.check()?;
        Ok(messages)
    }

    async fn report(&self, reports: Vec<Report>) -> Result<()> {
        self.check()?;
        if self.twice() {
            self.inner.report(reports.clone()).await?;
        }
        self.inner.report(reports).await
    }

    async fn beat(&self, beat: Beat) -> Result<()> {
        self.check()?;
        self.inner.beat(beat).await
    }

    async fn leave(&self, holder: &Holder) -> Result<()> {
        self.check()?;
        self.inner.leave(holder).await
    }

    async fn log(&self, chunks: Vec<LogChunk>) -> Result<()> {
        self.check()?;
        self.inner.log(chunks).await
    }
}
