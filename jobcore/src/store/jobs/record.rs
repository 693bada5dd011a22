//! Versioned records.

use serde::{Deserialize, Serialize};

use crate::json::Json;
use crate::store::Expected;
use crate::time::Timestamp;

/// A versioned record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What kind of thing it is; at most 64 bytes.
    pub namespace: String,
    /// Its key within the namespace; at most 255 bytes.
    pub key: String,
    /// Its content.
    pub value: Json,
    /// Counts its changes, from 1.
    pub version: u64,
    /// When it was last changed.
    pub update_time: Timestamp,
}

/// A record to write or delete.
#[derive(Clone, Debug, PartialEq)]
pub struct PutRecord {
    /// What kind of thing it is.
    pub namespace: String,
    /// Its key.
    pub key: String,
    /// Its content; `None` deletes it.
    pub value: Option<Json>,
    /// What must be there.
    pub expected: Expected,
    /// The present time.
    pub now: Timestamp,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum PutRecordOutcome {
    /// Written, with this version.
    Written {
        /// The new version.
        version: u64,
    },
    /// Deleted, or not there to delete under `Any`.
    Deleted,
    /// Another version is there (`None`: nothing is there).
    VersionConflict {
        /// The version it has now.
        current: Option<u64>,
    },
}
