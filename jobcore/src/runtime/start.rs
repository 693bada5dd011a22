//! Starts: recorded durably before the handler runs where a job asks for it, else only of attempts that outlive
//! [`start_delay`](crate::config::EngineConfig::start_delay); and the attempts that run, for whoever must reach them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::attempt::Running;
use super::node::Node;
use crate::engine::attempt::Ending;
use crate::event::Event;
use crate::id::TaskId;
use crate::lease::{Fence, FencingToken};
use crate::store::{MAX_BATCH, Start, StartOutcome};
use crate::task::TaskState;
use crate::telemetry;
use crate::time::Timestamp;

/// Records starts, and knows what runs.
pub(crate) struct Starter {
    node: Arc<Node>,
    state: Mutex<State>,
    work: Notify,
}

#[derive(Default)]
struct State {
    /// Starts that an attempt waits for.
    urgent: Vec<(Start, oneshot::Sender<StartOutcome>)>,
    /// Attempts that began and whose start isn't recorded, oldest first.
    fresh: VecDeque<Arc<Running>>,
    /// Attempts whose start is recorded.
    known: BTreeMap<(TaskId, FencingToken), Arc<Running>>,
}

impl Starter {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self {
            node,
            state: Mutex::new(State::default()),
            work: Notify::new(),
        }
    }

    /// Records a start, together with others that wait for theirs, and returns once it is durable.
    pub(crate) async fn start_now(&self, fence: &Fence, start_time: Timestamp) -> StartOutcome {
        let (answer, answered) = oneshot::channel();
        self.state.lock().urgent.push((
            Start {
                fence: fence.clone(),
                start_time,
            },
            answer,
        ));
        self.work.notify_one();
        // The loop lives as long as the node; when it is gone, so is the lease.
        answered.await.unwrap_or(StartOutcome::Fenced)
    }

    /// An attempt has begun.
    pub(crate) fn began(&self, running: Arc<Running>, recorded: bool) {
        if recorded {
            self.tell(&running);
        }
        let mut state = self.state.lock();
        if recorded {
            state.know(running);
        } else {
            state.fresh.push_back(running);
            let first = state.fresh.len() == 1;
            drop(state);
            if first {
                self.work.notify_one();
            }
        }
    }

    /// An attempt has ended.
    pub(crate) fn ended(&self, task_id: &TaskId, token: FencingToken) {
        let mut state = self.state.lock();
        if !state.known.is_empty() {
            state.known.remove(&(task_id.clone(), token));
        }
    }

    /// The attempts that run.
    pub(crate) fn running(&self) -> Vec<Arc<Running>> {
        let state = self.state.lock();
        let fresh = state
            .fresh
            .iter()
            .filter(|running| !running.finished.load(Ordering::Acquire));
        fresh.chain(state.known.values()).cloned().collect()
    }

    /// Asks the attempts of these tasks to end because they were cancelled.
    pub(crate) fn cancel(&self, tasks: &[TaskId], grace: Option<std::time::Duration>) {
        if tasks.is_empty() {
            return;
        }
        let now = self.node.now();
        for running in self
            .running()
            .iter()
            .filter(|running| tasks.contains(&running.fence.task_id))
        {
            running.end(
                Ending::Cancel,
                now + grace.unwrap_or(running.job().definition.cancel_grace),
            );
        }
    }

    /// Runs until the node ends.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            self.work.notified().await;
            while let Some(wait_until) = self.next_look() {
                tokio::select! {
                    biased;
                    () = self.work.notified() => {}
                    () = self.node.sleep_until(wait_until) => {}
                }
                self.record_urgent().await;
                self.record_fresh().await;
            }
        }
    }

    /// When to look next; `None` when there is nothing to record.
    fn next_look(&self) -> Option<Timestamp> {
        let state = self.state.lock();
        if !state.urgent.is_empty() {
            return Some(self.node.now());
        }
        state
            .fresh
            .front()
            .map(|running| running.cx.start_time() + self.node.config.start_delay)
    }

    async fn record_urgent(&self) {
        loop {
            let batch = self.state.lock().take_urgent();
            if batch.is_empty() {
                return;
            }
            let (starts, answers): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
            let outcomes = self.record(starts).await;
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                // Nobody waits any more if the node was killed meanwhile.
                let _ = answer.send(outcome);
            }
        }
    }

    /// Records the starts of attempts that have been running for a while.
    async fn record_fresh(&self) {
        loop {
            let batch = self.take_grown_up();
            if batch.is_empty() {
                return;
            }
            let starts = batch.iter().map(|running| Start {
                fence: running.fence.clone(),
                start_time: running.cx.start_time(),
            });
            let outcomes = self.record(starts.collect()).await;
            for (running, outcome) in batch.iter().zip(outcomes) {
                match outcome {
                    StartOutcome::Started => self.tell(running),
                    StartOutcome::CancelRequested => {
                        running.end(
                            Ending::Cancel,
                            self.node.now() + running.job().definition.cancel_grace,
                        );
                    }
                    // Another holds the lease: the settle will find that out too, and nothing that this one does counts.
                    StartOutcome::Fenced => {}
                }
            }
        }
    }

    /// Takes the attempts that are older than the delay and still run.
    fn take_grown_up(&self) -> Vec<Arc<Running>> {
        let oldest = self.node.now() - self.node.config.start_delay;
        let mut batch = Vec::new();
        let mut state = self.state.lock();
        while batch.len() < MAX_BATCH
            && let Some(running) = state
                .fresh
                .pop_front_if(|running| running.cx.start_time() <= oldest)
        {
            if !running.finished.load(Ordering::Acquire) {
                state.know(running.clone());
                batch.push(running);
            }
        }
        batch
    }

    async fn record(&self, starts: Vec<Start>) -> Vec<StartOutcome> {
        let count = starts.len();
        let recorded = self
            .node
            .persist("start", || self.node.store.start(starts.clone()))
            .await;
        let Ok(outcomes) = recorded else {
            // What can't be recorded doesn't begin; recovery gives it to somebody else.
            return vec![StartOutcome::Fenced; count];
        };
        metrics::counter!(telemetry::STARTS).increment(count as u64);
        let fenced = outcomes
            .iter()
            .filter(|outcome| **outcome == StartOutcome::Fenced)
            .count();
        metrics::counter!(telemetry::FENCED, "write" => "start").increment(fenced as u64);
        outcomes
    }

    fn tell(&self, running: &Running) {
        self.node.emit(|| Event::Task {
            task_id: running.fence.task_id.clone(),
            job_id: running.cx.job_id().clone(),
            state: TaskState::Running,
            attempt: running.fence.attempt,
        });
    }
}

impl State {
    fn take_urgent(&mut self) -> Vec<(Start, oneshot::Sender<StartOutcome>)> {
        let count = self.urgent.len().min(MAX_BATCH);
        self.urgent.drain(..count).collect()
    }

    fn know(&mut self, running: Arc<Running>) {
        self.known
            .insert((running.fence.task_id.clone(), running.fence.token), running);
    }
}
