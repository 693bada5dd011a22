//! Executors: joining, leaving, living and dying.

use std::collections::BTreeSet;

use jobcore::id::{ExecutorId, TaskId};
use jobcore::lease::{FencingToken, Holder, Incarnation, MIN_LEASE};
use jobcore::store::{
    Alive, ExecutorFilter, ExecutorRecord, ExpireExecutors, Heartbeat, HeartbeatOutcome, Held,
    RegisterExecutor, Registration, SetExecutorStatus, SetExecutorStatusOutcome,
};
use jobcore::task::Task;
use jobcore::{Error, Result, Timestamp};

use crate::FileStore;
use crate::listing::clamp;
use crate::state::{ExecutorRow, LiveTask, State};

impl FileStore {
    pub(crate) fn register(&self, registration: RegisterExecutor) -> Result<Registration> {
        if registration.lease_duration < MIN_LEASE {
            return Err(Error::invalid(
                "lease_duration",
                format_args!("must be at least {MIN_LEASE:?}"),
            ));
        }
        self.write(|state| state.register(registration, self.time()))
    }
}

impl State {
    fn register(&mut self, new: RegisterExecutor, now: Timestamp) -> Registration {
        let old = self.executors.get(&new.executor_id);
        let newest = old.map(|row| row.record.incarnation);
        if let (Some(incarnation), Some(join)) = (newest, new.join)
            && old.is_some_and(|row| row.nonce == Some(join.nonce))
            && join.previous.is_none_or(|previous| previous < incarnation)
        {
            return Registration { incarnation, now };
        }
        let incarnation = Incarnation(newest.map_or(0, |newest| newest.0) + 1);
        let row = ExecutorRow {
            gone: false,
            disabled: old.is_some_and(|row| row.disabled),
            draining: false,
            nonce: new.join.map(|join| join.nonce),
            record: ExecutorRecord {
                executor_id: new.executor_id.clone(),
                incarnation,
                host: new.host,
                port: new.port,
                status: jobcore::store::ExecutorStatus::Online,
                profile: new.profile,
                reach: new.reach,
                address: new.address,
                lease_duration: new.lease_duration,
                last_heartbeat_time: now,
                register_time: now,
                resources: None,
            },
        };
        self.executors.insert(new.executor_id, row);
        Registration { incarnation, now }
    }

    pub(crate) fn list_executors(&self, filter: &ExecutorFilter) -> Vec<ExecutorRecord> {
        let records = self.executors.values().map(ExecutorRow::shown);
        let matching = records.filter(|record| {
            filter
                .executor_id
                .as_ref()
                .is_none_or(|id| record.executor_id == *id)
                && filter.status.is_none_or(|status| record.status == status)
                && filter
                    .group
                    .as_ref()
                    .is_none_or(|group| record.profile.group == *group)
        });
        matching.collect()
    }

    pub(crate) fn executor(&self, executor_id: &ExecutorId) -> Option<ExecutorRecord> {
        self.executors.get(executor_id).map(ExecutorRow::shown)
    }

    pub(crate) fn set_executor_status(&mut self, change: SetExecutorStatus) -> SetExecutorStatusOutcome {
        let (executor_id, incarnation) = match &change {
            SetExecutorStatus::Disable(id) | SetExecutorStatus::Enable(id) | SetExecutorStatus::Drain(id) => {
                (id, None)
            }
            SetExecutorStatus::Leave(holder) => (&holder.executor_id, Some(holder.incarnation)),
        };
        let row = self.executors.get_mut(executor_id);
        let Some(row) = row.filter(|row| incarnation.is_none_or(|own| own == row.record.incarnation)) else {
            return SetExecutorStatusOutcome::NotFound;
        };
        match change {
            SetExecutorStatus::Disable(_) => row.disabled = true,
            SetExecutorStatus::Enable(_) => row.disabled = false,
            SetExecutorStatus::Drain(_) => row.draining |= !row.gone,
            SetExecutorStatus::Leave(_) => row.gone = true,
        }
        SetExecutorStatusOutcome::Set
    }

    pub(crate) fn heartbeat(&mut self, beat: Heartbeat, now: Timestamp) -> HeartbeatOutcome {
        let Some(row) = self.executors.get_mut(&beat.holder.executor_id) else {
            return HeartbeatOutcome::Dead;
        };
        if row.record.incarnation > beat.holder.incarnation {
            return HeartbeatOutcome::Superseded;
        }
        if row.gone || row.record.incarnation != beat.holder.incarnation {
            return HeartbeatOutcome::Dead;
        }
        row.record.last_heartbeat_time = now;
        row.record.resources = beat.resources.or(row.record.resources.take());
        let status = row.status();
        let held: Vec<&LiveTask> = self.held_by(&beat.holder).collect();
        let cancel = held.iter().filter(|live| live.task.cancel.is_some());
        let cancel = cancel.map(|live| live.task.task_id.clone()).collect();
        let mut unnamed: Vec<(FencingToken, TaskId, u32)> = held
            .iter()
            .filter(|live| {
                !is_named(&beat.held, &live.task) && live.start_before.is_none_or(|until| until < now)
            })
            .map(|live| (live.task.token, live.task.task_id.clone(), live.task.attempt))
            .collect();
        unnamed.sort();
        let own: BTreeSet<(&TaskId, FencingToken)> = held
            .iter()
            .map(|live| (&live.task.task_id, live.task.token))
            .collect();
        let lost = match &beat.held {
            Held::Leases(_) => Vec::new(),
            Held::Tasks(tasks) => tasks
                .iter()
                .filter(|(id, token)| !own.contains(&(id, *token)))
                .cloned()
                .collect(),
        };
        HeartbeatOutcome::Alive(Alive {
            now,
            status,
            cancel,
            unnamed: unnamed
                .into_iter()
                .map(|(token, id, attempt)| (id, token, attempt))
                .collect(),
            lost,
        })
    }

    /// What an executor holds, by id.
    pub(crate) fn held_by(&self, holder: &Holder) -> impl Iterator<Item = &LiveTask> {
        let live = self.live.values();
        live.filter(move |live| live.task.state.is_held() && live.task.holder.as_ref() == Some(holder))
    }

    pub(crate) fn expire(&mut self, request: &ExpireExecutors, now: Timestamp) -> Vec<Holder> {
        let silent = self.executors.values_mut().filter(|row| {
            let record = &row.record;
            let end = record.last_heartbeat_time + record.lease_duration + request.grace;
            !row.gone && end <= now && !request.spare.contains(&record.executor_id)
        });
        let dead = silent.take(clamp(request.limit)).map(|row| {
            row.gone = true;
            Holder {
                executor_id: row.record.executor_id.clone(),
                incarnation: row.record.incarnation,
            }
        });
        dead.collect()
    }
}

fn is_named(held: &Held, task: &Task) -> bool {
    match held {
        Held::Leases(tokens) => tokens.contains(&task.token),
        Held::Tasks(tasks) => tasks
            .iter()
            .any(|(id, token)| *id == task.task_id && *token == task.token),
    }
}
