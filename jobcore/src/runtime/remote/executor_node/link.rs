//! The link: what all loops of one executor node share.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::NodeState;
use super::reporter::TransportReporter;
use crate::clock::{Clock, Entropy};
use crate::config::EngineConfig;
use crate::engine::attempt::Ending;
use crate::error::Error;
use crate::executor::Executor;
use crate::id::ExecutorId;
use crate::job::JobKind;
use crate::lane::ExecutorProfile;
use crate::lease::{Holder, Incarnation};
use crate::resources::Reporting;
use crate::runtime::attempt::Running;
use crate::runtime::health::Health;
use crate::runtime::node::StoreClock;
use crate::runtime::remote::ledger::{Key, Ledger};
use crate::store::ExecutorStatus;
use crate::time::Timestamp;
use crate::transport::{Address, ExecutorTransport, Report};

/// How many reports that aren't repeated may wait.
const MOST_ONCE: usize = 10_000;

/// What all loops of one executor node share.
pub(super) struct Link {
    pub(super) transport: Arc<dyn ExecutorTransport>,
    pub(super) config: EngineConfig,
    pub(super) executor_id: ExecutorId,
    pub(super) profile: ExecutorProfile,
    executors: Vec<(JobKind, Arc<dyn Executor>)>,
    pub(super) clock: Arc<StoreClock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) resources: Reporting,
    pub(super) health: Health,
    /// Recognises this process's joins.
    pub(super) nonce: u64,
    pub(super) standing: Mutex<Standing>,
    pub(super) ledger: Mutex<Ledger>,
    /// The attempts that run.
    pub(super) running: Mutex<BTreeMap<Key, Arc<Running>>>,
    /// Reports that aren't repeated: starts of attempts that outlive the start delay, and refused tasks.
    pub(super) once: Mutex<Vec<Report>>,
    pub(super) reporter: Arc<TransportReporter>,
    /// Something changed in the ledger.
    pub(super) changed: Notify,
    /// There is something to report.
    pub(super) report: Arc<Notify>,
    /// A beat or join is wanted now.
    pub(super) heartbeat: Notify,
    pub(super) draining: CancellationToken,
    pub(super) killed: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) state: watch::Sender<NodeState>,
}

/// How the node stands with its schedulers.
#[derive(Debug)]
pub(super) struct Standing {
    /// Where it is reached in its present incarnation; `None` before the first join.
    pub(super) address: Option<Address>,
    /// Whether that incarnation is alive as far as the node knows.
    pub(super) joined: bool,
    pub(super) status: ExecutorStatus,
    pub(super) sequence: u64,
    /// When the latest beats were sent, by their sequence.
    pub(super) sent: BTreeMap<u64, Timestamp>,
    /// When the last answered beat or join was sent: leases hold at least that much plus their duration.
    pub(super) beat_time: Timestamp,
}

impl Link {
    pub(super) fn new(
        transport: Arc<dyn ExecutorTransport>,
        config: EngineConfig,
        profile: ExecutorProfile,
        executors: Vec<(JobKind, Arc<dyn Executor>)>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        resources: Reporting,
    ) -> Self {
        let clock = Arc::new(StoreClock::new(clock));
        let generated = || ExecutorId::generate(clock.now(), &*entropy);
        let report = Arc::new(Notify::new());
        Self {
            executor_id: config.executor_id.clone().unwrap_or_else(generated),
            nonce: entropy.next_u64(),
            reporter: Arc::new(TransportReporter::new(clock.clone(), report.clone())),
            standing: Mutex::new(Standing {
                address: None,
                joined: false,
                status: ExecutorStatus::Online,
                sequence: 0,
                sent: BTreeMap::new(),
                beat_time: clock.now(),
            }),
            transport,
            config,
            profile,
            executors,
            clock,
            entropy,
            resources,
            report,
            health: Health::default(),
            ledger: Mutex::default(),
            running: Mutex::default(),
            once: Mutex::default(),
            changed: Notify::new(),
            heartbeat: Notify::new(),
            draining: CancellationToken::new(),
            killed: CancellationToken::new(),
            tasks: TaskTracker::new(),
            state: watch::Sender::new(NodeState::Joining),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn executor(&self, kind: JobKind) -> Option<&Arc<dyn Executor>> {
        self.executors
            .iter()
            .find(|(own, _)| *own == kind)
            .map(|(_, executor)| executor)
    }

    pub(super) fn holder(&self) -> Option<Holder> {
        self.standing
            .lock()
            .address
            .as_ref()
            .map(|address| address.holder.clone())
    }

    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        self.standing
            .lock()
            .address
            .as_ref()
            .map(|address| address.holder.incarnation)
    }

    /// Runs `work` beside everything else until it ends or the node is killed.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let killed = self.killed.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = killed.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Waits after an error of `part`.
    pub(super) async fn back_off(&self, part: &'static str, error: &Error) {
        let pause = self.health.failed(part, error, self.now(), &*self.entropy);
        self.clock.sleep_until(self.now() + pause).await;
    }

    /// Takes nothing new any more, and hands back what hasn't begun.
    pub(super) fn close(&self) {
        self.draining.cancel();
        self.ledger.lock().hand_back_all("the executor drains");
        self.tell(NodeState::Draining);
        self.report.notify_one();
        self.heartbeat.notify_one();
        self.changed.notify_waiters();
    }

    /// Reports something that needn't be repeated if it gets lost.
    pub(super) fn tell_once(&self, report: Report) {
        let mut once = self.once.lock();
        if once.len() < MOST_ONCE {
            once.push(report);
        }
        drop(once);
        self.report.notify_one();
    }

    /// Asks all running attempts to end within `grace`, at most their job's cancel grace.
    pub(super) fn end_all(&self, reason: Ending, grace: Duration) {
        for running in self.running.lock().values() {
            running.end(
                reason,
                self.now() + running.job().definition.cancel_grace.min(grace),
            );
        }
    }

    /// Waits until no attempt runs.
    pub(super) async fn idle(&self) {
        loop {
            let changed = self.changed.notified();
            if self.ledger.lock().is_idle() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until everything is reported and recorded, and all logs are on their way.
    pub(super) async fn flushed(&self) {
        loop {
            let changed = self.changed.notified();
            if self.ledger.lock().is_empty() && self.reporter.is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Says goodbye; without it the lease runs out, which takes longer but loses nothing.
    pub(super) async fn leave(&self) {
        if let Some(holder) = self.holder()
            && let Err(error) = self.transport.leave(&holder).await
        {
            tracing::warn!(%error, "couldn't sign off; the lease will run out");
        }
    }

    /// Ends everything at once.
    pub(super) fn stop(&self, state: NodeState) {
        self.tell(state);
        self.draining.cancel();
        self.killed.cancel();
        self.tasks.close();
    }

    /// Tells the host; the end is final, and a drain isn't taken back.
    pub(super) fn tell(&self, state: NodeState) {
        self.state.send_if_modified(|present| {
            let ended = matches!(present, NodeState::Stopped | NodeState::Superseded);
            let back =
                *present == NodeState::Draining && matches!(state, NodeState::Online | NodeState::Joining);
            let changes = !ended && !back && *present != state;
            if changes {
                *present = state;
            }
            changes
        });
    }
}
