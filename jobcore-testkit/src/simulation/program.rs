//! Programs: what a process runs: an engine over the store, or an executor that reaches schedulers only by the wire.

use std::sync::Arc;
use std::time::Duration;

use jobcore::clock::SeededEntropy;
use jobcore::config::{EngineConfig, HeartbeatThread, Roles};
use jobcore::{Engine, ExecutorNode, NodeState, Result};

use super::handlers;
use super::link::Link;
use super::plan::{NodeKind, NodePlan};
use super::process::Process;
use super::time::ProcessClock;
use super::wire::Wire;
use super::world::World;

/// How long an executor that was told to drain may finish what runs.
const DRAIN: Duration = Duration::from_secs(3);

/// What a process runs.
#[derive(Clone)]
pub(super) enum Program {
    Engine(Arc<Engine>),
    Executor(Arc<ExecutorNode>),
}

impl Program {
    /// Starts what the plan of the process's node says.
    pub(super) async fn start(world: &Arc<World>, process: &Arc<Process>, plan: NodePlan) -> Result<Self> {
        let clock = Arc::new(ProcessClock::new(world.time, process.clone()));
        let entropy = Arc::new(SeededEntropy::new(world.chance.bits()));
        let settings = |config: &mut EngineConfig| {
            config.executor_id = Some(process.executor_id.clone());
            config.capacity = plan.capacity;
            config.lease_duration = plan.lease;
            config.heartbeat_interval = plan.lease / 4;
            config.heartbeat_thread = HeartbeatThread::Shared;
            config.dispatch_window = plan.dispatch_window;
        };
        match plan.kind {
            NodeKind::Engine(roles) => {
                let mut builder = Engine::builder(Arc::new(Link::new(world.clone(), process.clone())))
                    .clock(clock)
                    .entropy(entropy)
                    .configure(settings)
                    .configure(|config| config.roles = roles);
                if roles != Roles::Executor {
                    builder = builder.transport(Wire::scheduler(world, process));
                }
                if roles != Roles::Scheduler {
                    for name in handlers::NAMES {
                        builder = builder.handler(name, handlers::handler(world, process));
                    }
                }
                Ok(Self::Engine(Arc::new(builder.start().await?)))
            }
            NodeKind::Executor => {
                let mut builder = ExecutorNode::builder(Wire::executor(world, process))
                    .clock(clock)
                    .entropy(entropy)
                    .configure(settings);
                for name in handlers::NAMES {
                    builder = builder.handler(name, handlers::handler(world, process));
                }
                Ok(Self::Executor(Arc::new(builder.start()?)))
            }
        }
    }

    /// Returns when it has ended.
    pub(super) async fn stopped(&self) {
        match self {
            Self::Engine(engine) => engine.stopped().await,
            Self::Executor(node) => {
                let mut state = node.state();
                let ordered = async {
                    let is_ordered = state.wait_for(|state| *state == NodeState::Draining);
                    // Nobody is there to give the order any more when it has stopped.
                    drop(is_ordered.await);
                };
                tokio::select! {
                    biased;
                    () = node.stopped() => {}
                    () = ordered => node.drain(DRAIN).await,
                }
            }
        }
    }

    /// Ends it in order.
    pub(super) async fn drain(&self, patience: Duration) {
        match self {
            Self::Engine(engine) => engine.drain(patience).await,
            Self::Executor(node) => node.drain(patience).await,
        }
    }

    /// Ends it at once.
    pub(super) fn abort(&self) {
        match self {
            Self::Engine(engine) => engine.abort(),
            Self::Executor(node) => node.abort(),
        }
    }

    /// The engine, if it is one.
    pub(super) fn engine(&self) -> Option<Arc<Engine>> {
        match self {
            Self::Engine(engine) => Some(engine.clone()),
            Self::Executor(_) => None,
        }
    }
}
