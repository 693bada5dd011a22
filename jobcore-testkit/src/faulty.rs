//! Faults on purpose: a store that fails, answers late, or works while its answer is lost; a transport that loses,
//! delays and repeats.
//!
//! [`Faulty`] wraps a backend and asks its [`Faults`] before each call. Give each node of a test a wrapper with faults
//! of its own around one shared store, and a partition of one node is [`Faults::begin_outage`] on its faults.
//!
//! The same seed gives the same faults for the same sequence of calls; all waiting goes through the injected clock, so
//! everything works under paused time too.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use jobcore::memory::MemoryStore;
//! use jobcore::store::JobStore;
//! use jobcore_testkit::clock::ManualClock;
//! use jobcore_testkit::faulty::{FaultKind, Faults, Faulty};
//! use std::sync::Arc;
//!
//! let clock = Arc::new(ManualClock::default());
//! let faults = Arc::new(Faults::new(7, clock.clone()));
//! let store = Faulty::new(Arc::new(MemoryStore::new(clock)), Arc::clone(&faults));
//!
//! faults.begin_outage();
//! assert!(store.now().await.unwrap_err().is_retryable());
//! faults.end_outage();
//! assert!(store.now().await.is_ok());
//! assert_eq!(faults.counts()[&FaultKind::Outage], 1);
//! # }
//! ```

mod plan;
mod store;
mod transport;

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use jobcore::clock::Clock;
use jobcore::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub use plan::{FaultKind, FaultPlan};

/// How often a call is polled at the most before it counts as dropped half-way.
const DROP_POLLS: u32 = 4;

/// A backend whose calls fail as its [`Faults`] say.
pub struct Faulty<T: ?Sized> {
    inner: Arc<T>,
    faults: Arc<Faults>,
}

impl<T: ?Sized> Faulty<T> {
    /// Puts `faults` in front of `inner`.
    pub fn new(inner: Arc<T>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }

    /// What decides about its calls.
    pub fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }
}

impl<T: ?Sized> Clone for Faulty<T> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.inner), Arc::clone(&self.faults))
    }
}

impl<T: ?Sized> fmt::Debug for Faulty<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl<T: ?Sized + Send + Sync + 'static> Faulty<T> {
    /// Carries out a call that changes nothing: it can be refused or delayed.
    async fn read<R>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<R>> + Send,
    ) -> Result<R> {
        self.faults.wait().await;
        match self.faults.choose(&FaultKind::OF_READS) {
            Some(kind) => Err(injected(kind, operation)),
            None => call.await,
        }
    }

    /// Carries out a call that changes something: its answer can be lost too, whether it was carried out or not.
    async fn write<R, F>(
        &self,
        operation: &'static str,
        call: impl FnOnce(Arc<T>) -> F + Send + 'static,
    ) -> Result<R>
    where
        R: Send + 'static,
        F: Future<Output = Result<R>> + Send + 'static,
    {
        self.faults.wait().await;
        let inner = Arc::clone(&self.inner);
        let Some(kind) = self.faults.choose(&FaultKind::OF_WRITES) else {
            return call(inner).await;
        };
        match kind {
            FaultKind::Unanswered => {
                // An error of its own is a better answer than a lost one.
                call(inner).await?;
            }
            FaultKind::Late => {
                let (clock, until) = self.faults.later();
                tokio::spawn(async move {
                    clock.sleep_until(until).await;
                    // Nobody waits for the answer any more.
                    drop(call(inner).await);
                });
            }
            FaultKind::Dropped => poll_some(call(inner), self.faults.polls()).await,
            FaultKind::Outage
            | FaultKind::Refused
            | FaultKind::Lost
            | FaultKind::Delayed
            | FaultKind::Repeated => {}
        }
        Err(injected(kind, operation))
    }
}

impl<T: ?Sized + Send + Sync + 'static> Faulty<T> {
    /// Sends a message: it can get lost, arrive late or twice, without the sender's knowing.
    async fn send<F>(
        &self,
        operation: &'static str,
        call: impl Fn(Arc<T>) -> F + Send + 'static,
    ) -> Result<()>
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        self.faults.wait().await;
        let inner = Arc::clone(&self.inner);
        let Some(kind) = self.faults.choose(&FaultKind::OF_MESSAGES) else {
            return call(inner).await;
        };
        match kind {
            FaultKind::Lost => return Ok(()),
            FaultKind::Late => {
                self.send_later(call(inner));
                return Ok(());
            }
            FaultKind::Repeated => {
                self.send_later(call(Arc::clone(&inner)));
                return call(inner).await;
            }
            FaultKind::Unanswered => call(inner).await?,
            FaultKind::Dropped => poll_some(call(inner), self.faults.polls()).await,
            FaultKind::Outage | FaultKind::Refused | FaultKind::Delayed => {}
        }
        Err(injected(kind, operation))
    }

    fn send_later(&self, call: impl Future<Output = Result<()>> + Send + 'static) {
        let (clock, until) = self.faults.later();
        tokio::spawn(async move {
            clock.sleep_until(until).await;
            // Nobody waits for the answer any more.
            drop(call.await);
        });
    }

    /// Receives: during an outage nothing comes, and what was on its way is lost.
    async fn receive<R>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<R>> + Send,
    ) -> Result<R> {
        if let Some(kind) = self.faults.choose(&[FaultKind::Refused]) {
            return Err(injected(kind, operation));
        }
        let received = call.await?;
        match self.faults.choose(&[]) {
            Some(kind) => Err(injected(kind, operation)),
            None => Ok(received),
        }
    }
}

/// Polls a future so many times, letting others run in between, and drops it.
async fn poll_some(future: impl Future, polls: u32) {
    let mut future = pin!(future);
    for _ in 0..polls {
        if poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await {
            return;
        }
        tokio::task::yield_now().await;
    }
}

fn injected(kind: FaultKind, operation: &'static str) -> Error {
    let error = match kind {
        FaultKind::Outage | FaultKind::Refused | FaultKind::Delayed | FaultKind::Repeated => {
            ErrorKind::Unavailable
        }
        FaultKind::Lost | FaultKind::Unanswered | FaultKind::Late | FaultKind::Dropped => {
            ErrorKind::Indeterminate
        }
    };
    Error::new(error, format!("fault on purpose: {kind}"))
        .operation(operation)
        .backend("faulty")
}

/// Decides, from a seed, which calls fail and how; shared by all wrappers that should fail together.
///
/// Begins without any: set a plan, or begin an outage.
pub struct Faults {
    clock: Arc<dyn Clock>,
    outage: AtomicBool,
    state: Mutex<State>,
}

struct State {
    random: StdRng,
    plan: FaultPlan,
    counts: BTreeMap<FaultKind, u64>,
}

impl Faults {
    /// The faults that belong to `seed`; delays are waited for by `clock`.
    pub fn new(seed: u64, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            outage: AtomicBool::new(false),
            state: Mutex::new(State {
                random: StdRng::seed_from_u64(seed),
                plan: FaultPlan::default(),
                counts: BTreeMap::new(),
            }),
        }
    }

    /// The same with a plan.
    #[must_use]
    pub fn with_plan(self, plan: FaultPlan) -> Self {
        self.set_plan(plan);
        self
    }

    /// Follows this plan from now on. The default plan heals everything but an outage.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.state.lock().plan = plan;
    }

    /// From now on every call fails as unavailable, without reaching the backend.
    pub fn begin_outage(&self) {
        self.outage.store(true, Ordering::Release);
    }

    /// Ends it.
    pub fn end_outage(&self) {
        self.outage.store(false, Ordering::Release);
    }

    /// How many faults of each kind there were so far.
    pub fn counts(&self) -> BTreeMap<FaultKind, u64> {
        self.state.lock().counts.clone()
    }

    /// Waits, if the next call is to be delayed.
    async fn wait(&self) {
        let until = {
            let mut state = self.state.lock();
            if !state.happens(FaultKind::Delayed) {
                return;
            }
            *state.counts.entry(FaultKind::Delayed).or_default() += 1;
            self.clock.now() + state.delay()
        };
        self.clock.sleep_until(until).await;
    }

    /// Which of these kinds befalls the next call, if any.
    fn choose(&self, kinds: &[FaultKind]) -> Option<FaultKind> {
        let mut state = self.state.lock();
        let kind = if self.outage.load(Ordering::Acquire) {
            FaultKind::Outage
        } else {
            // Every kind is asked each time, so that one kind's share doesn't move the others' place in the sequence.
            let happening: Vec<FaultKind> = kinds
                .iter()
                .copied()
                .filter(|kind| state.happens(*kind))
                .collect();
            *happening.first()?
        };
        *state.counts.entry(kind).or_default() += 1;
        Some(kind)
    }

    /// When a call is carried out that nobody waits for any more.
    fn later(&self) -> (Arc<dyn Clock>, jobcore::Timestamp) {
        let delay = self.state.lock().delay();
        (Arc::clone(&self.clock), self.clock.now() + delay)
    }

    fn polls(&self) -> u32 {
        self.state.lock().random.random_range(0..DROP_POLLS)
    }
}

impl State {
    fn happens(&mut self, kind: FaultKind) -> bool {
        let share = self.plan.share(kind);
        self.random.random::<f64>() < share
    }

    fn delay(&mut self) -> Duration {
        self.plan.longest_delay.mul_f64(self.random.random::<f64>())
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Faults")
            .field("outage", &self.outage)
            .field("plan", &state.plan)
            .field("counts", &state.counts)
            .finish_non_exhaustive()
    }
}
