//! A node: what all loops of one engine share.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use futures_util::future::join;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::health::Health;
use super::wake::Wake;
use crate::clock::{Clock, Entropy};
use crate::config::EngineConfig;
use crate::error::{Error, Result};
use crate::event::{EVENT_BACKLOG, Event};
use crate::id::ExecutorId;
use crate::lane::ExecutorProfile;
use crate::lease::{Holder, Incarnation};
use crate::resources::Reporting;
use crate::store::{ExecutorStatus, Store};
use crate::time::Timestamp;

/// What all loops of one engine share.
pub(crate) struct Node {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<StoreClock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) config: EngineConfig,
    pub(crate) executor_id: ExecutorId,
    pub(crate) profile: ExecutorProfile,
    pub(crate) resources: Reporting,
    pub(crate) standing: Mutex<Standing>,
    pub(crate) wake: Wake,
    pub(crate) health: Health,
    pub(crate) events: broadcast::Sender<Event>,
    /// Set when the engine drains: nothing new begins.
    pub(crate) draining: CancellationToken,
    /// Set when everything ends at once.
    pub(crate) killed: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// How the node stands in the store.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) incarnation: Incarnation,
    pub(crate) status: ExecutorStatus,
    /// When the last acknowledged heartbeat was sent: leases hold at least that much plus their duration.
    pub(crate) beat_time: Timestamp,
    /// Since when it may be dead: claims wait until it has joined anew.
    pub(crate) joined: bool,
}

impl Node {
    pub(crate) fn holder(&self) -> Holder {
        Holder {
            executor_id: self.executor_id.clone(),
            incarnation: self.standing.lock().incarnation,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Waits until the store's time is `time`.
    pub(crate) async fn sleep_until(&self, time: Timestamp) {
        self.clock.sleep_until(time).await;
    }

    /// Tells subscribers; costs nothing without any.
    pub(crate) fn emit(&self, event: impl FnOnce() -> Event) {
        if self.events.receiver_count() > 0 {
            // An error means that the last subscriber has just gone.
            let _ = self.events.send(event());
        }
    }

    /// Ends everything at once.
    pub(crate) fn kill(&self) {
        self.draining.cancel();
        self.killed.cancel();
        self.tasks.close();
    }

    /// Runs `work` beside everything else until it ends or the node is killed.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let killed = self.killed.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                biased;
                () = killed.cancelled() => {}
                () = work => {}
            }
        });
    }

    /// Makes a call that may make tasks ready, and wakes whoever claims them: beside it where the store keeps the order,
    /// so that both share a commit, else once it is answered.
    pub(crate) async fn then_claim<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let claim = async { self.wake.claim.notify_one() };
        if self.store.is_ordered() {
            // Polls the call first.
            return join(call, claim).await.0;
        }
        let answer = call.await?;
        claim.await;
        Ok(answer)
    }

    /// Waits after an error of `part`, unless the node drains.
    pub(crate) async fn back_off(&self, part: &'static str, error: &Error) {
        let pause = self.health.failed(part, error, self.now(), &*self.entropy);
        self.clock.sleep_until(self.now() + pause).await;
    }

    /// Repeats an idempotent call until it is answered, however long that takes.
    ///
    /// Errors that no repetition can mend are returned.
    pub(crate) async fn persist<T, F: Future<Output = Result<T>>>(
        &self,
        part: &'static str,
        mut call: impl FnMut() -> F,
    ) -> Result<T> {
        loop {
            match call().await {
                Ok(answer) => {
                    self.health.works(part);
                    return Ok(answer);
                }
                Err(error) if error.is_retryable() || error.is_indeterminate() => {
                    self.back_off(part, &error).await
                }
                Err(error) => {
                    self.health.failed(part, &error, self.now(), &*self.entropy);
                    return Err(error);
                }
            }
        }
    }

    pub(crate) fn event_channel() -> broadcast::Sender<Event> {
        broadcast::Sender::new(EVENT_BACKLOG)
    }
}

/// The node's clock, corrected by the store's: a skewed host clock neither fires early nor expires a healthy lease.
#[derive(Debug)]
pub(crate) struct StoreClock {
    own: Arc<dyn Clock>,
    offset_micros: AtomicI64,
}

/// Differences below this are noise of the measurement, and not worth a step of the clock.
const SMALLEST_STEP_MICROS: i64 = 5_000;

impl StoreClock {
    pub(crate) fn new(own: Arc<dyn Clock>) -> Self {
        Self {
            own,
            offset_micros: AtomicI64::new(0),
        }
    }

    /// The store said `store_time` in answer to a question sent at `sent` (by this clock); the truth is taken to lie in
    /// the middle of the round trip.
    pub(crate) fn observe(&self, sent: Timestamp, store_time: Timestamp) {
        let received = self.now();
        let round_trip = received.micros_since(sent).max(0);
        let error = store_time.micros_since(sent) - round_trip / 2;
        if error.abs() > SMALLEST_STEP_MICROS.max(round_trip) {
            self.offset_micros.fetch_add(error, Ordering::Relaxed);
        }
    }

    fn offset(&self) -> i64 {
        self.offset_micros.load(Ordering::Relaxed)
    }

    fn shifted(time: Timestamp, micros: i64) -> Timestamp {
        Timestamp::from_micros(time.as_micros().saturating_add(micros))
    }
}

#[async_trait]
impl Clock for StoreClock {
    /// The store's time, as far as the node knows.
    fn now(&self) -> Timestamp {
        Self::shifted(self.own.now(), self.offset())
    }

    async fn sleep_until(&self, time: Timestamp) {
        self.own.sleep_until(Self::shifted(time, -self.offset())).await;
    }
}
