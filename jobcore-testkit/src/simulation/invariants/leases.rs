//! At most one live lease per task, and a task's tokens increase.

use std::collections::{BTreeSet, HashMap};

use jobcore::id::{ClaimId, TaskId};
use jobcore::lease::{FencingToken, Holder, Lease};
use jobcore::store::{ClaimOutcome, ClaimRequest};
use jobcore::task::TaskState;

use super::super::call::{Answer, Call};
use super::{AttemptEvent, AttemptEventKind, Invariant, Mirror, Step, ensure};

#[derive(Default)]
pub(super) struct Leases {
    claims: HashMap<FencingToken, (ClaimId, Holder)>,
    begun: BTreeSet<(TaskId, FencingToken)>,
}

impl Invariant for Leases {
    fn name(&self) -> &'static str {
        "at most one live lease per task, with increasing tokens"
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        for change in step.changes {
            let after = &change.after;
            let Some(before) = &change.before else {
                ensure!(!after.state.is_held(), "a new task is held: {after:?}");
                continue;
            };
            ensure!(
                after.token >= before.token,
                "the token went back from {} to {}: {after:?}",
                before.token,
                after.token
            );
            let renamed = after.state.is_held() && (after.token != before.token || !before.state.is_held());
            ensure!(
                !renamed || matches!(step.call, Call::Claim(_)),
                "a lease began without a claim: {before:?} became {after:?}"
            );
        }
        match (step.call, step.answer) {
            (Call::Claim(request), Ok(Answer::Claim(ClaimOutcome::Claimed(lease)))) => {
                self.claimed(step, request, lease)
            }
            _ => Ok(()),
        }
    }

    fn attempt(&mut self, event: &AttemptEvent, _: &Mirror) -> Result<(), String> {
        if event.kind != AttemptEventKind::Began {
            return Ok(());
        }
        let holder = self.claims.get(&event.token).map(|(_, holder)| holder);
        ensure!(
            holder == Some(&event.holder),
            "an attempt began under a lease that was given to {holder:?}: {event:?}"
        );
        let first = self.begun.insert((event.task_id.clone(), event.token));
        ensure!(first, "an attempt began twice under one lease: {event:?}");
        Ok(())
    }
}

impl Leases {
    fn claimed(&mut self, step: &Step<'_>, request: &ClaimRequest, lease: &Lease) -> Result<(), String> {
        let claim = (request.claim_id, request.holder.clone());
        let first = self.claims.entry(lease.token).or_insert_with(|| claim.clone());
        ensure!(*first == claim, "token {} was given to two claims", lease.token);
        ensure!(!lease.tasks.is_empty(), "an empty lease");
        if let Some(most) = request.max_held.filter(|_| !request.replay) {
            let held = step.mirror.live.values();
            let held = held.filter(|task| task.holder.as_ref() == Some(&request.holder));
            let held = held.count();
            ensure!(
                held <= most,
                "{held} tasks are held by {:?}, which may hold {most}",
                request.holder
            );
        }
        for claimed in &lease.tasks {
            let task_id = &claimed.task.task_id;
            let Some(after) = step.after(task_id) else {
                return Err(format!("claimed task {task_id} doesn't exist"));
            };
            ensure!(
                after.state.is_held()
                    && after.token == lease.token
                    && after.holder.as_ref() == Some(&request.holder),
                "the lease says token {} for {:?}, the task: {after:?}",
                lease.token,
                request.holder
            );
            ensure!(
                claimed.task.attempt == after.attempt,
                "the lease names another attempt than {after:?}"
            );
            let Some(before) = step.before(task_id) else {
                return Err(format!("task {task_id} was made by a claim"));
            };
            if request.replay && before.token == lease.token {
                continue;
            }
            ensure!(
                before.state == TaskState::Ready,
                "claimed while it was not ready: {before:?}"
            );
            ensure!(
                before.token < after.token,
                "claimed under an old token: {after:?}"
            );
            ensure!(
                after.attempt == before.attempt + 1,
                "the claim counts attempts wrongly: {before:?} became {after:?}"
            );
        }
        Ok(())
    }
}
