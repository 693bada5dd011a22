//! Coordinators: who is there, who leads, and what is configured, among nodes that share a cluster.
//!
//! Coordination makes work efficient, never correct: losing a session costs leadership, and the store's leases still
//! decide what counts.
//!
//! Rules for all methods:
//!
//! - **Names** of groups, elections, locks and keys are apart: a lock doesn't meet an election of the same name.
//! - **Cancellation.** A dropped future holds nothing: what it would have acquired is given up.
//! - **Errors.** `Unavailable` and `TimedOut` can be tried again; after `Indeterminate` what was acquired is given up with
//!   the session at the latest, and a written value is there or isn't.

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
    ///
    /// **Errors**: `AlreadyExists` while another member has the id.
    ///
    /// **Conformance**: `members_are_seen_by_all`, `a_member_that_goes_is_gone`, `groups_are_apart`,
    /// `an_id_is_taken_once`, `a_lost_session_loses_its_members`.
    async fn join(&self, group: &str, member: Member) -> Result<Box<dyn Guard>>;

    /// The members of a group, now and after each change. The channel ends when the coordinator is closed.
    ///
    /// **Conformance**: `members_are_seen_by_all`, `a_member_that_goes_is_gone`, `groups_are_apart`,
    /// `a_lost_session_loses_its_members`.
    async fn members(&self, group: &str) -> Result<watch::Receiver<Vec<Member>>>;

    /// Waits until this candidate leads the election, and returns the guard with an epoch higher than any before.
    ///
    /// **Cancellation**: dropped before it leads, it is no longer a candidate.
    ///
    /// **Conformance**: `one_leads_at_a_time`, `the_next_leads_when_the_leader_goes`,
    /// `a_candidate_that_gave_up_never_leads`, `elections_are_apart`, `a_lost_session_loses_the_leadership`.
    async fn campaign(&self, election: &str, candidate: &str) -> Result<Box<dyn Guard>>;

    /// Waits at most `wait` for the lock; `None` if it wasn't free in time. The guard's token is higher than any before.
    ///
    /// **Conformance**: `a_lock_excludes`, `a_freed_lock_goes_to_who_waits`, `a_wait_that_ended_takes_no_lock`,
    /// `locks_are_apart`, `a_lost_session_loses_its_locks`.
    async fn lock(&self, name: &str, wait: Duration) -> Result<Option<Box<dyn Guard>>>;

    /// A configuration value, now and after each change; `None` while it isn't set.
    ///
    /// **Conformance**: `an_unset_value_is_none`, `a_value_reaches_those_who_watch`, `a_removed_value_is_none`.
    async fn watch_config(&self, key: &str) -> Result<watch::Receiver<Option<ConfigValue>>>;

    /// Writes a configuration value if its version is still `expected` (`None`: it isn't set); `value` `None` removes it.
    ///
    /// **Conformance**: `an_unset_value_is_none`, `a_value_reaches_those_who_watch`, `a_stale_write_changes_nothing`,
    /// `a_removed_value_is_none`, `one_of_many_concurrent_writes_wins`.
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
    ///
    /// **Conformance**: `the_next_leads_when_the_leader_goes`, `a_lost_session_loses_the_leadership`,
    /// `a_freed_lock_goes_to_who_waits`, `a_lost_session_loses_its_locks`.
    fn token(&self) -> FencingToken;

    /// `true` while it is held; once `false`, it never comes back.
    ///
    /// **Conformance**: `a_lost_session_loses_its_members`, `one_leads_at_a_time`,
    /// `a_lost_session_loses_the_leadership`, `a_lock_excludes`, `a_lost_session_loses_its_locks`.
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
