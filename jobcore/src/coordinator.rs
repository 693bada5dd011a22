//! Coordinators: who is there, who leads, and what is configured, among nodes that share a cluster.
//!
//! Coordination makes work efficient, never correct: losing a session costs leadership, and the store's leases still
//! decide what counts.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::error::Result;
use crate::json::Json;
use crate::lease::FencingToken;

/// Membership, election, locks and configuration.
///
/// What is acquired is held by a guard; dropping it gives it up. Guards say through a watch channel when they were lost,
/// by a local deadline that is shorter than the session, so that a node stops leading before another begins.
#[async_trait]
pub trait Coordinator: Send + Sync + 'static {
    /// Its name for errors and metrics: `memory`, `zookeeper`, …
    fn name(&self) -> &'static str;

    /// Joins a group under an id with some data, until the guard is dropped or the session lost.
    async fn join(&self, group: &str, member: Member) -> Result<Box<dyn Guard>>;

    /// The members of a group, now and after each change. The channel ends when the coordinator is closed.
    async fn members(&self, group: &str) -> Result<watch::Receiver<Vec<Member>>>;

    /// Waits until this candidate leads the election, and returns the guard with an epoch higher than any before.
    ///
    /// **Cancellation**: dropped before it leads, it is no longer a candidate.
    async fn campaign(&self, election: &str, candidate: &str) -> Result<Box<dyn Guard>>;

    /// Waits at most `wait` for the lock; `None` if it wasn't free in time. The guard's token is higher than any before.
    async fn lock(&self, name: &str, wait: Duration) -> Result<Option<Box<dyn Guard>>>;

    /// A configuration value, now and after each change; `None` while it isn't set.
    async fn watch_config(&self, key: &str) -> Result<watch::Receiver<Option<ConfigValue>>>;

    /// Writes a configuration value if its version is still `expected` (`None`: it isn't set); `value` `None` removes it.
    async fn put_config(
        &self,
        key: &str,
        value: Option<Json>,
        expected: Option<u64>,
    ) -> Result<PutConfigOutcome>;
}

/// Something held until it is dropped or lost.
pub trait Guard: Send + Sync {
    /// The epoch of a leadership, the token of a lock: higher than any before under the same name.
    fn token(&self) -> FencingToken;

    /// `true` while it is held; once `false`, it never comes back.
    fn held(&self) -> watch::Receiver<bool>;
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its id, unique in the group.
    pub id: String,
    /// What others should know of it.
    pub data: Json,
}

/// A configuration value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigValue {
    /// The value.
    pub value: Json,
    /// Counts its changes.
    pub version: u64,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum PutConfigOutcome {
    /// Written, with this version.
    Written {
        /// The new version.
        version: u64,
    },
    /// Removed.
    Removed,
    /// Another version is there (`None`: it isn't set).
    Conflict {
        /// The version it has now.
        current: Option<u64>,
    },
}
