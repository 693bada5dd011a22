//! Changes of jobs with what follows from them: fires with their tasks and decisions, and the log of changes.

use std::collections::HashSet;

use super::state::State;
use crate::id::JobId;
use crate::store::{DeleteJob, DeleteJobOutcome, Fire, FireOutcome, PauseJob, PutJob, PutJobOutcome};
use crate::time::Timestamp;

impl State {
    pub(super) fn put_job(&mut self, put: PutJob) -> PutJobOutcome {
        let now = put.now;
        let outcome = self.jobs.put(put);
        if let PutJobOutcome::Created(job) = &outcome {
            self.jobless.remove(&job.job_id);
        }
        self.note(&outcome, now);
        outcome
    }

    pub(super) fn pause_job(&mut self, pause: PauseJob) -> PutJobOutcome {
        let now = pause.now;
        let outcome = self.jobs.pause(pause);
        self.note(&outcome, now);
        outcome
    }

    pub(super) fn delete_jobs(&mut self, jobs: &[DeleteJob], now: Timestamp) -> Vec<DeleteJobOutcome> {
        let outcomes: Vec<DeleteJobOutcome> = jobs.iter().map(|delete| self.jobs.delete(delete)).collect();
        let mut gone: HashSet<&JobId> = HashSet::new();
        for (delete, outcome) in jobs.iter().zip(&outcomes) {
            if *outcome == DeleteJobOutcome::Deleted {
                gone.insert(&delete.job_id);
                self.history.change_job(delete.job_id.clone(), None, now);
            }
        }
        // One look at all tasks for a whole batch: deleting is rare.
        let gated = self.tasks.live().filter(|(_, task)| task.is_gated());
        for (_, task) in gated.filter(|(_, task)| gone.contains(&task.job_id)) {
            *self.jobless.entry(task.job_id.clone()).or_default() += 1;
        }
        outcomes
    }

    fn note(&mut self, outcome: &PutJobOutcome, now: Timestamp) {
        if let PutJobOutcome::Created(job) | PutJobOutcome::Updated(job) = outcome {
            self.history
                .change_job(job.job_id.clone(), Some(job.version), now);
        }
    }

    pub(super) fn fire(&mut self, fires: Vec<Fire>) -> Vec<FireOutcome> {
        fires.into_iter().map(|fire| self.fire_one(fire)).collect()
    }

    fn fire_one(&mut self, fire: Fire) -> FireOutcome {
        if !self.jobs.advance(&fire) {
            return FireOutcome::Conflict;
        }
        for task in fire.tasks {
            let _ = self.insert_tasks(vec![task], fire.now);
        }
        for decision in fire.decisions {
            self.history.decisions.push(decision);
        }
        FireOutcome::Fired
    }
}
