//! Jobs: put, pause, delete, get.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use jobcore::id::JobId;
use jobcore::job::Job;
use jobcore::store::{DeleteJob, DeleteJobOutcome, Expected, PauseJob, PauseState, PutJob, PutJobOutcome};

use super::columns::{datetime, maybe_datetime, number};
pub(crate) use super::job_list::ListJobs;
use super::rows::{Bound, RowStatement};
use super::stored_job::{
    JobChange, error_text, insert_jobs, jobs_by_id, lock_jobs, lock_stamps, record_changes, replace_jobs,
};
use crate::connection::{Access, Cx, Operation};
use crate::error::Result;

/// Creates and changes jobs.
#[derive(Debug)]
pub(crate) struct PutJobs(pub(crate) Vec<PutJob>);

#[async_trait::async_trait]
impl Operation for PutJobs {
    type Answer = Vec<PutJobOutcome>;
    const NAME: &'static str = "put_jobs";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut known = lock_jobs(cx, self.0.iter().map(|put| &put.job_id)).await?;
        let existing: HashSet<JobId> = known.keys().cloned().collect();
        let mut outcomes = Vec::with_capacity(self.0.len());
        let mut written = BTreeMap::new();
        let mut changes = Vec::new();
        for put in &self.0 {
            let outcome = put_job(put, known.get(&put.job_id));
            if let PutJobOutcome::Created(job) | PutJobOutcome::Updated(job) = &outcome {
                known.insert(job.job_id.clone(), Arc::clone(job));
                written.insert(job.job_id.clone(), Arc::clone(job));
                changes.push(JobChange::of(job));
            }
            outcomes.push(outcome);
        }
        let (changed, created): (Vec<Arc<Job>>, Vec<Arc<Job>>) = written
            .into_values()
            .partition(|job| existing.contains(&job.job_id));
        // Whoever made one of them meanwhile makes this fail, and the next look sees it.
        insert_jobs(cx, &created).await?;
        replace_jobs(cx, &changed).await?;
        record_changes(cx, &changes).await?;
        Ok(outcomes)
    }
}

/// What a put makes of the job that is there.
fn put_job(put: &PutJob, before: Option<&Arc<Job>>) -> PutJobOutcome {
    let Some(before) = before else {
        return match put.expected {
            Expected::Version(_) => PutJobOutcome::NotFound,
            Expected::Any | Expected::Absent => PutJobOutcome::Created(Arc::new(new_job(put))),
        };
    };
    match put.expected {
        Expected::Any if before.definition == put.definition && before.error.is_none() => {
            PutJobOutcome::Unchanged(Arc::clone(before))
        }
        Expected::Any => PutJobOutcome::Updated(Arc::new(changed_job(put, before))),
        Expected::Version(version) if version == before.version => {
            PutJobOutcome::Updated(Arc::new(changed_job(put, before)))
        }
        Expected::Version(_) | Expected::Absent => PutJobOutcome::VersionConflict {
            current: before.version,
        },
    }
}

fn new_job(put: &PutJob) -> Job {
    Job {
        job_id: put.job_id.clone(),
        definition: put.definition.clone(),
        paused: false,
        version: 1,
        next_fire_time: put.next_fire_time,
        last_fire_time: None,
        zone_version: put.zone_version.clone(),
        error: None,
        create_time: put.now,
        update_time: put.now,
    }
}

fn changed_job(put: &PutJob, before: &Job) -> Job {
    Job {
        definition: put.definition.clone(),
        version: before.version + 1,
        next_fire_time: put.next_fire_time.filter(|_| !before.paused),
        zone_version: put.zone_version.clone(),
        error: None,
        update_time: put.now,
        ..before.clone()
    }
}

/// Pauses and resumes jobs.
#[derive(Debug)]
pub(crate) struct PauseJobs(pub(crate) Vec<PauseJob>);

#[async_trait::async_trait]
impl Operation for PauseJobs {
    type Answer = Vec<PutJobOutcome>;
    const NAME: &'static str = "pause_jobs";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut known = lock_jobs(cx, self.0.iter().map(|pause| &pause.job_id)).await?;
        let mut outcomes = Vec::with_capacity(self.0.len());
        let mut written = BTreeMap::new();
        let mut changes = Vec::new();
        for pause in &self.0 {
            let outcome = pause_job(pause, &known);
            if let PutJobOutcome::Updated(job) = &outcome {
                known.insert(job.job_id.clone(), Arc::clone(job));
                written.insert(job.job_id.clone(), Arc::clone(job));
                changes.push(JobChange::of(job));
            }
            outcomes.push(outcome);
        }
        write_pauses(cx, written.into_values().collect()).await?;
        record_changes(cx, &changes).await?;
        Ok(outcomes)
    }
}

/// What a pause or resume makes of a job.
fn pause_job(pause: &PauseJob, known: &HashMap<JobId, Arc<Job>>) -> PutJobOutcome {
    let Some(before) = known.get(&pause.job_id) else {
        return PutJobOutcome::NotFound;
    };
    if !is_expected(pause.expected, before.version) {
        return PutJobOutcome::VersionConflict {
            current: before.version,
        };
    }
    let paused = pause.to == PauseState::Paused;
    if before.paused == paused {
        return PutJobOutcome::Unchanged(Arc::clone(before));
    }
    PutJobOutcome::Updated(Arc::new(Job {
        paused,
        version: before.version + 1,
        next_fire_time: pause.next_fire_time.filter(|_| !paused),
        update_time: pause.now,
        ..Job::clone(before)
    }))
}

fn is_expected(expected: Expected, current: u64) -> bool {
    match expected {
        Expected::Any => true,
        Expected::Version(version) => version == current,
        Expected::Absent => false,
    }
}

/// The rows are there and locked: what is new in them is all that is written. The definition may be one that can't be read.
static WRITE_PAUSES: LazyLock<RowStatement> = LazyLock::new(|| {
    let insert = "INSERT INTO jobs (job_id, name, command, type, paused, version, next_fire_time, zone_version, error, \
                  update_time, known_time) VALUES";
    let on_duplicate = "ON DUPLICATE KEY UPDATE paused = VALUES(paused), version = VALUES(version), \
                        next_fire_time = VALUES(next_fire_time), zone_version = VALUES(zone_version), \
                        error = VALUES(error), update_time = VALUES(update_time), known_time = VALUES(known_time)";
    RowStatement::with_row(insert, "(?,'','',1,?,?,?,?,?,?,?)", on_duplicate)
});

async fn write_pauses(cx: &mut Cx<'_>, jobs: Vec<Arc<Job>>) -> Result<()> {
    let bind = |query: Bound, job: &Arc<Job>| {
        query
            .bind(job.job_id.as_str().to_owned())
            .bind(job.paused)
            .bind(number(job.version))
            .bind(maybe_datetime(job.next_fire_time))
            .bind(job.zone_version.clone())
            .bind(error_text(job.error.as_deref()))
            .bind(datetime(job.update_time))
            .bind(datetime(job.update_time))
    };
    WRITE_PAUSES.execute(cx.sql, &jobs, bind).await?;
    for job in jobs {
        cx.learned.job(job);
    }
    Ok(())
}

/// Deletes jobs.
#[derive(Debug)]
pub(crate) struct DeleteJobs(pub(crate) Vec<DeleteJob>);

static DELETE_JOBS: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::list("DELETE j FROM jobs j FORCE INDEX (PRIMARY) WHERE j.job_id IN", ""));

#[async_trait::async_trait]
impl Operation for DeleteJobs {
    type Answer = Vec<DeleteJobOutcome>;
    const NAME: &'static str = "delete_jobs";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut known = lock_stamps(cx, self.0.iter().map(|delete| &delete.job_id)).await?;
        let mut outcomes = Vec::with_capacity(self.0.len());
        let mut deleted = Vec::new();
        for delete in &self.0 {
            let outcome = match known.get(&delete.job_id).map(|stamp| stamp.version) {
                None => DeleteJobOutcome::NotFound,
                Some(current) if !is_expected(delete.expected, current) => {
                    DeleteJobOutcome::VersionConflict { current }
                }
                Some(_) => {
                    known.remove(&delete.job_id);
                    deleted.push(&delete.job_id);
                    DeleteJobOutcome::Deleted
                }
            };
            outcomes.push(outcome);
        }
        if deleted.is_empty() {
            return Ok(outcomes);
        }
        let now = cx.store_now().await?;
        let change = |job_id: &&JobId| JobChange {
            job_id: JobId::clone(job_id),
            version: None,
            change_time: now,
        };
        let changes: Vec<JobChange> = deleted.iter().map(change).collect();
        let bind = |query: Bound, job_id: &&JobId| query.bind(job_id.as_str().to_owned());
        DELETE_JOBS.execute(cx.sql, &deleted, bind).await?;
        record_changes(cx, &changes).await?;
        Ok(outcomes)
    }
}

/// The jobs with these ids.
#[derive(Debug)]
pub(crate) struct GetJobs(pub(crate) Vec<JobId>);

#[async_trait::async_trait]
impl Operation for GetJobs {
    type Answer = Vec<Option<Arc<Job>>>;
    const NAME: &'static str = "get_jobs";
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let jobs = jobs_by_id(cx, self.0.iter().cloned().collect()).await?;
        Ok(self.0.iter().map(|job_id| jobs.get(job_id).cloned()).collect())
    }
}
