//! Recovering: finds executors that died, and takes their tasks back.

use std::sync::Arc;

use parking_lot::Mutex;

use super::node::Node;
use super::remote::Dispatcher;
use crate::engine::liveness::Watch;
use crate::error::Result;
use crate::event::Event;
use crate::store::{
    ExecutorFilter, ExecutorRecord, ExecutorStatus, ExpireExecutors, MAX_BATCH, Reach, RecoverRequest,
};
use crate::telemetry;

/// The recover loop.
pub(crate) struct Recoverer {
    node: Arc<Node>,
    watch: Arc<Mutex<Watch>>,
    dispatcher: Option<Arc<Dispatcher>>,
}

impl Recoverer {
    pub(crate) fn new(
        node: Arc<Node>,
        watch: Arc<Mutex<Watch>>,
        dispatcher: Option<Arc<Dispatcher>>,
    ) -> Self {
        Self {
            node,
            watch,
            dispatcher,
        }
    }

    /// Runs until the node drains; twice per heartbeat, so that death is noticed soon after the lease ends.
    pub(crate) async fn run(self) {
        let node = self.node.clone();
        while !node.draining.is_cancelled() {
            match self.round().await {
                Ok(()) => node.health.works("recover"),
                Err(error) => node.back_off("recover", &error).await,
            }
            let next = node.now() + node.config.heartbeat_interval / 2;
            tokio::select! {
                biased;
                () = node.draining.cancelled() => {}
                () = node.sleep_until(next) => {}
            }
        }
    }

    async fn round(&self) -> Result<()> {
        self.expire().await?;
        while self.sweep().await? {}
        Ok(())
    }

    /// Declares executors dead, in a transaction of its own, before any of their tasks is touched.
    async fn expire(&self) -> Result<()> {
        let store = &self.node.store;
        let all = store.list_executors(&ExecutorFilter::default()).await?;
        let now = store.now().await?;
        let alive: Vec<ExecutorRecord> = all
            .into_iter()
            .filter(|executor| executor.status != ExecutorStatus::Offline)
            .collect();
        let verdict = self.watch.lock().judge(&alive, now);
        metrics::gauge!(telemetry::MANY_SILENT).set(if verdict.many_silent { 1.0 } else { 0.0 });
        if !verdict.expire {
            return Ok(());
        }
        let unheard = alive.iter().filter(|executor| !self.would_hear(executor));
        let unheard = unheard.map(|executor| executor.executor_id.clone());
        let request = ExpireExecutors {
            spare: verdict.spare.into_iter().chain(unheard).collect(),
            grace: std::time::Duration::ZERO,
            limit: MAX_BATCH,
        };
        for holder in store.expire_executors(request).await? {
            tracing::warn!(executor_id = %holder.executor_id, "executor lost: its tasks are taken back");
            metrics::counter!(telemetry::LOST_EXECUTORS).increment(1);
            self.node.emit(|| Event::ExecutorLost {
                executor_id: holder.executor_id,
            });
        }
        Ok(())
    }

    /// Whether this node would have noticed that the executor lives: a remote one's signs of life come through the
    /// transport.
    fn would_hear(&self, executor: &ExecutorRecord) -> bool {
        let silent = |dispatcher: &Arc<Dispatcher>| dispatcher.lane.heard_nothing_of(executor);
        executor.reach == Reach::Direct || self.dispatcher.as_ref().is_some_and(silent)
    }

    /// Takes a batch of orphans back; says whether there are more.
    async fn sweep(&self) -> Result<bool> {
        let request = RecoverRequest {
            now: self.node.now(),
            limit: MAX_BATCH,
        };
        let recovered = self.node.store.recover(request).await?;
        for task in &recovered.tasks {
            metrics::counter!(telemetry::RECOVERED, "state" => task.state.as_str()).increment(1);
            let (task_id, job_id, state) = (task.task_id.clone(), task.job_id.clone(), task.state);
            self.node.emit(|| Event::Recovered {
                task_id: task_id.clone(),
                job_id: job_id.clone(),
                executor_id: task.holder.executor_id.clone(),
                state,
            });
            self.node.emit(|| Event::Task {
                task_id,
                job_id,
                state,
                attempt: 0,
            });
        }
        if !recovered.tasks.is_empty() {
            tracing::info!(
                tasks = recovered.tasks.len(),
                "took tasks back from executors that are gone"
            );
            self.node.wake.claim.notify_one();
        }
        self.node.wake.promote.gates(&recovered.gates);
        Ok(recovered.more && !self.node.draining.is_cancelled())
    }
}
