//! Jobs: put, pause, delete, get, list.

use std::sync::Arc;

use jobcore::Timestamp;
use jobcore::id::JobId;
use jobcore::job::{Job, JobDefinition};
use jobcore::store::{
    DeleteJob, DeleteJobOutcome, Expected, JobFilter, Page, PageRequest, PauseJob, PauseState, PutJob,
    PutJobOutcome,
};

use super::listing::{page, row_limit};
use super::rows::json_list;
use super::stored_job::{decode, expression_of, job_columns, jobs_by_id};
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
        let mut outcomes = Vec::with_capacity(self.0.len());
        let mut known = jobs_by_id(cx, self.0.iter().map(|put| put.job_id.clone()).collect()).await?;
        for put in &self.0 {
            let outcome = put_job(cx, put, known.get(&put.job_id)).await?;
            if let PutJobOutcome::Created(job) | PutJobOutcome::Updated(job) = &outcome {
                known.insert(job.job_id.clone(), Arc::clone(job));
                cx.caches.keep_job(Arc::clone(job));
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }
}

async fn put_job(cx: &mut Cx<'_>, put: &PutJob, before: Option<&Arc<Job>>) -> Result<PutJobOutcome> {
    let Some(before) = before else {
        return match put.expected {
            Expected::Version(_) => Ok(PutJobOutcome::NotFound),
            Expected::Any | Expected::Absent => create_job(cx, put).await,
        };
    };
    match put.expected {
        Expected::Any if before.definition == put.definition && before.error.is_none() => {
            Ok(PutJobOutcome::Unchanged(Arc::clone(before)))
        }
        Expected::Any => update_job(cx, put, before).await,
        Expected::Version(version) if version == before.version => update_job(cx, put, before).await,
        Expected::Version(_) | Expected::Absent => Ok(PutJobOutcome::VersionConflict {
            current: before.version,
        }),
    }
}

async fn create_job(cx: &mut Cx<'_>, put: &PutJob) -> Result<PutJobOutcome> {
    let job = Job {
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
    };
    write_job(cx, &job).await?;
    Ok(PutJobOutcome::Created(Arc::new(job)))
}

async fn update_job(cx: &mut Cx<'_>, put: &PutJob, before: &Job) -> Result<PutJobOutcome> {
    let job = Job {
        definition: put.definition.clone(),
        version: before.version + 1,
        next_fire_time: put.next_fire_time.filter(|_| !before.paused),
        zone_version: put.zone_version.clone(),
        error: None,
        update_time: put.now,
        ..before.clone()
    };
    write_job(cx, &job).await?;
    Ok(PutJobOutcome::Updated(Arc::new(job)))
}

/// Writes a whole job, and that it changed. A new job is inserted, another updated, so that its row keeps its place and
/// the trigger for changes by hand sees the version rise.
async fn write_job(cx: &mut Cx<'_>, job: &Job) -> Result<()> {
    let upsert = "INSERT INTO jobs (job_id, name, command, type, priority, cron_expression, timeout, retry_count, \
                  retry_interval, create_time, update_time, definition, scheduled, by_hand, paused, version, \
                  next_fire_time, last_fire_time, zone_version, error) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, 0, ?14, ?15, ?16, ?17, ?18, ?19) \
                  ON CONFLICT (job_id) DO UPDATE SET name = ?2, command = ?3, type = ?4, priority = ?5, \
                  cron_expression = ?6, timeout = ?7, retry_count = ?8, retry_interval = ?9, update_time = ?11, \
                  definition = ?12, scheduled = ?13, by_hand = 0, paused = ?14, version = ?15, next_fire_time = ?16, \
                  last_fire_time = ?17, zone_version = ?18, error = ?19";
    let definition: &JobDefinition = &job.definition;
    let seconds = |duration: std::time::Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    sqlx::query(upsert)
        .bind(job.job_id.as_str().to_owned())
        .bind(definition.name.clone())
        .bind(definition.command.command.clone())
        .bind(i64::from(definition.command.kind.code()))
        .bind(definition.priority)
        .bind(expression_of(definition))
        .bind(definition.timeout.map_or(0, seconds))
        .bind(i64::from(definition.retry.retry_count))
        .bind(seconds(definition.retry.retry_interval))
        .bind(job.create_time.as_micros())
        .bind(job.update_time.as_micros())
        .bind(serde_json::to_string(definition).map_err(Failure::corrupt)?)
        .bind(definition.schedule.is_some())
        .bind(job.paused)
        .bind(i64::try_from(job.version).unwrap_or(i64::MAX))
        .bind(job.next_fire_time.map(Timestamp::as_micros))
        .bind(job.last_fire_time.map(Timestamp::as_micros))
        .bind(job.zone_version.clone())
        .bind(job.error.clone())
        .execute(&mut *cx.sql)
        .await?;
    record_change(cx, &job.job_id, Some(job.version), job.update_time).await
}

/// Records that a job changed, for those who follow along.
async fn record_change(cx: &mut Cx<'_>, job_id: &JobId, version: Option<u64>, now: Timestamp) -> Result<()> {
    let insert = "INSERT INTO job_changes (job_id, version, after_log_id, change_time) VALUES (?1, ?2, \
                  coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'job_logs'), 0), ?3)";
    sqlx::query(insert)
        .bind(job_id.as_str().to_owned())
        .bind(version.map(|version| i64::try_from(version).unwrap_or(i64::MAX)))
        .bind(now.as_micros())
        .execute(&mut *cx.sql)
        .await?;
    Ok(())
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
    record_change(cx, &job.job_id, Some(job.version), job.update_time).await?;
    Ok(PutJobOutcome::Updated(Arc::new(job)))
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
    let now = cx.store_now;
    record_change(cx, &delete.job_id, None, now).await?;
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
