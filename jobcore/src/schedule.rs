//! Schedules: pure rules that give instants.

use serde::{Deserialize, Serialize};

/// A pure rule that gives instants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    expression: String,
}
