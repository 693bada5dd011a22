//! Setting a harness up.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jobcore::clock::SeededEntropy;
use jobcore::config::{HeartbeatThread, Roles};
use jobcore::executor::{Executor, TaskContext};
use jobcore::handler::Handlers;
use jobcore::id::ExecutorId;
use jobcore::job::JobKind;
use jobcore::lane::{Capability, ExecutorProfile};
use jobcore::lease::Holder;
use jobcore::memory::MemoryStore;
use jobcore::placement::DEFAULT_GROUP;
use jobcore::store::{JobStore, Reach, RegisterExecutor};
use jobcore::{Engine, Error, HandlerError, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Executors, Harness, Instant, Mode};
use crate::clock::ManualClock;

/// Sets a [`Harness`] up; registers handlers as an [`EngineBuilder`](jobcore::EngineBuilder) does.
#[must_use = "a builder does nothing until it is started"]
#[derive(Default)]
pub struct HarnessBuilder {
    handlers: Handlers,
    executors: Vec<(JobKind, Arc<dyn Executor>)>,
    clock: ManualClock,
    mode: Mode,
    error: Option<Error>,
}

impl std::fmt::Debug for HarnessBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HarnessBuilder")
            .field("handlers", &self.handlers)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl HarnessBuilder {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Registers a handler, as [`EngineBuilder::handler`](jobcore::EngineBuilder::handler) does.
    pub fn handler<F, A, Fut, T, E>(mut self, name: &str, handler: F) -> Self
    where
        F: Fn(A, TaskContext) -> Fut + Send + Sync + 'static,
        A: DeserializeOwned + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Serialize,
        E: Into<HandlerError>,
    {
        if let Err(error) = self.handlers.register(name, handler) {
            self.error.get_or_insert(error);
        }
        self
    }

    /// Carries out jobs of `kind` with `executor`: a real one, or one that only notes what it was asked for.
    pub fn executor(mut self, kind: JobKind, executor: Arc<dyn Executor>) -> Self {
        self.executors.push((kind, executor));
        self
    }

    /// Begins at this instant. Default: 2026-01-01T00:00:00Z.
    pub fn at(mut self, time: impl Instant) -> Self {
        self.clock = ManualClock::new(time.instant());
        self
    }

    /// Carries out what is triggered for now before `trigger` returns.
    pub fn inline(mut self) -> Self {
        self.mode = Mode::Inline;
        self
    }

    /// The harness, on the present tokio runtime.
    ///
    /// # Errors
    /// `InvalidInput` names a handler that can't be used.
    pub async fn start(mut self) -> Result<Harness> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let clock = Arc::new(self.clock);
        // The same for every run, so that ids and jitter are too.
        let entropy = Arc::new(SeededEntropy::new(1));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let engine = Engine::builder(store.clone())
            .clock(clock.clone())
            .entropy(entropy.clone())
            .configure(|config| {
                config.roles = Roles::Executor;
                config.heartbeat_thread = HeartbeatThread::Shared;
            })
            .start()
            .await?;
        self.executors.push((JobKind::Handler, Arc::new(self.handlers)));
        let capabilities = self
            .executors
            .iter()
            .flat_map(|(_, executor)| executor.capabilities());
        Ok(Harness {
            holder: register(&store, capabilities.collect()).await?,
            engine,
            store,
            clock,
            entropy,
            executors: Executors(self.executors),
            mode: self.mode,
        })
    }
}

/// The executor in whose name the harness claims. It never beats, and nobody declares it dead.
async fn register(store: &MemoryStore, capabilities: Vec<Capability>) -> Result<Holder> {
    let executor_id = ExecutorId::new("harness")?;
    let registration = RegisterExecutor {
        executor_id: executor_id.clone(),
        host: String::new(),
        port: 0,
        profile: ExecutorProfile {
            group: DEFAULT_GROUP.to_owned(),
            capabilities,
            labels: BTreeMap::new(),
            capacity: 1,
        },
        reach: Reach::Direct,
        address: None,
        lease_duration: Duration::from_secs(4),
        join: None,
    };
    let incarnation = store.register_executor(registration).await?.incarnation;
    Ok(Holder {
        executor_id,
        incarnation,
    })
}
