//! Jobs as rows: how they are read, and what is made of rows written by hand.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jobcore::id::JobId;
use jobcore::job::{Command, Job, JobDefinition, JobKind};
use jobcore::{Error, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::columns::{instant, maybe_instant};
use super::rows::{Asked, Bound, RowStatement, json_list};
use crate::connection::Cx;
use crate::error::{Failure, Result};

/// The columns of a job, in the order of [`decode`].
macro_rules! job_columns {
    () => {
        "job_id, version, next_fire_time, last_fire_time, zone_version, error, paused, create_time, update_time, \
         definition, by_hand, name, command, type, priority, cron_expression, timeout, retry_count, retry_interval"
    };
}
pub(crate) use job_columns;

/// Reads a row of [`job_columns`]. A row written by hand that can't be understood carries its error.
pub(crate) fn decode(row: &SqliteRow) -> Result<Job> {
    decode_checked(row).map(|(job, _)| job)
}

/// The same, and whether the row could be understood.
pub(crate) fn decode_checked(row: &SqliteRow) -> Result<(Job, bool)> {
    let by_hand: bool = row.try_get(10)?;
    let mut error: Option<String> = row.try_get(5)?;
    let definition = match row.try_get::<Option<&str>, _>(9)? {
        Some(text) if !by_hand => {
            serde_json::from_str(text).map_err(|error| Error::invalid("definition", error))
        }
        text => columns(row).and_then(|columns| columns.over(text)),
    };
    let is_readable = definition.is_ok();
    let definition = definition.unwrap_or_else(|bad| {
        error = Some(bad.message().to_owned());
        JobDefinition::new(row.try_get::<String, _>(11).unwrap_or_default(), unreadable(row))
    });
    let job = Job {
        job_id: JobId::from_stored(row.try_get::<&str, _>(0)?),
        definition,
        paused: row.try_get(6)?,
        version: row.try_get::<i64, _>(1)?.try_into().unwrap_or(0),
        next_fire_time: maybe_instant(row, 2)?,
        last_fire_time: maybe_instant(row, 3)?,
        zone_version: row.try_get(4)?,
        error,
        create_time: instant(row, 7)?,
        update_time: instant(row, 8)?,
    };
    Ok((job, is_readable))
}

/// Stands for the command of a row that can't be read: a failure that says so, should somebody trigger it.
fn unreadable(row: &SqliteRow) -> Command {
    let command = row.try_get::<String, _>(12).unwrap_or_default();
    let kind = row
        .try_get::<i64, _>(13)
        .ok()
        .and_then(|code| i16::try_from(code).ok());
    let kind = kind
        .and_then(|code| JobKind::from_code(code).ok())
        .unwrap_or(JobKind::Shell);
    Command {
        kind,
        ..Command::shell(command)
    }
}

/// The columns that a person writes.
struct Columns {
    name: String,
    command: String,
    kind: JobKind,
    priority: i64,
    cron_expression: Option<String>,
    timeout: i64,
    retry_count: i64,
    retry_interval: i64,
}

/// Reads what a person wrote. SQLite takes any value in any column, so what doesn't fit is the person's error.
fn columns(row: &SqliteRow) -> Result<Columns, Error> {
    let number = |index: usize, field: &str| {
        let number = row.try_get::<Option<i64>, _>(index);
        number
            .map(Option::unwrap_or_default)
            .map_err(|_| Error::invalid(field, "must be a whole number"))
    };
    let text = |index: usize, field: &str| {
        row.try_get::<Option<String>, _>(index)
            .map_err(|_| Error::invalid(field, "must be text"))
    };
    let kind = number(13, "type")?;
    let kind =
        i16::try_from(kind).map_err(|_| Error::invalid("type", format_args!("{kind} is no job type")))?;
    Ok(Columns {
        name: text(11, "name")?.unwrap_or_default(),
        command: text(12, "command")?.unwrap_or_default(),
        kind: JobKind::from_code(kind)?,
        priority: number(14, "priority")?,
        cron_expression: text(15, "cron_expression")?,
        timeout: number(16, "timeout")?,
        retry_count: number(17, "retry_count")?,
        retry_interval: number(18, "retry_interval")?,
    })
}

impl Columns {
    /// The definition that `text` holds, or an empty one, with what the columns say put over it.
    fn over(self, text: Option<&str>) -> Result<JobDefinition, Error> {
        let mut definition: Value = match text {
            Some(text) => serde_json::from_str(text).map_err(|error| Error::invalid("definition", error))?,
            None => json!({}),
        };
        if !definition.is_object() {
            return Err(Error::invalid("definition", "must be a JSON object, or NULL"));
        }
        if !definition["retry"].is_object() {
            definition["retry"] = json!({});
        }
        definition["name"] = self.name.into();
        definition["command"] = self.command.into();
        definition["type"] = self.kind.as_str().into();
        definition["priority"] = self.priority.into();
        put_seconds(&mut definition["timeout"], self.timeout);
        if self.timeout == 0 {
            definition["timeout"] = Value::Null;
        }
        definition["retry"]["retry_count"] = self.retry_count.into();
        put_seconds(&mut definition["retry"]["retry_interval"], self.retry_interval);
        put_expression(&mut definition, self.cron_expression);
        let definition: JobDefinition =
            serde_json::from_value(definition).map_err(|error| Error::invalid("row", error))?;
        definition.validate()?;
        Ok(definition)
    }
}

/// Puts whole seconds in the place of a duration, unless they are what its column shows of a finer one.
fn put_seconds(duration: &mut Value, seconds: i64) {
    if duration.as_f64().map(|finer| finer.trunc()) != Some(seconds as f64) {
        *duration = seconds.into();
    }
}

/// Puts a cron expression into a definition's schedule, beside the settings that are there.
fn put_expression(definition: &mut Value, expression: Option<String>) {
    let has_cron = definition["schedule"]["cron"] != Value::Null;
    match expression {
        Some(expression) if definition["schedule"]["cron"].is_object() => {
            definition["schedule"]["cron"]["expression"] = expression.into();
        }
        Some(expression) => definition["schedule"] = json!({ "cron": expression }),
        None if has_cron => definition["schedule"] = Value::Null,
        None => {}
    }
}

/// The cron expression of a definition, for the column.
fn expression_of(definition: &JobDefinition) -> Option<String> {
    let schedule = serde_json::to_value(definition.schedule.as_ref()?).ok()?;
    let cron = &schedule["cron"];
    cron.as_str()
        .or_else(|| cron["expression"].as_str())
        .map(str::to_owned)
}

/// The jobs with these ids that exist. Those that were decoded before and haven't changed since aren't decoded again.
pub(crate) async fn jobs_by_id(cx: &mut Cx<'_>, wanted: HashSet<JobId>) -> Result<HashMap<JobId, Arc<Job>>> {
    let mut jobs = HashMap::with_capacity(wanted.len());
    let mut wanted = wanted;
    wanted.retain(|job_id| match cx.caches.current_job(job_id) {
        Some(job) => jobs.insert(job_id.clone(), Arc::clone(job)).is_some(),
        None => true,
    });
    if wanted.is_empty() {
        return Ok(jobs);
    }
    let select = concat!(
        "SELECT ",
        stamps!(),
        " FROM jobs WHERE job_id IN (SELECT value FROM json_each(?1))"
    );
    let list = json_list(wanted.iter().map(JobId::as_str));
    let stamps = sqlx::query_scalar(select).bind(list);
    let read = jobs_by_stamp(cx, stamps).await?;
    jobs.extend(read.into_iter().map(|job| (job.job_id.clone(), job)));
    Ok(jobs)
}

/// All stamps of jobs as one text, as in `task_row`.
macro_rules! stamps {
    () => {
        "json_group_array(json_array(job_id, version, next_fire_time, last_fire_time, zone_version, error, paused, \
         create_time, update_time))"
    };
}
pub(crate) use stamps;

/// The jobs whose [`stamps`] a statement gives, in its order.
pub(crate) async fn jobs_by_stamp(cx: &mut Cx<'_>, stamps: Asked) -> Result<Vec<Arc<Job>>> {
    let text: Option<String> = stamps.fetch_one(&mut *cx.sql).await?;
    let stamps: Vec<Stamp<'_>> = serde_json::from_str(text.as_deref().unwrap_or("[]"))
        .map_err(|error| Failure::corrupt(format_args!("a row of jobs: {error}")))?;
    let mut jobs = Vec::with_capacity(stamps.len());
    let mut unread = Vec::new();
    for stamp in stamps {
        let job_id = JobId::from_stored(&*stamp.job_id);
        let known = cx.caches.job(&job_id).and_then(|job| stamp.apply(job));
        match &known {
            Some(job) => cx.caches.keep_job(Arc::clone(job)),
            None => unread.push(job_id.clone()),
        }
        jobs.push((job_id, known));
    }
    let mut read = read_jobs(cx, &unread).await?;
    // One that is gone meanwhile, where nothing holds the rows still, is left out.
    let job = |(job_id, known): (JobId, Option<Arc<Job>>)| known.or_else(|| read.remove(&job_id));
    Ok(jobs.into_iter().filter_map(job).collect())
}

async fn read_jobs(cx: &mut Cx<'_>, job_ids: &[JobId]) -> Result<HashMap<JobId, Arc<Job>>> {
    let mut jobs = HashMap::with_capacity(job_ids.len());
    if job_ids.is_empty() {
        return Ok(jobs);
    }
    let select = concat!(
        "SELECT ",
        job_columns!(),
        " FROM jobs WHERE job_id IN (SELECT value FROM json_each(?1))"
    );
    let list = json_list(job_ids.iter().map(JobId::as_str));
    for row in sqlx::query(select).bind(list).fetch_all(&mut *cx.sql).await? {
        let job = Arc::new(decode(&row)?);
        cx.caches.keep_job(Arc::clone(&job));
        jobs.insert(job.job_id.clone(), job);
    }
    Ok(jobs)
}

/// What changes in a job's row whenever anything of it does; an array in the order of the fields.
#[derive(Debug, Deserialize)]
struct Stamp<'r> {
    #[serde(borrow)]
    job_id: Cow<'r, str>,
    version: u64,
    next_fire_time: Option<i64>,
    last_fire_time: Option<i64>,
    #[serde(borrow)]
    zone_version: Cow<'r, str>,
    error: Option<String>,
    paused: i64,
    create_time: i64,
    update_time: i64,
}

impl Stamp<'_> {
    /// The job that the row says, by one that was decoded earlier; `None` if more than its fire times may have changed.
    fn apply(&self, job: &Arc<Job>) -> Option<Arc<Job>> {
        if !self.has_definition_of(job) {
            return None;
        }
        let instant = |micros: Option<i64>| micros.map(Timestamp::from_micros);
        let (next, last) = (instant(self.next_fire_time), instant(self.last_fire_time));
        let mut job = Arc::clone(job);
        if (next, last) != (job.next_fire_time, job.last_fire_time) {
            let job = Arc::make_mut(&mut job);
            (job.next_fire_time, job.last_fire_time) = (next, last);
        }
        Some(job)
    }

    /// The times tell a job that was deleted and made anew from the old one.
    fn has_definition_of(&self, job: &Job) -> bool {
        self.version == job.version
            && self.zone_version == job.zone_version.as_str()
            && self.error == job.error
            && (self.paused != 0) == job.paused
            && self.create_time == job.create_time.as_micros()
            && self.update_time == job.update_time.as_micros()
    }
}

const UPSERT: &str = "INSERT INTO jobs (job_id, name, command, type, priority, cron_expression, timeout, retry_count, \
                      retry_interval, create_time, update_time, definition, scheduled, by_hand, paused, version, \
                      next_fire_time, last_fire_time, zone_version, error)";
/// A job that is there is updated, so that the trigger for changes by hand sees its version rise.
const ON_CONFLICT: &str = "ON CONFLICT (job_id) DO UPDATE SET name = excluded.name, command = excluded.command, \
                           type = excluded.type, priority = excluded.priority, \
                           cron_expression = excluded.cron_expression, timeout = excluded.timeout, \
                           retry_count = excluded.retry_count, retry_interval = excluded.retry_interval, \
                           update_time = excluded.update_time, definition = excluded.definition, \
                           scheduled = excluded.scheduled, by_hand = excluded.by_hand, paused = excluded.paused, \
                           version = excluded.version, next_fire_time = excluded.next_fire_time, \
                           last_fire_time = excluded.last_fire_time, zone_version = excluded.zone_version, \
                           error = excluded.error";
static UPSERT_JOBS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::insert(UPSERT, 20, ON_CONFLICT));

/// Writes whole jobs, one after the other, and that they changed.
pub(crate) async fn write_jobs(cx: &mut Cx<'_>, jobs: &[Arc<Job>]) -> Result<()> {
    let mut rows = Vec::with_capacity(jobs.len());
    for job in jobs {
        let definition = serde_json::to_string(&job.definition).map_err(Failure::corrupt)?;
        rows.push((Arc::clone(job), definition));
        cx.caches.keep_job(Arc::clone(job));
    }
    UPSERT_JOBS
        .execute(cx.sql, &rows, |query, (job, definition)| {
            bind_job(query, job, definition.clone())
        })
        .await?;
    let changes: Vec<JobChange> = jobs.iter().map(|job| JobChange::of(job)).collect();
    record_changes(cx, &changes).await
}

fn bind_job(query: Bound, job: &Job, text: String) -> Bound {
    let definition = &job.definition;
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    query
        .bind(job.job_id.to_shared())
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
        .bind(text)
        .bind(definition.schedule.is_some())
        .bind(false)
        .bind(job.paused)
        .bind(i64::try_from(job.version).unwrap_or(i64::MAX))
        .bind(job.next_fire_time.map(Timestamp::as_micros))
        .bind(job.last_fire_time.map(Timestamp::as_micros))
        .bind(job.zone_version.clone())
        .bind(job.error.clone())
}

/// That a job changed, for those who follow along.
#[derive(Clone, Debug)]
pub(crate) struct JobChange {
    pub(crate) job_id: JobId,
    /// `None`: it was deleted.
    pub(crate) version: Option<u64>,
    pub(crate) change_time: Timestamp,
}

impl JobChange {
    pub(crate) fn of(job: &Job) -> Self {
        Self {
            job_id: job.job_id.clone(),
            version: Some(job.version),
            change_time: job.update_time,
        }
    }
}

const RECORD: &str = "INSERT INTO job_changes (job_id, version, after_log_id, change_time)";
static RECORD_CHANGES: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::insert(RECORD, 4, ""));

/// Records changes of jobs, behind all tasks that became final so far.
pub(crate) async fn record_changes(cx: &mut Cx<'_>, changes: &[JobChange]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let select = "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'job_logs'), 0)";
    let log_id: i64 = sqlx::query_scalar(select).fetch_one(&mut *cx.sql).await?;
    let rows: Vec<(i64, &JobChange)> = changes.iter().map(|change| (log_id, change)).collect();
    let bind = |query: Bound, (log_id, change): &(i64, &JobChange)| {
        query
            .bind(change.job_id.to_shared())
            .bind(
                change
                    .version
                    .map(|version| i64::try_from(version).unwrap_or(i64::MAX)),
            )
            .bind(*log_id)
            .bind(change.change_time.as_micros())
    };
    RECORD_CHANGES.execute(cx.sql, &rows, bind).await.map(drop)
}
