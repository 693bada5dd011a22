//! [`MemoryCoordinator`]: membership, election, locks and configuration among the nodes of one process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::coordinator::{ConfigValue, Coordinator, Guard, Member, PutConfigOutcome};
use crate::error::{Error, ErrorKind, Result};
use crate::json::Json;

mod groups;
mod queues;

use groups::{Groups, Membership};
use queues::{Kind, Queues, Ticket};

/// The place where the nodes of one process meet. Cloning it gives the same place.
///
/// Each node gets a [session](Self::session) of its own, which can be lost like that of a real cluster.
#[derive(Clone)]
pub struct MemoryCoordinator {
    place: Arc<Place>,
}

/// What all sessions share.
struct Place {
    clock: Arc<dyn Clock>,
    sessions: AtomicU64,
    groups: Groups,
    elections: Queues,
    locks: Queues,
    config: Mutex<BTreeMap<String, Setting>>,
}

/// A configuration value and those who watch it.
struct Setting {
    /// Counts the changes, removals included, so that a version never comes again.
    version: u64,
    value: watch::Sender<Option<ConfigValue>>,
}

impl MemoryCoordinator {
    /// A place without nodes. The clock measures how long a lock is waited for.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let place = Place {
            clock,
            sessions: AtomicU64::new(0),
            groups: Groups::default(),
            elections: Queues::default(),
            locks: Queues::default(),
            config: Mutex::default(),
        };
        Self {
            place: Arc::new(place),
        }
    }

    /// A node's session. It ends when it is dropped together with all guards it gave, or [expired](MemorySession::expire).
    pub fn session(&self) -> Arc<MemorySession> {
        let number = self.place.sessions.fetch_add(1, Ordering::Relaxed);
        Arc::new(MemorySession {
            place: Arc::clone(&self.place),
            number,
            alive: watch::Sender::new(true),
        })
    }
}

impl fmt::Debug for MemoryCoordinator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryCoordinator").finish_non_exhaustive()
    }
}

/// One node's session with a [`MemoryCoordinator`].
pub struct MemorySession {
    place: Arc<Place>,
    number: u64,
    alive: watch::Sender<bool>,
}

impl MemorySession {
    /// Loses the session, as if the node hadn't been heard of for too long: everything that it holds is lost, and all
    /// calls fail from now on.
    pub fn expire(&self) {
        self.alive.send_replace(false);
        self.place.groups.expire(self.number);
        self.place.elections.expire(self.number);
        self.place.locks.expire(self.number);
    }

    fn check(&self) -> Result<()> {
        if *self.alive.borrow() {
            Ok(())
        } else {
            Err(expired())
        }
    }

    /// Waits for a place at the head of a queue; fails when the session is lost meanwhile.
    async fn wait(&self, kind: Kind, name: &str) -> Result<Box<dyn Guard>> {
        self.check()?;
        let ticket = Ticket::take(&self.place, kind, name, self.number);
        let mut alive = self.alive.subscribe();
        tokio::select! {
            biased;
            _ = alive.wait_for(|alive| !alive) => Err(expired()),
            guard = ticket.first() => Ok(Box::new(guard)),
        }
    }
}

#[async_trait]
impl Coordinator for MemorySession {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn join(&self, group: &str, member: Member) -> Result<Box<dyn Guard>> {
        self.check()?;
        let guard = Membership::begin(&self.place, group, member, self.number)?;
        Ok(Box::new(guard))
    }

    async fn members(&self, group: &str) -> Result<watch::Receiver<Vec<Member>>> {
        self.check()?;
        Ok(self.place.groups.watch(group))
    }

    async fn campaign(&self, election: &str, _candidate: &str) -> Result<Box<dyn Guard>> {
        self.wait(Kind::Election, election).await
    }

    async fn lock(&self, name: &str, wait: Duration) -> Result<Option<Box<dyn Guard>>> {
        let end = self.place.clock.now() + wait;
        tokio::select! {
            biased;
            guard = self.wait(Kind::Lock, name) => guard.map(Some),
            () = self.place.clock.sleep_until(end) => Ok(None),
        }
    }

    async fn watch_config(&self, key: &str) -> Result<watch::Receiver<Option<ConfigValue>>> {
        self.check()?;
        Ok(self.place.setting(key, |setting| setting.value.subscribe()))
    }

    async fn put_config(
        &self,
        key: &str,
        value: Option<Json>,
        expected: Option<u64>,
    ) -> Result<PutConfigOutcome> {
        self.check()?;
        Ok(self.place.setting(key, |setting| setting.put(value, expected)))
    }
}

impl fmt::Debug for MemorySession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySession")
            .field("number", &self.number)
            .field("alive", &*self.alive.borrow())
            .finish_non_exhaustive()
    }
}

impl Place {
    fn queues(&self, kind: Kind) -> &Queues {
        match kind {
            Kind::Election => &self.elections,
            Kind::Lock => &self.locks,
        }
    }

    fn setting<T>(&self, key: &str, change: impl FnOnce(&mut Setting) -> T) -> T {
        let mut config = self.config.lock();
        change(config.entry(key.to_owned()).or_insert_with(|| Setting {
            version: 0,
            value: watch::Sender::new(None),
        }))
    }
}

impl Setting {
    fn put(&mut self, value: Option<Json>, expected: Option<u64>) -> PutConfigOutcome {
        let current = self.value.borrow().as_ref().map(|value| value.version);
        if current != expected {
            return PutConfigOutcome::Conflict { current };
        }
        self.version += 1;
        let version = self.version;
        let outcome = match value {
            Some(_) => PutConfigOutcome::Written { version },
            None => PutConfigOutcome::Removed,
        };
        self.value
            .send_replace(value.map(|value| ConfigValue { value, version }));
        outcome
    }
}

const NAME: &str = "memory";

fn expired() -> Error {
    Error::new(ErrorKind::Unavailable, "the session has expired: make a new one").backend(NAME)
}
