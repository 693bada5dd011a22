//! Changes of jobs with what follows from them: fires with their tasks and decisions, and the log of changes.

use super::state::State;
use crate::store::{DeleteJob, DeleteJobOutcome, Fire, FireOutcome, PauseJob, PutJob, PutJobOutcome};
use crate::time::Timestamp;

impl State {
    pub(super) fn put_job(&mut self, put: PutJob) -> PutJobOutcome {
        let now = put.now;
        let outcome = self.jobs.put(put);
        self.note(&outcome, now);
        outcome
    }

    pub(super) fn pause_job(&mut self, pause: PauseJob) -> PutJobOutcome {
        let now = pause.now;
        let outcome = self.jobs.pause(pause);
        self.note(&outcome, now);
        outcome
    }

    pub(super) fn delete_job(&mut self, delete: &DeleteJob, now: Timestamp) -> DeleteJobOutcome {
        let outcome = self.jobs.delete(delete);
        if outcome == DeleteJobOutcome::Deleted {
            self.history.change_job(delete.job_id.clone(), None, now);
        }
        outcome
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
        let holds = self.jobs.get(&fire.job_id).is_some_and(|job| {
            !job.paused && job.version == fire.version && job.next_fire_time == fire.expected_next_fire_time
        });
        if !holds {
            return FireOutcome::Conflict;
        }
        let (next_fire_time, last_fire_time) = (fire.next_fire_time, fire.last_fire_time);
        let (zone_version, error) = (fire.zone_version, fire.error);
        self.jobs.update(&fire.job_id, |job| {
            job.next_fire_time = next_fire_time;
            job.last_fire_time = last_fire_time.or(job.last_fire_time);
            if job.zone_version != zone_version {
                job.zone_version = zone_version;
            }
            job.error = error;
        });
        for task in fire.tasks {
            let _ = self.insert_tasks(vec![task], fire.now);
        }
        for decision in fire.decisions {
            self.history.decisions.push(decision);
        }
        FireOutcome::Fired
    }
}
