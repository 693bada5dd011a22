//! Executors: who is there, in which incarnation, and under which leases.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::id::ExecutorId;
use crate::json::Json;
use crate::lease::{FencingToken, Holder, Incarnation, MIN_LEASE};
use crate::store::{
    ExecutorFilter, ExecutorRecord, ExecutorStatus, ExpireExecutors, JoinKey, RegisterExecutor, Registration,
    SetExecutorStatus, SetExecutorStatusOutcome,
};
use crate::time::Timestamp;

use super::state::clamp;

#[derive(Debug)]
struct Entry {
    /// As shown; its status follows from the fields below.
    record: ExecutorRecord,
    disabled: bool,
    draining: bool,
    gone: bool,
    /// The nonce that its newest incarnation joined with.
    nonce: Option<u64>,
    /// Leases of all its incarnations.
    leases: BTreeSet<FencingToken>,
}

impl Entry {
    fn show_status(&mut self) {
        self.record.status = if self.gone {
            ExecutorStatus::Offline
        } else if self.disabled {
            ExecutorStatus::Disabled
        } else if self.draining {
            ExecutorStatus::Draining
        } else {
            ExecutorStatus::Online
        };
    }

    /// Whether a registration repeats the one of the newest incarnation.
    fn is_repeated_by(&self, join: JoinKey) -> bool {
        self.nonce == Some(join.nonce)
            && join
                .previous
                .is_none_or(|previous| previous < self.record.incarnation)
    }

    fn holder(&self) -> Holder {
        Holder {
            executor_id: self.record.executor_id.clone(),
            incarnation: self.record.incarnation,
        }
    }
}

/// How a holder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Alive, with what it was told.
    Alive(ExecutorStatus),
    /// Declared dead, left, or never registered.
    Gone,
    /// A newer incarnation has the id.
    Superseded,
}

/// All executors that ever joined.
#[derive(Debug, Default)]
pub(super) struct Executors(BTreeMap<ExecutorId, Entry>);

impl Executors {
    pub(super) fn register(&mut self, new: RegisterExecutor, now: Timestamp) -> Result<Registration> {
        if new.lease_duration < MIN_LEASE {
            return Err(Error::invalid(
                "lease_duration",
                format_args!("must be at least {MIN_LEASE:?}, is {:?}", new.lease_duration),
            ));
        }
        if let (Some(old), Some(join)) = (self.0.get(&new.executor_id), new.join)
            && old.is_repeated_by(join)
        {
            let incarnation = old.record.incarnation;
            return Ok(Registration { incarnation, now });
        }
        let old = self.0.remove(&new.executor_id);
        let incarnation = Incarnation(old.as_ref().map_or(1, |old| old.record.incarnation.0 + 1));
        let (disabled, leases) = old.map(|old| (old.disabled, old.leases)).unwrap_or_default();
        let record = ExecutorRecord {
            executor_id: new.executor_id.clone(),
            incarnation,
            host: new.host,
            port: new.port,
            status: ExecutorStatus::Online,
            profile: new.profile,
            reach: new.reach,
            address: new.address,
            lease_duration: new.lease_duration,
            last_heartbeat_time: now,
            register_time: now,
            resources: None,
        };
        let mut entry = Entry {
            record,
            disabled,
            draining: false,
            gone: false,
            nonce: new.join.map(|join| join.nonce),
            leases,
        };
        entry.show_status();
        self.0.insert(new.executor_id, entry);
        Ok(Registration { incarnation, now })
    }

    pub(super) fn get(&self, executor_id: &ExecutorId) -> Option<&ExecutorRecord> {
        self.0.get(executor_id).map(|entry| &entry.record)
    }

    pub(super) fn standing(&self, holder: &Holder) -> Standing {
        match self.0.get(&holder.executor_id) {
            Some(entry) if entry.record.incarnation > holder.incarnation => Standing::Superseded,
            Some(entry) if entry.record.incarnation == holder.incarnation && !entry.gone => {
                Standing::Alive(entry.record.status)
            }
            _ => Standing::Gone,
        }
    }

    /// Notes a sign of life of an executor that stands.
    pub(super) fn beat(&mut self, executor_id: &ExecutorId, resources: Option<Json>, now: Timestamp) {
        if let Some(entry) = self.0.get_mut(executor_id) {
            entry.record.last_heartbeat_time = now;
            if resources.is_some() {
                entry.record.resources = resources;
            }
        }
    }

    /// Declares dead whose lease has expired.
    pub(super) fn expire(&mut self, request: &ExpireExecutors, now: Timestamp) -> Vec<Holder> {
        self.0
            .values_mut()
            .filter(|entry| {
                let record = &entry.record;
                !entry.gone
                    && record.last_heartbeat_time + record.lease_duration + request.grace <= now
                    && !request.spare.contains(&record.executor_id)
            })
            .take(clamp(request.limit))
            .map(|entry| {
                entry.gone = true;
                entry.show_status();
                entry.holder()
            })
            .collect()
    }

    pub(super) fn set_status(&mut self, change: &SetExecutorStatus) -> SetExecutorStatusOutcome {
        let executor_id = match change {
            SetExecutorStatus::Disable(id) | SetExecutorStatus::Enable(id) | SetExecutorStatus::Drain(id) => {
                id
            }
            SetExecutorStatus::Leave(holder) => &holder.executor_id,
        };
        let Some(entry) = self.0.get_mut(executor_id) else {
            return SetExecutorStatusOutcome::NotFound;
        };
        match change {
            SetExecutorStatus::Disable(_) => entry.disabled = true,
            SetExecutorStatus::Enable(_) => entry.disabled = false,
            SetExecutorStatus::Drain(_) => entry.draining |= !entry.gone,
            SetExecutorStatus::Leave(holder) if holder.incarnation == entry.record.incarnation => {
                entry.gone = true;
            }
            SetExecutorStatus::Leave(_) => return SetExecutorStatusOutcome::NotFound,
        }
        entry.show_status();
        SetExecutorStatusOutcome::Set
    }

    pub(super) fn list(&self, filter: &ExecutorFilter) -> Vec<ExecutorRecord> {
        self.0
            .values()
            .map(|entry| &entry.record)
            .filter(|record| {
                filter
                    .executor_id
                    .as_ref()
                    .is_none_or(|id| *id == record.executor_id)
                    && filter.status.is_none_or(|status| status == record.status)
                    && filter
                        .group
                        .as_ref()
                        .is_none_or(|group| *group == record.profile.group)
            })
            .cloned()
            .collect()
    }

    pub(super) fn open_lease(&mut self, holder: &Holder, token: FencingToken) {
        if let Some(entry) = self.0.get_mut(&holder.executor_id) {
            entry.leases.insert(token);
        }
    }

    pub(super) fn close_lease(&mut self, holder: &Holder, token: FencingToken) {
        if let Some(entry) = self.0.get_mut(&holder.executor_id) {
            entry.leases.remove(&token);
        }
    }

    /// The leases of all incarnations of an executor, by token.
    pub(super) fn leases(&self, executor_id: &ExecutorId) -> impl Iterator<Item = FencingToken> {
        self.0
            .get(executor_id)
            .into_iter()
            .flat_map(|entry| entry.leases.iter().copied())
    }
}
