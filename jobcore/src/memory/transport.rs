//! [`MemoryTransport`]: schedulers and remote executors of one process, joined by bounded queues.
//!
//! It keeps every promise of the traits, redelivery included, and so is what their conformance suites are written
//! against. Tests and the simulator use it; it also lets a process keep its handlers apart from its store.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;

use crate::attempt::LogChunk;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::json::Json;
use crate::transport::{ExecutorTransport, HeartbeatMessage, Report, Transport};

mod executor_end;
mod inbox;
mod queue;
mod redelivery;
mod scheduler_end;

use executor_end::ExecutorEnd;
use inbox::Inbox;
use queue::Queue;
use redelivery::Redelivery;
use scheduler_end::SchedulerEnd;

/// How much a [`MemoryTransport`] holds, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryTransportConfig {
    /// How many tasks an inbox holds, and as many control messages. Default 10,000: more than an executor can hold.
    pub inbox: usize,
    /// How many reports wait to be read; as many log chunks; as many heartbeats for each scheduler. Default 10,000.
    pub lane: usize,
    /// How many batches a scheduler may have open in a lane. Default 16.
    pub open_batches: usize,
    /// After which time an open batch is handed out again. Default 10 s: longer than a store's transaction, and short
    /// enough that a frozen scheduler costs little.
    pub redeliver_after: Duration,
}

impl Default for MemoryTransportConfig {
    fn default() -> Self {
        Self {
            inbox: 10_000,
            lane: 10_000,
            open_batches: 16,
            redeliver_after: Duration::from_secs(10),
        }
    }
}

/// The place where the ends of one in-process transport meet. Cloning it gives the same place.
///
/// ```
/// # use std::sync::Arc;
/// # use jobcore::{clock::SystemClock, memory::MemoryTransport};
/// let transport = MemoryTransport::new(Arc::new(SystemClock::new()));
/// let scheduler = transport.scheduler();
/// let executor = transport.executor();
/// # let _ = (scheduler, executor);
/// ```
#[derive(Clone)]
pub struct MemoryTransport {
    hub: Arc<Hub>,
}

impl MemoryTransport {
    /// A place without ends. The clock measures when an open batch is handed out again.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_config(clock, MemoryTransportConfig::default())
    }

    /// The same with other bounds.
    pub fn with_config(clock: Arc<dyn Clock>, config: MemoryTransportConfig) -> Self {
        let hub = Hub {
            reports: Redelivery::new(Arc::clone(&clock), config),
            logs: Redelivery::new(Arc::clone(&clock), config),
            clock,
            config,
            ends: Mutex::default(),
        };
        Self { hub: Arc::new(hub) }
    }

    /// A new scheduler's end. Dropping it hands what it had open to the others.
    pub fn scheduler(&self) -> Arc<dyn Transport> {
        Arc::new(SchedulerEnd::new(Arc::clone(&self.hub)))
    }

    /// A new executor's end. Dropping it drops its inbox.
    pub fn executor(&self) -> Arc<dyn ExecutorTransport> {
        Arc::new(ExecutorEnd::new(Arc::clone(&self.hub)))
    }
}

impl fmt::Debug for MemoryTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTransport")
            .field("config", &self.hub.config)
            .finish_non_exhaustive()
    }
}

/// What all ends share.
struct Hub {
    clock: Arc<dyn Clock>,
    config: MemoryTransportConfig,
    reports: Redelivery<Report>,
    logs: Redelivery<LogChunk>,
    ends: Mutex<Ends>,
}

/// The ends that there are, by number.
#[derive(Default)]
struct Ends {
    last: u64,
    inboxes: BTreeMap<u64, Weak<Inbox>>,
    heartbeats: BTreeMap<u64, Weak<Queue<HeartbeatMessage>>>,
}

impl Hub {
    fn add_inbox(&self, inbox: &Arc<Inbox>) -> u64 {
        let mut ends = self.ends.lock();
        ends.last += 1;
        let number = ends.last;
        ends.inboxes.insert(number, Arc::downgrade(inbox));
        number
    }

    fn add_scheduler(&self, heartbeats: &Arc<Queue<HeartbeatMessage>>) -> u64 {
        let mut ends = self.ends.lock();
        ends.last += 1;
        let number = ends.last;
        ends.heartbeats.insert(number, Arc::downgrade(heartbeats));
        number
    }

    fn remove(&self, number: u64) {
        let mut ends = self.ends.lock();
        ends.inboxes.remove(&number);
        ends.heartbeats.remove(&number);
    }

    /// The inbox of this name, if its end is there.
    fn inbox(&self, name: &Json) -> Result<Arc<Inbox>> {
        let number = name
            .decode::<u64>()
            .map_err(|error| Error::invalid("address.inbox", error).backend(NAME))?;
        let inbox = self.ends.lock().inboxes.get(&number).and_then(Weak::upgrade);
        inbox.ok_or_else(|| unavailable(format!("inbox {number} is gone")))
    }

    /// Hands a heartbeat to every scheduler; one that reads too slowly loses its oldest.
    fn heartbeat(&self, message: &HeartbeatMessage) {
        let queues: Vec<_> = self
            .ends
            .lock()
            .heartbeats
            .values()
            .filter_map(Weak::upgrade)
            .collect();
        for queue in queues {
            queue.push_over_oldest(message.clone());
        }
    }
}

const NAME: &str = "memory";

fn unavailable(message: String) -> Error {
    Error::new(ErrorKind::Unavailable, message).backend(NAME)
}
