//! The state behind the lock.

use std::collections::{BTreeMap, HashMap};

use super::executors::Executors;
use super::gates::Gates;
use super::history::History;
use super::jobs::Jobs;
use super::lanes::Lanes;
use super::leases::Leases;
use super::logs::Logs;
use super::records::Records;
use super::runs::Runs;
use super::tasks::{Slot, Tasks};
use super::unique::UniqueKeys;
use crate::error::{Error, Result};
use crate::id::{JobId, TaskId};
use crate::store::MAX_BATCH;
use crate::time::Timestamp;

/// Everything that the store holds.
///
/// What can grow large is in trees and not in hash maps: these move all they have when they grow, under the lock.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) jobs: Jobs,
    pub(super) records: Records,
    pub(super) executors: Executors,
    pub(super) tasks: Tasks,
    pub(super) lanes: Lanes,
    /// `Scheduled` tasks by when they come due.
    pub(super) scheduled: DueSet,
    /// `Blocked` tasks by when they come due; the due ones may wait at their gates instead.
    pub(super) delayed: DueSet,
    pub(super) gates: Gates,
    pub(super) leases: Leases,
    /// Held tasks with a request to cancel, by its deadline.
    pub(super) cancelling: DueSet,
    pub(super) unique: UniqueKeys,
    /// Which task was made for a fire time, live or in history.
    pub(super) fires: BTreeMap<FireKey, TaskId>,
    /// How many live tasks behind gates there are of jobs that don't exist (any more).
    pub(super) jobless: HashMap<JobId, usize>,
    pub(super) history: History,
    pub(super) logs: Logs,
    pub(super) runs: Runs,
}

/// Job, nominal fire time and part.
pub(super) type FireKey = (JobId, Timestamp, u32);

/// Tasks by an instant, ties by id.
pub(super) type DueSet = BTreeMap<(Timestamp, TaskId), Slot>;

/// Brings a limit into its range.
pub(super) fn clamp(limit: usize) -> usize {
    limit.clamp(1, MAX_BATCH)
}

/// Refuses batches that are too long.
pub(super) fn check_batch(length: usize) -> Result<()> {
    if length <= MAX_BATCH {
        return Ok(());
    }
    Err(Error::invalid(
        "batch",
        format_args!("has {length} items; split it, {MAX_BATCH} is the most"),
    ))
}
