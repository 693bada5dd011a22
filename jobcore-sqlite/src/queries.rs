//! What the store asks SQLite, by subject.

pub(crate) mod cancel;
pub(crate) mod changes;
pub(crate) mod claim;
pub(crate) mod decisions;
pub(crate) mod executors;
pub(crate) mod fire;
mod gates;
pub(crate) mod heartbeat;
pub(crate) mod history;
pub(crate) mod insert;
pub(crate) mod jobs;
pub(crate) mod lanes;
mod leases;
mod listing;
pub(crate) mod promote;
pub(crate) mod purge;
pub(crate) mod records;
pub(crate) mod recover;
mod rows;
pub(crate) mod runs;
pub(crate) mod settle;
pub(crate) mod start;
mod stored_job;
mod stored_log;
mod stored_task;
pub(crate) mod tasks;
mod transitions;
