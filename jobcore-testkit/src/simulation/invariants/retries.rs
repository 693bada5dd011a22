//! Attempts that failed are at most one more than the retries allowed.

use std::collections::HashMap;

use jobcore::id::{JobId, TaskId};
use jobcore::store::{Next, SettleOutcome};

use super::super::call::{Answer, Call};
use super::{Invariant, Step, ensure};

#[derive(Default)]
pub(super) struct Retries {
    /// The most retries that any version of a job allowed.
    allowed: HashMap<JobId, u32>,
    retried: HashMap<TaskId, u32>,
}

impl Invariant for Retries {
    fn name(&self) -> &'static str {
        "attempts stay within their number"
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), String> {
        for job in step.jobs.iter().filter_map(|change| change.after.as_ref()) {
            let allowed = self.allowed.entry(job.job_id.clone()).or_default();
            *allowed = job.definition.retry.retry_count.max(*allowed);
        }
        let (Call::Settle(settlements, _), Ok(Answer::Settle(outcomes))) = (step.call, step.answer) else {
            return Ok(());
        };
        for (settlement, outcome) in settlements.iter().zip(outcomes) {
            let SettleOutcome::Settled { state, .. } = outcome else {
                continue;
            };
            if !matches!(settlement.next, Next::Retry { .. }) || state.is_final() {
                continue;
            }
            let Some(task) = step.after(&settlement.fence.task_id) else {
                continue;
            };
            let retried = self.retried.entry(task.task_id.clone()).or_default();
            *retried += 1;
            let allowed = self.allowed.get(&task.job_id).copied().unwrap_or(0);
            ensure!(
                *retried <= allowed,
                "{retried} retries, {allowed} are allowed: {task:?}"
            );
            ensure!(
                task.failures == *retried,
                "failed {retried} times, counted otherwise: {task:?}"
            );
        }
        Ok(())
    }
}
