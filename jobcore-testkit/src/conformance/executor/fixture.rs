//! What cases of executors have in common: an engine over the in-memory store that runs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jobcore::attempt::Attempt;
use jobcore::executor::Executor;
use jobcore::id::TaskId;
use jobcore::job::Command;
use jobcore::memory::MemoryStore;
use jobcore::store::{AttemptFilter, PageRequest};
use jobcore::task::{Task, TaskState};
use jobcore::{Engine, JobBuilder, Scheduler, SchedulerExt, Trigger};

use super::{ExecutorCommands, ExecutorUnderTest};

/// How long anything may take before a case calls it hung.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Fixture {
    pub(crate) tested: ExecutorUnderTest,
    pub(crate) engine: Engine,
    jobs: AtomicU32,
}

impl Fixture {
    pub(crate) async fn new(tested: ExecutorUnderTest) -> Self {
        let engine = Engine::builder(MemoryStore::shared())
            .executor(tested.kind, Arc::clone(&tested.executor))
            .start()
            .await
            .expect("the engine starts");
        Self {
            tested,
            engine,
            jobs: AtomicU32::new(0),
        }
    }

    pub(crate) fn executor(&self) -> &dyn Executor {
        &*self.tested.executor
    }

    pub(crate) fn commands(&self) -> &ExecutorCommands {
        &self.tested.commands
    }

    /// Makes a task of a new job with this command.
    pub(crate) async fn begin(&self, command: &Command) -> TaskId {
        self.begin_with(command, |job| job).await
    }

    pub(crate) async fn begin_with(
        &self,
        command: &Command,
        with: impl Fn(JobBuilder) -> JobBuilder,
    ) -> TaskId {
        let id = format!("job-{}", self.jobs.fetch_add(1, Ordering::Relaxed));
        let job = with(JobBuilder::new("conformance", command.clone()).id(&id));
        let job = self.engine.put_job(job).await.expect("put_job");
        let trigger = Trigger::new(job.job_id.clone());
        self.engine.trigger_one(trigger).await.expect("trigger")
    }

    /// Waits until a task is final.
    pub(crate) async fn end(&self, task_id: &TaskId) -> Task {
        self.until(task_id, |task| task.state.is_final()).await
    }

    pub(crate) async fn until_it_runs(&self, task_id: &TaskId) {
        self.until(task_id, |task| task.state == TaskState::Running).await;
    }

    async fn until(&self, task_id: &TaskId, good: impl Fn(&Task) -> bool) -> Task {
        let waiting = async {
            loop {
                let task = self
                    .engine
                    .get_task(task_id)
                    .await
                    .expect("get_task")
                    .expect("the task exists");
                if good(&task) {
                    return task;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(task) => task,
            Err(_) => panic!(
                "it took longer than {PATIENCE:?}: {:?}",
                self.engine.get_task(task_id).await
            ),
        }
    }

    /// The record of the task's only attempt.
    pub(crate) async fn attempt(&self, task_id: &TaskId) -> Attempt {
        let filter = AttemptFilter {
            task_id: Some(task_id.clone()),
            ..AttemptFilter::default()
        };
        let page = self
            .engine
            .list_attempts(&filter, &PageRequest::first(10))
            .await
            .expect("list_attempts");
        assert_eq!(
            page.items.len(),
            1,
            "there should be one attempt: {:?}",
            page.items
        );
        page.items.into_iter().next().expect("there is one")
    }

    /// Waits until attempts left nothing running, where that can be counted.
    pub(crate) async fn nothing_is_left(&self) {
        let Some(alive) = &self.tested.alive else { return };
        let waiting = async {
            while alive() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(ended.is_ok(), "{} are still running", alive());
    }
}
