//! Jobs: put, pause, delete, get, list.

use std::sync::Arc;

use jobcore::Timestamp;
use jobcore::id::JobId;
use jobcore::job::Job;
use jobcore::store::{
    DeleteJob, DeleteJobOutcome, Expected, JobFilter, Page, PageRequest, PauseJob, PauseState, PutJob,
    PutJobOutcome,
};

use super::listing::{page, row_limit};
use super::rows::json_list;
use super::stored_job::{JobChange, decode, job_columns, jobs_by_id, record_changes, write_jobs};
use crate::connection::{Cx, Operation};
use crate::error::{Failure, Result};

/// Creates and changes jobs.
#[derive(Debug)]
pub(crate) struct PutJobs(pub(crate) Vec<PutJob>);

#[async_trait::async_trait]
impl Operation for PutJobs {
    type Answer = Vec<PutJobOutcome>;
    const NAME: &'static str = "put_jobs";

    fn weight(&self) -> usize {
        self.0.len()
    }

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut known = jobs_by_id(cx, self.0.iter().map(|put| put.job_id.clone()).collect()).await?;
        let mut outcomes = Vec::with_capacity(self.0.len());
        let mut written = Vec::new();
        for put in &self.0 {
            let outcome = put_job(put, known.get(&put.job_id));
            if let PutJobOutcome::Created(job) | PutJobOutcome::Updated(job) = &outcome {
                known.insert(job.job_id.clone(), Arc::clone(job));
                written.push(Arc::clone(job));
            }
            outcomes.push(outcome);
        }
        write_jobs(cx, &written).await?;
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

    fn weight(&self) -> usize {
        self.0.len()
    }

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut outcomes = Vec::with_capacity(self.0.len());
        for pause in &self.0 {
            outcomes.push(pause_job(cx, pause).await?);
        }
        Ok(outcomes)
    }
}

async fn pause_job(cx: &mut Cx<'_>, pause: &PauseJob) -> Result<PutJobOutcome> {
    let known = jobs_by_id(cx, [pause.job_id.clone()].into()).await?;
    let Some(before) = known.get(&pause.job_id) else {
        return Ok(PutJobOutcome::NotFound);
    };
    let expected = match pause.expected {
        Expected::Any => true,
        Expected::Version(version) => version == before.version,
        Expected::Absent => false,
    };
    if !expected {
        return Ok(PutJobOutcome::VersionConflict {
            current: before.version,
        });
    }
    let paused = pause.to == PauseState::Paused;
    if before.paused == paused {
        return Ok(PutJobOutcome::Unchanged(Arc::clone(before)));
    }
    let job = Job {
        paused,
        version: before.version + 1,
        next_fire_time: pause.next_fire_time.filter(|_| !paused),
        update_time: pause.now,
        ..(**before).clone()
    };
    let update =
        "UPDATE jobs SET paused = ?2, version = ?3, next_fire_time = ?4, update_time = ?5 WHERE job_id = ?1";
    sqlx::query(update)
        .bind(job.job_id.as_str().to_owned())
        .bind(job.paused)
        .bind(i64::try_from(job.version).unwrap_or(i64::MAX))
        .bind(job.next_fire_time.map(Timestamp::as_micros))
        .bind(job.update_time.as_micros())
        .execute(&mut *cx.sql)
        .await?;
    record_changes(cx, &[JobChange::of(&job)]).await?;
    let job = Arc::new(job);
    cx.caches.keep_job(Arc::clone(&job));
    Ok(PutJobOutcome::Updated(job))
}

/// Deletes jobs.
#[derive(Debug)]
pub(crate) struct DeleteJobs(pub(crate) Vec<DeleteJob>);

#[async_trait::async_trait]
impl Operation for DeleteJobs {
    type Answer = Vec<DeleteJobOutcome>;
    const NAME: &'static str = "delete_jobs";

    fn weight(&self) -> usize {
        self.0.len()
    }

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut outcomes = Vec::with_capacity(self.0.len());
        for delete in &self.0 {
            outcomes.push(delete_job(cx, delete).await?);
        }
        Ok(outcomes)
    }
}

async fn delete_job(cx: &mut Cx<'_>, delete: &DeleteJob) -> Result<DeleteJobOutcome> {
    let job_id = delete.job_id.as_str();
    let select = "SELECT version FROM jobs WHERE job_id = ?1";
    let current: Option<i64> = sqlx::query_scalar(select)
        .bind(job_id.to_owned())
        .fetch_optional(&mut *cx.sql)
        .await?;
    let Some(current) = current else {
        return Ok(DeleteJobOutcome::NotFound);
    };
    let current = u64::try_from(current).unwrap_or(0);
    match delete.expected {
        Expected::Any => {}
        Expected::Version(version) if version == current => {}
        Expected::Version(_) | Expected::Absent => return Ok(DeleteJobOutcome::VersionConflict { current }),
    }
    sqlx::query("DELETE FROM jobs WHERE job_id = ?1")
        .bind(job_id.to_owned())
        .execute(&mut *cx.sql)
        .await?;
    cx.caches.forget_job(&delete.job_id);
    let change = JobChange {
        job_id: delete.job_id.clone(),
        version: None,
        change_time: cx.store_now,
    };
    record_changes(cx, &[change]).await?;
    Ok(DeleteJobOutcome::Deleted)
}

/// The jobs with these ids.
#[derive(Debug)]
pub(crate) struct GetJobs(pub(crate) Vec<JobId>);

#[async_trait::async_trait]
impl Operation for GetJobs {
    type Answer = Vec<Option<Arc<Job>>>;
    const NAME: &'static str = "get_jobs";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let select = concat!(
            "SELECT ",
            job_columns!(),
            " FROM jobs WHERE job_id IN (SELECT value FROM json_each(?1))"
        );
        let list = json_list(self.0.iter().map(JobId::as_str));
        let rows = sqlx::query(select).bind(list).fetch_all(&mut *cx.sql).await?;
        let jobs: Vec<Arc<Job>> = rows
            .iter()
            .map(|row| decode(row).map(Arc::new))
            .collect::<Result<_>>()?;
        let by_id: std::collections::HashMap<&JobId, &Arc<Job>> =
            jobs.iter().map(|job| (&job.job_id, job)).collect();
        Ok(self
            .0
            .iter()
            .map(|job_id| by_id.get(job_id).map(|job| Arc::clone(job)))
            .collect())
    }
}

/// Jobs that match a filter.
#[derive(Debug)]
pub(crate) struct ListJobs {
    pub(crate) filter: JobFilter,
    pub(crate) page: PageRequest,
}

#[async_trait::async_trait]
impl Operation for ListJobs {
    type Answer = Page<Arc<Job>>;
    const NAME: &'static str = "list_jobs";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let select = concat!(
            "SELECT ",
            job_columns!(),
            " FROM jobs WHERE job_id > ?1 \
             AND (?2 IS NULL OR instr(lower(name), lower(?2)) OR instr(lower(job_id), lower(?2))) \
             AND (?3 IS NULL OR type = ?3) \
             AND (?4 IS NULL OR definition ->> '$.owner' = ?4) \
             AND (?5 IS NULL OR paused = ?5) \
             AND NOT EXISTS (SELECT 1 FROM json_each(?6) l \
                             WHERE coalesce((SELECT d.value FROM json_each(definition, '$.labels') d \
                                             WHERE d.key = l.value ->> 0), '') <> l.value ->> 1) \
             ORDER BY job_id LIMIT ?7"
        );
        let filter = &self.filter;
        let rows = sqlx::query(select)
            .bind(
                self.page
                    .cursor
                    .as_ref()
                    .map_or(String::new(), |cursor| cursor.0.clone()),
            )
            .bind(filter.text.clone())
            .bind(filter.kind.map(|kind| i64::from(kind.code())))
            .bind(filter.owner.clone())
            .bind(filter.pause.map(|pause| pause == PauseState::Paused))
            .bind(serde_json::to_string(&filter.labels).map_err(Failure::corrupt)?)
            .bind(row_limit(self.page.limit))
            .fetch_all(&mut *cx.sql)
            .await?;
        let jobs = rows
            .iter()
            .map(|row| decode(row).map(Arc::new))
            .collect::<Result<Vec<_>>>()?;
        Ok(page(jobs, self.page.limit, |job| job.job_id.as_str().to_owned()))
    }
}
