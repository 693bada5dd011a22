//! Misfire: what becomes of fire times that went by without a task.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What to do about fire times that passed beyond the threshold, because no node was running or the store was away.
///
/// Every decision is recorded, so that a missing task always has its reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MisfirePolicy {
    /// What to do.
    pub action: MisfireAction,
    /// How late a fire may be and still count as on time. Default 60 s.
    #[serde(with = "crate::duration")]
    pub threshold: Duration,
    /// Fire times older than this are never made up for; `None` (default): however old.
    #[serde(with = "crate::duration::option", skip_serializing_if = "Option::is_none")]
    pub window: Option<Duration>,
}

/// What to do about misfires.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MisfireAction {
    /// Make one task, for the latest of them. Default.
    #[default]
    FireOnce,
    /// Make one task for each, oldest first, but at most `limit` of the latest.
    FireAll {
        /// The most tasks to make up for, 1 to 1,000.
        limit: u32,
    },
    /// Make none.
    Skip,
}

impl Default for MisfirePolicy {
    fn default() -> Self {
        Self {
            action: MisfireAction::default(),
            threshold: Duration::from_secs(60),
            window: None,
        }
    }
}
