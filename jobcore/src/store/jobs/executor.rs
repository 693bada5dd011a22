//! Executors: who is there, and how they stand.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::ExecutorId;
use crate::json::Json;
use crate::lane::ExecutorProfile;
use crate::lease::{Holder, Incarnation};
use crate::time::Timestamp;

/// How an executor stands. The numbers are the codes in column `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutorStatus {
    /// Gone: ended, or declared dead.
    Offline = 0,
    /// Takes tasks.
    Online = 1,
    /// Online and at its capacity. Shown, never stored as a state of its own.
    Busy = 2,
    /// Takes nothing new, by order of a person.
    Disabled = 3,
    /// Takes nothing new, finishes what it runs, then goes.
    Draining = 4,
}

impl ExecutorStatus {
    /// The code in column `status`.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The status with this code.
    ///
    /// # Errors
    /// `Corrupt` for any other number.
    pub fn from_code(code: i16) -> Result<Self> {
        match code {
            0 => Ok(Self::Offline),
            1 => Ok(Self::Online),
            2 => Ok(Self::Busy),
            3 => Ok(Self::Disabled),
            4 => Ok(Self::Draining),
            _ => Err(crate::Error::new(
                crate::ErrorKind::Corrupt,
                format!("{code} is no executor status"),
            )),
        }
    }

    /// Whether it may get new tasks.
    pub const fn takes_tasks(self) -> bool {
        matches!(self, Self::Online | Self::Busy)
    }
}

/// Who keeps an executor's leases alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// It has the store: it claims and beats for itself.
    Direct,
    /// It has only a transport: schedulers claim and beat on its behalf.
    Remote,
}

/// An executor that joins.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterExecutor {
    /// Its id.
    pub executor_id: ExecutorId,
    /// Where it runs, for people and for pushing transports; may be empty.
    pub host: String,
    /// Its port, 0 if it has none.
    pub port: u16,
    /// What it offers.
    pub profile: ExecutorProfile,
    /// Who beats for it.
    pub reach: Reach,
    /// Where a transport reaches it: its inbox, opaque to the store.
    pub address: Option<Json>,
    /// How long its leases outlive its last heartbeat. Default 4 s; at least 100 ms.
    pub lease_duration: Duration,
    /// Recognises a repeated registration; `None` for one that can't be repeated.
    pub join: Option<JoinKey>,
}

/// Recognises a registration that was carried out before: a transport may repeat a join, and several schedulers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JoinKey {
    /// Chosen at random by the executor's process, once for its life.
    pub nonce: u64,
    /// The incarnation that the same process had before; `None` at its first join.
    pub previous: Option<Incarnation>,
}

/// An executor that has joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its new incarnation.
    pub incarnation: Incarnation,
    /// The store's clock.
    pub now: Timestamp,
}

/// An executor as the store knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExecutorRecord {
    /// Its id.
    pub executor_id: ExecutorId,
    /// Its newest incarnation.
    pub incarnation: Incarnation,
    /// Where it runs.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it stands.
    pub status: ExecutorStatus,
    /// What it offers.
    pub profile: ExecutorProfile,
    /// Who beats for it.
    pub reach: Reach,
    /// Where a transport reaches it.
    pub address: Option<Json>,
    /// How long its leases outlive its last heartbeat.
    #[serde(with = "crate::duration")]
    pub lease_duration: Duration,
    /// By the store's clock.
    pub last_heartbeat_time: Timestamp,
    /// When its newest incarnation joined.
    pub register_time: Timestamp,
    /// What it last reported of its resources and load.
    pub resources: Option<Json>,
}

/// Which executors to list. Empty fields match everything.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecutorFilter {
    /// Only this one.
    pub executor_id: Option<ExecutorId>,
    /// Only those with this status.
    pub status: Option<ExecutorStatus>,
    /// Only those of this group.
    pub group: Option<String>,
}

/// A change of an executor's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetExecutorStatus {
    /// By a person: nothing new. Survives the executor's restart.
    Disable(ExecutorId),
    /// By a person: take tasks again. Doesn't take back a drain.
    Enable(ExecutorId),
    /// By a person or the executor: finish what runs, then go.
    Drain(ExecutorId),
    /// By the executor itself, at its end. Its remaining leases are recovered at the next pass. `NotFound` unless it
    /// is the newest incarnation.
    Leave(Holder),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum SetExecutorStatusOutcome {
    /// It is so now.
    Set,
    /// There is no such executor, or not in this incarnation.
    NotFound,
}
