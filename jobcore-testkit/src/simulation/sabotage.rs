//! Sabotage: switches a guard of the store off, and shows what a store without it would.

use std::collections::HashMap;

use jobcore::id::TaskId;
use jobcore::lease::{Fence, Holder};
use jobcore::memory::MemoryStore;
use jobcore::overlap::OverlapPolicy;
use jobcore::store::*;
use jobcore::task::{NewTask, Task, TaskState};
use jobcore::{Error, ErrorKind, Result};

use super::call::{Answer, Call, carry_out, now};
use super::chance::Chance;
use super::guard::Guard;

/// Stands between the watched store and the memory store, and switches one guard off.
pub(super) struct Sabotage {
    broken: Option<Guard>,
    chance: Chance,
    /// Final tasks as a store without the guard would show them.
    overwritten: HashMap<TaskId, Task>,
}

impl Sabotage {
    pub(super) fn new(broken: Option<Guard>, seed: u64) -> Self {
        Self {
            broken,
            chance: Chance::new(seed ^ 0x5AB0_7A6E),
            overwritten: HashMap::new(),
        }
    }

    /// A task as the store shows it.
    pub(super) fn shown(&self, task_id: &TaskId, task: Option<Task>) -> Option<Task> {
        self.overwritten.get(task_id).cloned().or(task)
    }

    pub(super) fn carry_out(&mut self, store: &MemoryStore, call: Call) -> Result<Answer> {
        let Some(broken) = self.broken else {
            return carry_out(store, call);
        };
        match (broken, call) {
            (Guard::FireAtomic, Call::Fire(fires)) if self.chance.happens(100) => part_of_fires(store, fires),
            (Guard::CancelHonoured, Call::Cancel(request)) => forget_requests(store, request),
            (Guard::InsertDurable, Call::Insert(tasks, time)) if self.chance.happens(100) => {
                let _ = time;
                Ok(Answer::Insert(vec![InsertOutcome::Inserted; tasks.len()]))
            }
            (Guard::AtMostOnce, Call::Start(starts)) => {
                Ok(Answer::Start(vec![StartOutcome::Started; starts.len()]))
            }
            (Guard::Recovery, Call::Recover(_)) => Ok(Answer::Recover(Recovered::default())),
            (Guard::LeaseExpiry, Call::Expire(request)) => expire_all(store, &request),
            (Guard::FinalIsFinal | Guard::StaleToken, Call::Settle(settlements, time)) => {
                let call = altered(broken, store, Call::Settle(settlements.clone(), time));
                let answer = carry_out(store, call)?;
                Ok(self.overwrite(store, &settlements, answer))
            }
            (Guard::ClaimCondition, Call::Claim(request)) => {
                let held = held_by_others(store, &request);
                let mut answer = carry_out(store, Call::Claim(request))?;
                if let (Answer::Claim(ClaimOutcome::Claimed(lease)), Some(held)) = (&mut answer, held) {
                    lease.tasks.push(held);
                }
                Ok(answer)
            }
            (broken, call) => {
                let call = altered(broken, store, call);
                carry_out(store, call).map(|answer| answered(broken, store, answer))
            }
        }
    }

    /// Late settlements win: over what is final, and without a check of tokens over what waits as well.
    fn overwrite(&mut self, store: &MemoryStore, settlements: &[Settlement], mut answer: Answer) -> Answer {
        let Answer::Settle(outcomes) = &mut answer else {
            return answer;
        };
        for (settlement, outcome) in settlements.iter().zip(outcomes) {
            let Next::Final { state, .. } = settlement.next else {
                continue;
            };
            let task_id = &settlement.fence.task_id;
            let wins = |task: &Task| task.state.is_final() || self.broken == Some(Guard::StaleToken);
            if *outcome == SettleOutcome::Fenced
                && let Some(task) = task(store, task_id).filter(wins)
            {
                let task = Task { state, ..task };
                self.overwritten.insert(task_id.clone(), task);
                *outcome = SettleOutcome::Settled {
                    state,
                    gates: Vec::new(),
                };
            }
        }
        answer
    }
}

/// The call as it reaches a store without the guard.
fn altered(broken: Guard, store: &MemoryStore, call: Call) -> Call {
    match (broken, call) {
        (Guard::StaleToken, Call::Settle(mut settlements, time)) => {
            for settlement in &mut settlements {
                refresh(store, &mut settlement.fence);
            }
            Call::Settle(settlements, time)
        }
        (Guard::StaleToken, Call::Start(mut starts)) => {
            for start in &mut starts {
                refresh(store, &mut start.fence);
            }
            Call::Start(starts)
        }
        (Guard::StaleToken, Call::Save(mut updates)) => {
            for update in &mut updates {
                refresh(store, &mut update.fence);
            }
            Call::Save(updates)
        }
        (Guard::JobVersion, Call::Fire(fires)) => {
            Call::Fire(fires.into_iter().map(|fire| as_if_current(store, fire)).collect())
        }
        (Guard::JobVersion, Call::PutJobs(mut jobs)) => {
            jobs.iter_mut().for_each(|job| job.expected = Expected::Any);
            Call::PutJobs(jobs)
        }
        (Guard::JobVersion, Call::PauseJobs(mut jobs)) => {
            jobs.iter_mut().for_each(|job| job.expected = Expected::Any);
            Call::PauseJobs(jobs)
        }
        (Guard::RetryCount, Call::Settle(mut settlements, time)) => {
            for settlement in &mut settlements {
                if let Next::Retry { due_time } = settlement.next {
                    settlement.next = Next::Again { due_time };
                }
            }
            Call::Settle(settlements, time)
        }
        (Guard::ClaimCount, Call::Claim(request)) => Call::Claim(ClaimRequest {
            max_held: None,
            ..request
        }),
        (Guard::Decisions, Call::Fire(mut fires)) => {
            fires.iter_mut().for_each(|fire| fire.decisions.clear());
            Call::Fire(fires)
        }
        (_, Call::Insert(mut tasks, time)) => {
            tasks.iter_mut().for_each(|task| without(broken, task));
            Call::Insert(tasks, time)
        }
        (_, Call::Fire(mut fires)) => {
            let tasks = fires.iter_mut().flat_map(|fire| &mut fire.tasks);
            tasks.for_each(|task| without(broken, task));
            Call::Fire(fires)
        }
        (_, call) => call,
    }
}

/// A new task as a store without the guard takes it.
fn without(broken: Guard, task: &mut NewTask) {
    if broken == Guard::UniqueKey {
        task.unique_key = None;
    }
    for gate in &mut task.gates {
        match broken {
            // Who counts outside the lock misses one that passes at the same moment.
            Guard::GateLock => gate.policy.max_live = gate.policy.max_live.map(|most| most + 1),
            Guard::OverlapLock => gate.policy.overlap = OverlapPolicy::Allow,
            Guard::RateLock => gate.policy.rate = None,
            _ => {}
        }
    }
}

/// The answer of a store without the guard.
fn answered(broken: Guard, store: &MemoryStore, mut answer: Answer) -> Answer {
    match (&mut answer, broken) {
        (Answer::Heartbeat(outcomes), _) => {
            for outcome in outcomes {
                match (broken, &mut *outcome) {
                    (Guard::HeartbeatAlive, HeartbeatOutcome::Dead)
                    | (Guard::Superseded, HeartbeatOutcome::Superseded) => {
                        let now = now(store.now()).unwrap_or(jobcore::Timestamp::EPOCH);
                        *outcome = HeartbeatOutcome::Alive(Alive {
                            now,
                            status: ExecutorStatus::Online,
                            cancel: Vec::new(),
                            unnamed: Vec::new(),
                            lost: Vec::new(),
                        });
                    }
                    (Guard::Unnamed, HeartbeatOutcome::Alive(alive)) => alive.unnamed.clear(),
                    _ => {}
                }
            }
        }
        (Answer::Claim(ClaimOutcome::Claimed(lease)), Guard::Quarantine) => {
            lease
                .tasks
                .iter_mut()
                .for_each(|claimed| claimed.task.orphanings = 0);
        }
        (Answer::Settle(outcomes), Guard::DedupReports) => {
            for outcome in outcomes
                .iter_mut()
                .filter(|outcome| **outcome == SettleOutcome::AlreadySettled)
            {
                *outcome = SettleOutcome::Settled {
                    state: TaskState::Succeeded,
                    gates: Vec::new(),
                };
            }
        }
        (Answer::Claim(ClaimOutcome::Claimed(lease)), Guard::TokenOrder) => lease.token.0 -= 1,
        _ => {}
    }
    answer
}

fn task(store: &MemoryStore, task_id: &TaskId) -> Option<Task> {
    let found = now(store.get_tasks(std::slice::from_ref(task_id)));
    found.ok()?.pop().flatten()
}

/// Whatever the fence said, it is the present one now.
fn refresh(store: &MemoryStore, fence: &mut Fence) {
    if let Some(task) = task(store, &fence.task_id)
        && task.state.is_held()
        && let Some(holder) = task.holder
    {
        (fence.token, fence.attempt, fence.holder) = (task.token, task.attempt, holder);
    }
}

fn as_if_current(store: &MemoryStore, fire: Fire) -> Fire {
    let job = now(store.get_jobs(std::slice::from_ref(&fire.job_id)));
    match job.ok().and_then(|mut jobs| jobs.pop().flatten()) {
        Some(job) => Fire {
            version: job.version,
            expected_next_fire_time: job.next_fire_time,
            ..fire
        },
        None => fire,
    }
}

/// The schedules are advanced, and the process dies before the tasks are inserted.
fn part_of_fires(store: &MemoryStore, mut fires: Vec<Fire>) -> Result<Answer> {
    for fire in &mut fires {
        fire.tasks.clear();
        fire.decisions.clear();
    }
    carry_out(store, Call::Fire(fires))?;
    Err(Error::new(
        ErrorKind::Indeterminate,
        "died between two transactions",
    ))
}

/// Waiting tasks are cancelled; the requests to held ones are lost.
fn forget_requests(store: &MemoryStore, mut request: CancelTasks) -> Result<Answer> {
    let live = now(store.list_tasks(&TaskFilter::default(), &PageRequest::first(MAX_BATCH)))?;
    let (held, waiting): (Vec<Task>, Vec<Task>) =
        live.items.into_iter().partition(|task| task.state.is_held());
    let wanted = |task: &Task| match &request.which {
        CancelWhich::Tasks(tasks) => tasks.contains(&task.task_id),
        CancelWhich::Job(job_id) => task.job_id == *job_id,
    };
    let requested: Vec<TaskId> = held
        .iter()
        .filter(|task| wanted(task))
        .map(|task| task.task_id.clone())
        .collect();
    let waiting = waiting
        .iter()
        .filter(|task| wanted(task))
        .map(|task| task.task_id.clone());
    request.which = CancelWhich::Tasks(waiting.collect());
    let mut answer = carry_out(store, Call::Cancel(request))?;
    if let Answer::Cancel(cancelled) = &mut answer {
        cancelled.requested.extend(requested);
    }
    Ok(answer)
}

/// Declares dead whoever isn't spared, whenever it was heard of.
fn expire_all(store: &MemoryStore, request: &ExpireExecutors) -> Result<Answer> {
    let mut dead = Vec::new();
    for executor in now(store.list_executors(&ExecutorFilter::default()))? {
        if executor.status == ExecutorStatus::Offline || request.spare.contains(&executor.executor_id) {
            continue;
        }
        let holder = Holder {
            executor_id: executor.executor_id,
            incarnation: executor.incarnation,
        };
        let _ = now(store.set_executor_status(SetExecutorStatus::Leave(holder.clone())))?;
        dead.push(holder);
    }
    Ok(Answer::Expire(dead))
}

/// A task that another holds in a lane that is claimed from.
fn held_by_others(store: &MemoryStore, request: &ClaimRequest) -> Option<jobcore::lease::ClaimedTask> {
    let held = TaskFilter {
        states: vec![TaskState::Leased, TaskState::Running],
        ..TaskFilter::default()
    };
    let found = now(store.list_tasks(&held, &PageRequest::first(MAX_BATCH))).ok()?;
    let task = found
        .items
        .into_iter()
        .find(|task| request.lanes.contains(&task.lane) && task.holder.as_ref() != Some(&request.holder))?;
    let job = now(store.get_jobs(std::slice::from_ref(&task.job_id)));
    let job = job.ok()?.pop().flatten()?;
    Some(jobcore::lease::ClaimedTask { task, job })
}
