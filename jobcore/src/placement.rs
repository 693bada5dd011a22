//! Placement: which executors may take a job's tasks, and which of those gets one.
//!
//! What is *required* holds on every executor: group, labels, [`Spread::Required`], resources. What is a *wish* among
//! several executors needs someone who sees them all: the scheduler that claims for
//! [executors without a store](crate::ExecutorNode) follows it. An [engine](crate::Engine) that claims for itself sees
//! only its own room, so among engines whoever has room first takes the task:
//!
//! | | executors without a store | engines among themselves |
//! |---|---|---|
//! | group, required labels | kept | kept |
//! | `Spread::Required`, resources | kept | kept, by each from what it holds itself |
//! | `ConsistentHash` | kept | kept, but for a moment after one joined or left |
//! | `Broadcast`, `Shard` | parts made at the fire, a broadcast's each for its executor | the same |
//! | `RoundRobin`, `Weighted`, `LeastLoaded` | followed, by each scheduler from what it gave | free room decides, which comes near the last two |
//! | `preferred_labels`, `Spread::Preferred` | followed while there is room | not followed |
//!
//! Where both kinds serve the same lane, they compete for it, and each keeps its own column.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::check_name;
use crate::lane::RESERVED;

/// The executor group of jobs and executors that name none.
pub const DEFAULT_GROUP: &str = "default";

/// Which executors may take a job's tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Placement {
    /// The executor group; `default` unless told.
    pub group: String,
    /// Labels that an executor must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub required_labels: BTreeMap<String, String>,
    /// Labels of executors that are asked first, while they have room.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub preferred_labels: BTreeMap<String, String>,
    /// Whether to avoid executors that run another task of the same job, while others have room.
    pub spread: Spread,
    /// Which of the executors that may take a task gets it.
    pub strategy: Strategy,
    /// What a task needs of an executor's resources, by the names that executors [report](crate::resources), such as
    /// `memory_mb`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resources: BTreeMap<String, u64>,
}

/// Anti-affinity between the tasks of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    /// Any number side by side. Default.
    #[default]
    None,
    /// Prefer an executor that runs none.
    Preferred,
    /// Only an executor that runs none.
    Required,
}

/// Which executor gets a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// Whoever asks first. Default, and the fastest.
    #[default]
    Any,
    /// One after the other.
    RoundRobin,
    /// In proportion to capacity.
    Weighted,
    /// The one with the smallest load for its capacity.
    LeastLoaded,
    /// Always the same one for the same job, while it is there.
    ConsistentHash,
    /// All that are online at the fire: one task (part) each. A part whose executor is disabled, or gone for longer than
    /// [`RETURN_WITHIN`](crate::engine::part::RETURN_WITHIN), before it started is `Skipped`.
    Broadcast,
    /// As many tasks (parts) as told; each learns its number and the count.
    Shard {
        /// How many parts, 1 to 1,000.
        parts: u32,
    },
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            group: DEFAULT_GROUP.to_owned(),
            required_labels: BTreeMap::new(),
            preferred_labels: BTreeMap::new(),
            spread: Spread::default(),
            strategy: Strategy::default(),
            resources: BTreeMap::new(),
        }
    }
}

impl Placement {
    /// Whether the job has wishes among the executors that may take its tasks, so that one must be chosen for each.
    pub fn chooses(&self) -> bool {
        let by_strategy = matches!(
            self.strategy,
            Strategy::RoundRobin | Strategy::Weighted | Strategy::LeastLoaded | Strategy::ConsistentHash
        );
        let wishes = !self.preferred_labels.is_empty() || !self.resources.is_empty();
        by_strategy || wishes || self.spread != Spread::None
    }

    pub(crate) fn validate(&self) -> Result<()> {
        check_name("placement.group", &self.group, RESERVED)?;
        for (key, value) in self.required_labels.iter().chain(&self.preferred_labels) {
            check_name("placement labels", key, RESERVED)?;
            check_name("placement labels", value, RESERVED)?;
        }
        match self.strategy {
            Strategy::Shard { parts } if !(1..=1_000).contains(&parts) => Err(Error::invalid(
                "placement.strategy.parts",
                format_args!("must be 1 to 1000, is {parts}"),
            )),
            _ => Ok(()),
        }
    }
}
