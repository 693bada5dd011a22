//! Gates: limits, rates and overlap policies, kept before tasks become eligible so that claims never see them.
//!
//! A task with a gate enters [`Blocked`](crate::task::TaskState::Blocked), and comes back there when a retry or snooze
//! is due. The promoter locks the gates, counts what is live behind each, and lets pass as many as the policy allows.
//! There is no counter that could drift.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::{JobId, MAX_ID_LENGTH, check_name};
use crate::overlap::OverlapPolicy;

/// Names a gate: `job:ID` for the overlap and concurrency of one job, `key:TEXT` for a limit shared by a key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GateKey(Arc<str>);

impl GateKey {
    /// The gate of one job.
    pub fn of_job(job_id: &JobId) -> Self {
        Self(format!("job:{job_id}").into())
    }

    /// The gate of a limit key.
    pub fn of_key(key: &str) -> Self {
        Self(format!("key:{key}").into())
    }

    /// Takes a key that a store read back.
    pub fn from_stored(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The key as text, at most 68 bytes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for GateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A limit shared by all tasks with the same key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyLimit {
    /// The key, for example `customer-42`; a trigger can bring its own. 1 to 64 printable ASCII characters.
    pub key: String,
    /// How many tasks with this key may be eligible or running at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// How often tasks with this key may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

impl KeyLimit {
    pub(crate) fn validate(&self) -> Result<()> {
        check_name("limit.key", &self.key, &[])?;
        debug_assert!(self.key.len() <= MAX_ID_LENGTH, "invariant: a checked name fits");
        if self.max_concurrent.is_none() && self.rate.is_none() {
            return Err(Error::invalid("limit", "needs max_concurrent, rate or both"));
        }
        if self.max_concurrent == Some(0) {
            return Err(Error::invalid("limit.max_concurrent", "must be at least 1"));
        }
        match self.rate {
            Some(rate) if rate.count == 0 || rate.per.is_zero() => {
                Err(Error::invalid("limit.rate", "count and per must be positive"))
            }
            _ => Ok(()),
        }
    }

    /// The gate that keeps this limit.
    pub fn gate(&self) -> Gate {
        let policy = GatePolicy {
            overlap: OverlapPolicy::Allow,
            max_live: self.max_concurrent,
            rate: self.rate,
        };
        Gate {
            key: GateKey::of_key(&self.key),
            policy,
        }
    }
}

/// At most `count` per `per`, evenly spread after a burst of at most `burst`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In which time.
    #[serde(with = "crate::duration")]
    pub per: Duration,
    /// How many may go at once after a quiet time. Default 1.
    #[serde(default = "default_burst")]
    pub burst: u32,
}

const fn default_burst() -> u32 {
    1
}

/// What a gate lets pass.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GatePolicy {
    /// What a task does while an earlier one behind the same gate isn't final.
    #[serde(default)]
    pub overlap: OverlapPolicy,
    /// How many may be `Ready`, `Leased` or `Running` at once.
    #[serde(default)]
    pub max_live: Option<u32>,
    /// How often one may pass.
    #[serde(default)]
    pub rate: Option<Rate>,
}

impl GatePolicy {
    /// Whether everything passes at once, so that no gate is needed.
    pub fn is_open(&self) -> bool {
        self.overlap == OverlapPolicy::Allow && self.max_live.is_none() && self.rate.is_none()
    }
}

/// A gate in front of a task. The policy that came with the newest task holds for the gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gate {
    /// Its name.
    pub key: GateKey,
    /// What it lets pass.
    pub policy: GatePolicy,
}
