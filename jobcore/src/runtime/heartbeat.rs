//! Heartbeats: keep the node's leases, and bring what others want of it.
//!
//! They are sent from a thread of their own unless told otherwise, so that a handler that blocks all threads of the
//! runtime doesn't cost the leases of the others.

use std::sync::Arc;

use parking_lot::Mutex;

use super::crew::Crew;
use super::drain;
use super::node::Node;
use crate::config::HeartbeatThread;
use crate::engine::attempt::Ending;
use crate::engine::liveness::Watch;
use crate::error::{Error, ErrorKind, Result};
use crate::id::TaskId;
use crate::job::OnLeaseLost;
use crate::lease::{Fence, FencingToken};
use crate::store::{
    Alive, ExecutorStatus, Heartbeat, HeartbeatOutcome, Next, Reach, RegisterExecutor, Registration,
    Settlement,
};
use crate::time::Timestamp;

/// The heartbeat loop.
pub(crate) struct Heart {
    node: Arc<Node>,
    crew: Arc<Crew>,
    watch: Arc<Mutex<Watch>>,
}

/// Registers a node; the answer's clock is not yet used.
pub(crate) async fn register(node: &Node) -> Result<Registration> {
    let registration = RegisterExecutor {
        executor_id: node.executor_id.clone(),
        host: node.config.host.clone(),
        port: node.config.port,
        profile: node.profile.clone(),
        reach: Reach::Direct,
        address: None,
        lease_duration: node.config.lease_duration,
        join: None,
    };
    node.store.register_executor(registration).await
}

impl Heart {
    pub(crate) fn new(node: Arc<Node>, crew: Arc<Crew>, watch: Arc<Mutex<Watch>>) -> Self {
        Self { node, crew, watch }
    }

    /// Begins to beat, where the configuration says.
    ///
    /// # Errors
    /// `Unavailable` if the thread can't be started.
    pub(crate) fn start(self) -> Result<()> {
        let node = self.node.clone();
        if node.config.heartbeat_thread == HeartbeatThread::Shared {
            node.spawn(self.run());
            return Ok(());
        }
        let refused = |error: std::io::Error| {
            Error::new(ErrorKind::Unavailable, "the heartbeat thread can't be started").source(error)
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(refused)?;
        let killed = node.killed.clone();
        let token = node.tasks.token();
        let beat = move || {
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = killed.cancelled() => {}
                    () = self.run() => {}
                }
            });
            drop(token);
        };
        std::thread::Builder::new()
            .name("jobcore-heartbeat".to_owned())
            .spawn(beat)
            .map_err(refused)?;
        Ok(())
    }

    /// Beats until the node is killed or superseded: also while it drains, for as long as attempts run.
    async fn run(self) {
        loop {
            let sent = self.node.now();
            match self.beat(sent).await {
                Ok(()) => self.node.health.works("heartbeat"),
                Err(error) => {
                    self.node
                        .health
                        .failed("heartbeat", &error, self.node.now(), &*self.node.entropy);
                }
            }
            self.guard_lease();
            let next = sent + self.node.config.heartbeat_interval;
            tokio::select! {
                biased;
                () = self.node.wake.heartbeat.notified() => {}
                () = self.node.sleep_until(next) => {}
            }
        }
    }

    async fn beat(&self, sent: Timestamp) -> Result<()> {
        if !self.node.standing.lock().joined {
            return self.join(sent).await;
        }
        let (held, closed) = self.crew.leases.report();
        let holder = self.node.holder();
        let resources = self.node.resources.report(holder.incarnation, sent);
        let heartbeat = Heartbeat {
            holder,
            held,
            closed: closed.clone(),
            resources,
        };
        let answered = self.node.store.heartbeat(vec![heartbeat]).await;
        let outcome = match answered {
            Ok(outcomes) => outcomes.into_iter().next(),
            Err(error) => {
                self.crew.leases.not_told(closed);
                return Err(error);
            }
        };
        match outcome {
            Some(HeartbeatOutcome::Alive(alive)) => self.lives(sent, alive),
            Some(HeartbeatOutcome::Dead) => {
                tracing::warn!(executor_id = %self.node.executor_id, "declared dead by others: joining anew");
                self.join(sent).await?;
            }
            Some(HeartbeatOutcome::Superseded) => {
                let executor_id = &self.node.executor_id;
                tracing::error!(%executor_id, "another process joined under the same id: this engine stops");
                self.forget();
                self.node.kill();
            }
            None => {}
        }
        Ok(())
    }

    /// Drops what hasn't begun: others are given it. What runs goes on unless its job says `stop`, and its fence decides.
    fn forget(&self) {
        self.node.standing.lock().joined = false;
        self.crew.drop_queue();
        self.crew.leases.forget_all();
        self.stop_unsafe_attempts(self.node.now());
    }

    async fn join(&self, sent: Timestamp) -> Result<()> {
        self.forget();
        let registration = register(&self.node).await?;
        self.node.clock.observe(sent, registration.now);
        self.watch.lock().wrote(registration.now);
        let mut standing = self.node.standing.lock();
        standing.incarnation = registration.incarnation;
        standing.beat_time = sent;
        standing.joined = true;
        drop(standing);
        self.node.wake.claim.notify_one();
        Ok(())
    }

    fn lives(&self, sent: Timestamp, alive: Alive) {
        self.node.clock.observe(sent, alive.now);
        self.watch.lock().wrote(alive.now);
        let mut standing = self.node.standing.lock();
        let was = standing.status;
        standing.status = alive.status;
        standing.beat_time = sent;
        drop(standing);
        if !was.takes_tasks() && alive.status.takes_tasks() {
            self.node.wake.claim.notify_one();
        }
        if alive.status == ExecutorStatus::Draining && !self.node.draining.is_cancelled() {
            self.drain();
        }
        self.crew.starter.cancel(&alive.cancel, None);
        self.give_back(alive.unnamed);
    }

    /// Somebody ordered a drain: what runs may finish, however long it takes.
    fn drain(&self) {
        tracing::info!(executor_id = %self.node.executor_id, "ordered to drain");
        let (node, crew) = (self.node.clone(), self.crew.clone());
        self.node
            .spawn(async move { drain::drain(&node, &crew, Timestamp::MAX).await });
    }

    /// Tasks that the store says are ours and that we never heard of: a claim's answer was lost for good.
    fn give_back(&self, unnamed: Vec<(TaskId, FencingToken, u32)>) {
        let holder = self.node.holder();
        let now = self.node.now();
        for (task_id, token, attempt) in unnamed {
            if self.crew.leases.may_know(token) {
                continue;
            }
            let fence = Fence {
                task_id,
                token,
                attempt,
                holder: holder.clone(),
            };
            let next = Next::Again { due_time: now };
            self.crew.settler.push_at_once(
                Settlement {
                    fence,
                    attempt: None,
                    next,
                    checkpoint: None,
                },
                None,
            );
        }
    }

    /// Looks whether the lease is about to end, counted from when the last acknowledged heartbeat was sent: a quarter of
    /// it is left to end in order.
    fn guard_lease(&self) {
        let beat_time = self.node.standing.lock().beat_time;
        let lease = self.node.config.lease_duration;
        if self.node.now() >= beat_time + lease * 3 / 4 {
            self.stop_unsafe_attempts(beat_time + lease);
        }
    }

    /// Ends, before `deadline`, the attempts of jobs that say `stop` where the lease can't be renewed.
    fn stop_unsafe_attempts(&self, deadline: Timestamp) {
        for running in self.crew.starter.running() {
            if running.job().definition.on_lease_lost == OnLeaseLost::Stop {
                running.end(Ending::LeaseLost, deadline);
            }
        }
    }
}
