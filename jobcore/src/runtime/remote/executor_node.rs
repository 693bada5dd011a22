//! [`ExecutorNode`]: hosts executors in a process that has a transport and no store.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use crate::config::EngineConfig;
use crate::engine::attempt::Ending;
use crate::error::{Error, Result};
use crate::executor::{Executor, TaskContext};
use crate::handler::{HandlerError, Handlers};
use crate::id::ExecutorId;
use crate::job::JobKind;
use crate::lane::ExecutorProfile;
use crate::lease::Holder;
use crate::resources::{MachineProbe, Reporting, ResourceProbe};
use crate::transport::ExecutorTransport;

mod intake;
mod link;
mod membership;
mod outbox;
mod reporter;
mod work;

use link::Link;
use membership::Membership;

/// A process's part in a cluster as one that carries tasks out, without a database: schedulers claim for it and record
/// what it reports, over an [`ExecutorTransport`].
///
/// Made by [`ExecutorNode::builder`]. It works until it is [drained](Self::drain), superseded or dropped, also while
/// all schedulers are away: what runs goes on, and its end is reported when they are back. Dropping it ends everything
/// at once, as a crash would.
pub struct ExecutorNode {
    link: Arc<Link>,
}

/// How an executor node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeState {
    /// It looks for a scheduler to join.
    Joining,
    /// It takes tasks.
    Online,
    /// It takes nothing new: by its host's order, or by a person's, which the host should follow with
    /// [`drain`](ExecutorNode::drain).
    Draining,
    /// It has ended: another process joined under its id.
    Superseded,
    /// It has ended.
    Stopped,
}

/// Sets an executor node up.
#[must_use = "a builder does nothing until it is started"]
pub struct ExecutorNodeBuilder {
    transport: Arc<dyn ExecutorTransport>,
    config: EngineConfig,
    handlers: Handlers,
    executors: Vec<(JobKind, Arc<dyn Executor>)>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    resources: Arc<dyn ResourceProbe>,
    error: Option<Error>,
}

impl ExecutorNodeBuilder {
    /// Registers a handler, as [`EngineBuilder::handler`](crate::EngineBuilder::handler) does.
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

    /// Reads what the node says of its resources, in place of [`MachineProbe`].
    pub fn resources(mut self, probe: impl ResourceProbe) -> Self {
        self.resources = Arc::new(probe);
        self
    }

    /// Changes settings: those about the node, its capacity, lease and heartbeats, `start_delay` and `settle_delay` (how
    /// long reports gather) count here.
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

    /// Begins to work, on the present tokio runtime: joins as soon as a scheduler answers.
    ///
    /// # Errors
    /// `InvalidInput` names a setting or handler that can't be used.
    pub fn start(mut self) -> Result<ExecutorNode> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        self.config.validate()?;
        if !self.handlers.is_empty() {
            self.executors.push((JobKind::Handler, Arc::new(self.handlers)));
        }
        let profile = ExecutorProfile {
            group: self.config.group.clone(),
            capabilities: self
                .executors
                .iter()
                .flat_map(|(_, executor)| executor.capabilities())
                .collect(),
            labels: self.config.labels.clone(),
            capacity: self.config.capacity,
        };
        let link = Link::new(
            self.transport,
            self.config,
            profile,
            self.executors,
            self.clock,
            self.entropy,
            Reporting::new(self.resources),
        );
        let link = Arc::new(link);
        Membership::new(link.clone()).start()?;
        link.spawn(intake::tasks(link.clone()));
        link.spawn(intake::control(link.clone()));
        link.spawn(outbox::run(link.clone()));
        link.spawn(reporter::ship_logs(link.clone()));
        Ok(ExecutorNode { link })
    }
}

impl fmt::Debug for ExecutorNodeBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutorNodeBuilder")
            .field("config", &self.config)
            .field("handlers", &self.handlers)
            .finish_non_exhaustive()
    }
}

/// How long an attempt that is handed back by a drain may take to end in order.
const END_GRACE: Duration = Duration::from_secs(5);

impl ExecutorNode {
    /// Begins to set a node up that reaches its schedulers over `transport`.
    pub fn builder(transport: Arc<dyn ExecutorTransport>) -> ExecutorNodeBuilder {
        ExecutorNodeBuilder {
            transport,
            config: EngineConfig::default(),
            handlers: Handlers::new(),
            executors: Vec::new(),
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy),
            resources: Arc::new(MachineProbe::new()),
            error: None,
        }
    }

    /// The id of this node.
    pub fn executor_id(&self) -> &ExecutorId {
        &self.link.executor_id
    }

    /// This node in its present incarnation; `None` before its first join.
    pub fn holder(&self) -> Option<Holder> {
        self.link.holder()
    }

    /// How it stands, now and after each change.
    pub fn state(&self) -> watch::Receiver<NodeState> {
        self.link.state.subscribe()
    }

    /// Stops in order: takes nothing new, hands back what hasn't begun, lets running attempts finish for up to
    /// `patience`, then asks them to end and hands them back with their checkpoints, without using up an attempt. Waits
    /// up to `patience` again for a scheduler to record it all; what it doesn't hear of, recovery takes back.
    ///
    /// **Cancellation**: dropped half-way, the node stays closed for new work and goes on with what runs.
    pub async fn drain(&self, patience: Duration) {
        let link = &self.link;
        link.close();
        tokio::select! {
            biased;
            () = link.idle() => {}
            () = link.clock.sleep_until(link.now() + patience) => {
                link.end_all(Ending::Drain, END_GRACE);
                link.idle().await;
            }
            () = link.killed.cancelled() => return,
        }
        tokio::select! {
            biased;
            () = link.flushed() => {}
            () = link.clock.sleep_until(link.now() + patience) => {}
            () = link.killed.cancelled() => return,
        }
        link.leave().await;
        link.stop(NodeState::Stopped);
    }

    /// Ends everything at once, as a crash would: running attempts are dropped, and recovery takes their tasks back.
    pub fn abort(&self) {
        self.link.stop(NodeState::Stopped);
    }

    /// Returns when the node has stopped: drained, aborted, or superseded by another process under the same id.
    pub async fn stopped(&self) {
        self.link.killed.cancelled().await;
        self.link.tasks.close();
        self.link.tasks.wait().await;
    }
}

impl fmt::Debug for ExecutorNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutorNode")
            .field("executor_id", &self.link.executor_id)
            .field("state", &*self.link.state.borrow())
            .finish_non_exhaustive()
    }
}

impl Drop for ExecutorNode {
    fn drop(&mut self) {
        self.abort();
    }
}
