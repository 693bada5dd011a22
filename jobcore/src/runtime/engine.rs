//! The engine: a scheduler and executor in the application's own process.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::claim::{Claimer, Lanes};
use super::crew::Crew;
use super::drain;
use super::fire::Firer;
use super::health::Health;
use super::heartbeat::{self, Heart};
use super::journal::Journal;
use super::leases::Leases;
use super::node::{Node, Standing, StoreClock};
use super::promote::Promoter;
use super::recover::Recoverer;
use super::remote::Dispatcher;
use super::retention;
use super::settle::Settler;
use super::start::Starter;
use super::wake::Wake;
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::EngineConfig;
use crate::engine::liveness::Watch;
use crate::error::{Error, ErrorKind, Result};
use crate::executor::{Executor, TaskContext};
use crate::handler::{HandlerError, Handlers};
use crate::id::ExecutorId;
use crate::job::JobKind;
use crate::lane::{Capability, ExecutorProfile};
use crate::lease::Holder;
use crate::resources::{MachineProbe, Reporting, ResourceProbe};
use crate::store::{ExecutorStatus, Store};
use crate::transport::Transport;

/// A scheduler and executor in the application's own process, over any [`Store`].
///
/// Made by [`Engine::builder`]. It works until it is [drained](Self::drain) or dropped; dropping it ends everything at
/// once, as a crash would, and recovery gives its tasks to others. It implements [`Scheduler`](crate::Scheduler).
#[derive(Debug)]
pub struct Engine {
    pub(super) shared: Arc<Shared>,
}

/// What the engine and its handles share.
pub(super) struct Shared {
    pub(super) node: Arc<Node>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) crew: Arc<Crew>,
    pub(super) dispatcher: Option<Arc<Dispatcher>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("executor_id", &self.node.executor_id)
            .finish_non_exhaustive()
    }
}

/// Sets an engine up.
#[must_use = "a builder does nothing until it is started"]
pub struct EngineBuilder {
    store: Arc<dyn Store>,
    config: EngineConfig,
    handlers: Handlers,
    executors: Vec<(JobKind, Arc<dyn Executor>)>,
    transport: Option<Arc<dyn Transport>>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    resources: Arc<dyn ResourceProbe>,
    error: Option<Error>,
}

impl std::fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineBuilder")
            .field("config", &self.config)
            .field("handlers", &self.handlers)
            .finish_non_exhaustive()
    }
}

impl EngineBuilder {
    /// Registers a handler: a plain async function from typed arguments to a typed result.
    ///
    /// The name is what jobs of kind `handler` have as their command.
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

    /// Carries out jobs of `kind` with `executor`; a second one for the same kind replaces the first.
    pub fn executor(mut self, kind: JobKind, executor: Arc<dyn Executor>) -> Self {
        self.executors.retain(|(other, _)| *other != kind);
        self.executors.push((kind, executor));
        self
    }

    /// Carries out jobs of kind `shell`. Off unless asked for: whoever can create jobs can then run commands.
    pub fn shell(mut self) -> Self {
        match crate::shell::ShellExecutor::new() {
            Ok(shell) => self.executor(JobKind::Shell, Arc::new(shell)),
            Err(error) => {
                self.error.get_or_insert(error);
                self
            }
        }
    }

    /// Serves remote executors ([`ExecutorNode`](crate::ExecutorNode)) over this transport, if the node schedules.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Reads what the node says of its resources, in place of [`MachineProbe`].
    pub fn resources(mut self, probe: impl ResourceProbe) -> Self {
        self.resources = Arc::new(probe);
        self
    }

    /// Changes settings.
    pub fn configure(mut self, change: impl FnOnce(&mut EngineConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Takes the time from elsewhere: for tests.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Takes randomness from elsewhere: for tests.
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.entropy = entropy;
        self
    }

    /// Joins the store and begins to work, on the present tokio runtime.
    ///
    /// # Errors
    /// `InvalidInput` names a setting or handler that can't be used. The store's errors if it can't be reached.
    pub async fn start(mut self) -> Result<Engine> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        self.config.validate()?;
        let node = Arc::new(self.node().await?);
        Engine::assemble(node, self.executors, self.transport)
    }

    async fn node(&mut self) -> Result<Node> {
        let clock = Arc::new(StoreClock::new(self.clock.clone()));
        let sent = clock.now();
        clock.observe(sent, self.store.now().await?);
        let entropy = self.entropy.clone();
        let executor_id = self
            .config
            .executor_id
            .clone()
            .unwrap_or_else(|| ExecutorId::generate(clock.now(), &*entropy));
        if !self.handlers.is_empty() {
            let handlers = std::mem::take(&mut self.handlers);
            self.executors.push((JobKind::Handler, Arc::new(handlers)));
        }
        if !self.config.roles.executes() {
            self.executors.clear();
        }
        let standing = Standing {
            incarnation: crate::lease::Incarnation(0),
            status: ExecutorStatus::Online,
            beat_time: clock.now(),
            joined: false,
        };
        let node = Node {
            profile: self.profile(),
            store: self.store.clone(),
            clock,
            entropy,
            config: self.config.clone(),
            executor_id,
            resources: Reporting::new(self.resources.clone()),
            standing: Mutex::new(standing),
            wake: Wake::default(),
            health: Health::default(),
            events: Node::event_channel(),
            draining: CancellationToken::new(),
            killed: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let sent = node.now();
        let registration = heartbeat::register(&node).await?;
        let mut standing = node.standing.lock();
        standing.incarnation = registration.incarnation;
        standing.beat_time = sent;
        standing.joined = true;
        drop(standing);
        Ok(node)
    }

    fn profile(&self) -> ExecutorProfile {
        let capabilities: Vec<Capability> = self
            .executors
            .iter()
            .flat_map(|(_, executor)| executor.capabilities())
            .collect();
        ExecutorProfile {
            group: self.config.group.clone(),
            capabilities,
            labels: self.config.labels.clone(),
            capacity: if self.executors.is_empty() {
                0
            } else {
                self.config.capacity
            },
        }
    }
}

impl Engine {
    /// Begins to set an engine up over `store`.
    pub fn builder(store: Arc<dyn Store>) -> EngineBuilder {
        EngineBuilder {
            store,
            config: EngineConfig::default(),
            handlers: Handlers::new(),
            executors: Vec::new(),
            transport: None,
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy),
            resources: Arc::new(MachineProbe::new()),
            error: None,
        }
    }

    fn assemble(
        node: Arc<Node>,
        executors: Vec<(JobKind, Arc<dyn Executor>)>,
        transport: Option<Arc<dyn Transport>>,
    ) -> Result<Self> {
        let leases = Arc::new(Leases::default());
        let settler = Arc::new(Settler::new(node.clone(), leases.clone()));
        let starter = Arc::new(Starter::new(node.clone()));
        let journal = Arc::new(Journal::new(node.clone()));
        let lanes = Arc::new(Lanes::default());
        let watch = Arc::new(Mutex::new(Watch::new(node.now(), node.config.heartbeat_interval)));
        let crew = Arc::new(Crew::new(
            node.clone(),
            settler.clone(),
            starter.clone(),
            journal.clone(),
            leases,
            executors,
        ));
        metrics::gauge!(crate::telemetry::CAPACITY).set(f64::from(node.config.capacity));
        Heart::new(node.clone(), crew.clone(), watch.clone()).start()?;
        let transport = transport.filter(|_| node.config.roles.schedules());
        let dispatcher =
            transport.map(|transport| Arc::new(Dispatcher::new(node.clone(), transport, settler.clone())));
        if let Some(dispatcher) = &dispatcher {
            dispatcher.start();
        }
        node.spawn(settler.run());
        if node.config.roles.executes() {
            node.spawn(starter.clone().run());
            node.spawn(journal.run());
            node.spawn(Claimer::new(node.clone(), crew.clone(), lanes.clone()).run());
        }
        if node.config.roles.schedules() {
            node.spawn(Firer::new(node.clone(), lanes.clone()).run());
            node.spawn(Promoter::new(node.clone(), crew.clone()).run());
            node.spawn(Recoverer::new(node.clone(), watch, dispatcher.clone()).run());
            node.spawn(retention::purge(node.clone()));
            node.spawn(retention::measure(node.clone(), crew.clone()));
        }
        Ok(Self {
            shared: Arc::new(Shared {
                node,
                lanes,
                crew,
                dispatcher,
            }),
        })
    }

    /// The id of this node.
    pub fn executor_id(&self) -> &ExecutorId {
        &self.shared.node.executor_id
    }

    /// This node in its present incarnation.
    pub fn holder(&self) -> Holder {
        self.shared.node.holder()
    }

    /// Stops in order: claims and fires nothing new, lets running attempts finish for up to `patience`, then asks them to
    /// end and hands them back with their checkpoints, without using up an attempt.
    ///
    /// **Cancellation**: dropped half-way, the engine stays closed for new work and goes on with what runs.
    pub async fn drain(&self, patience: Duration) {
        let Shared { node, crew, .. } = &*self.shared;
        drain::drain(node, crew, node.now() + patience).await;
    }

    /// Ends everything at once, as a crash would: running attempts are dropped, and recovery takes their tasks back.
    pub fn abort(&self) {
        self.shared.node.kill();
    }

    /// Returns when the engine has stopped: drained, aborted, or superseded by another process under the same id.
    pub async fn stopped(&self) {
        self.shared.node.killed.cancelled().await;
        self.shared.node.tasks.close();
        self.shared.node.tasks.wait().await;
    }

    /// Whether the engine works: it isn't draining and wasn't stopped.
    ///
    /// # Errors
    /// `ShuttingDown` if it doesn't.
    pub(super) fn check_open(&self) -> Result<()> {
        if self.shared.node.draining.is_cancelled() {
            let message = format!("engine {} is draining; send it to another", self.executor_id());
            return Err(Error::new(ErrorKind::ShuttingDown, message));
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.abort();
    }
}
