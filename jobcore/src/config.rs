//! Settings of an engine, with defaults that are right for most services.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::id::{ExecutorId, check_name};
use crate::lane::RESERVED;
use crate::placement::DEFAULT_GROUP;

/// Settings of an engine. Start from [`EngineConfig::default`] and change what you need.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The node's id among those that share the store; generated for each process when `None` (default). A chosen id
    /// must be unique: of two processes with the same id the older one stops.
    pub executor_id: Option<ExecutorId>,
    /// Where the node runs, for people. Default: empty.
    pub host: String,
    /// The node's port, 0 if it has none. Default 0.
    pub port: u16,
    /// The executor group. Default `default`.
    pub group: String,
    /// Labels that jobs can require of the node. Default: none.
    pub labels: BTreeMap<String, String>,
    /// What this engine does. Default: everything.
    pub roles: Roles,
    /// How many attempts the node carries out at once, 1 to 100,000. Default 100.
    pub capacity: u32,
    /// How many tasks one claim takes at the most, 1 to 1,000. Default 1,000: the more share a flush, the better, and a
    /// node never claims more than it has room for.
    pub claim_batch: usize,
    /// How many results one settle records at the most, 1 to 1,000. Default 1,000.
    pub settle_batch: usize,
    /// How long a result may wait for others to be recorded with it. Default 2 ms.
    pub settle_delay: Duration,
    /// How long an attempt runs before its start is recorded by itself; shorter ones are recorded with their end, which
    /// halves the writes. Default 20 ms.
    pub start_delay: Duration,
    /// How often the node looks for work that other processes made. What this process makes is found at once.
    /// Default 250 ms.
    pub poll_interval: Duration,
    /// How long the node's leases outlive its last heartbeat: after a crash its tasks start elsewhere that much later.
    /// At least three heartbeats. Default 4 s.
    pub lease_duration: Duration,
    /// The time between heartbeats. Default 1 s.
    pub heartbeat_interval: Duration,
    /// Where heartbeats are sent from. Default: a thread of their own, that no handler can block.
    pub heartbeat_thread: HeartbeatThread,
    /// How long a task may be on its way to a remote executor; one that arrives later is refused and placed anew. Longer
    /// than the transport ever takes in health. Default 5 s.
    pub dispatch_window: Duration,
    /// How long history is kept; `None`: for ever. Default 7 days.
    pub retention: Option<Duration>,
}

/// What an engine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Roles {
    /// It schedules and carries out.
    #[default]
    All,
    /// It schedules: fires, promotes, recovers, cleans up.
    Scheduler,
    /// It carries out, and leaves scheduling to others.
    Executor,
}

impl Roles {
    pub(crate) const fn schedules(self) -> bool {
        matches!(self, Self::All | Self::Scheduler)
    }

    pub(crate) const fn executes(self) -> bool {
        matches!(self, Self::All | Self::Executor)
    }
}

/// Where heartbeats are sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HeartbeatThread {
    /// A thread of its own, that no handler can block.
    #[default]
    Own,
    /// The runtime that the engine was started on: for tests with paused time.
    Shared,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            executor_id: None,
            host: String::new(),
            port: 0,
            group: DEFAULT_GROUP.to_owned(),
            labels: BTreeMap::new(),
            roles: Roles::All,
            capacity: 100,
            claim_batch: 1_000,
            settle_batch: 1_000,
            settle_delay: Duration::from_millis(2),
            start_delay: Duration::from_millis(20),
            poll_interval: Duration::from_millis(250),
            lease_duration: Duration::from_secs(4),
            heartbeat_interval: Duration::from_secs(1),
            heartbeat_thread: HeartbeatThread::Own,
            dispatch_window: Duration::from_secs(5),
            retention: Some(Duration::from_secs(7 * 24 * 3600)),
        }
    }
}

impl EngineConfig {
    /// Refuses values outside their range.
    pub(crate) fn validate(&self) -> Result<()> {
        check_name("group", &self.group, RESERVED)?;
        for (key, value) in &self.labels {
            check_name("labels", key, RESERVED)?;
            check_name("labels", value, RESERVED)?;
        }
        in_range("capacity", self.capacity as usize, 100_000)?;
        in_range("claim_batch", self.claim_batch, crate::store::MAX_BATCH)?;
        in_range("settle_batch", self.settle_batch, crate::store::MAX_BATCH)?;
        if self.heartbeat_interval.is_zero() || self.lease_duration < self.heartbeat_interval * 3 {
            let (lease, beat) = (self.lease_duration, self.heartbeat_interval);
            let message = format_args!("must be at least three heartbeats of {beat:?}, is {lease:?}");
            return Err(Error::invalid("lease_duration", message));
        }
        Ok(())
    }
}

fn in_range(field: &str, value: usize, most: usize) -> Result<()> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(
        field,
        format_args!("must be 1 to {most}, is {value}"),
    ))
}
