//! Jobs as rows: how they are read, and what is made of rows written by hand.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jobcore::Error;
use jobcore::id::JobId;
use jobcore::job::{Command, Job, JobDefinition, JobKind};
use serde_json::{Value, json};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::columns::{instant, maybe_instant};
use super::rows::json_list;
use crate::connection::Cx;
use crate::error::Result;

/// The columns of a job, in the order of [`decode`]. The first six say whether a decoded job is still the same.
macro_rules! job_columns {
    () => {
        "job_id, version, next_fire_time, last_fire_time, zone_version, error, paused, create_time, update_time, \
         definition, by_hand, name, command, type, priority, cron_expression, timeout, retry_count, retry_interval"
    };
}
pub(crate) use job_columns;

/// Reads a row of [`job_columns`]. A row written by hand that can't be understood carries its error.
pub(crate) fn decode(row: &SqliteRow) -> Result<Job> {
    let by_hand: bool = row.try_get(10)?;
    let mut error: Option<String> = row.try_get(5)?;
    let definition = match row.try_get::<Option<&str>, _>(9)? {
        Some(text) if !by_hand => {
            serde_json::from_str(text).map_err(|error| Error::invalid("definition", error))
        }
        text => columns(row).and_then(|columns| columns.over(text)),
    };
    let definition = definition.unwrap_or_else(|bad| {
        error = Some(bad.message().to_owned());
        JobDefinition::new(row.try_get::<String, _>(11).unwrap_or_default(), unreadable(row))
    });
    Ok(Job {
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
    })
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
pub(crate) fn expression_of(definition: &JobDefinition) -> Option<String> {
    let schedule = serde_json::to_value(definition.schedule.as_ref()?).ok()?;
    let cron = &schedule["cron"];
    cron.as_str()
        .or_else(|| cron["expression"].as_str())
        .map(str::to_owned)
}

/// The jobs with these ids that exist. Those that were decoded before and haven't changed since aren't decoded again.
pub(crate) async fn jobs_by_id(cx: &mut Cx<'_>, wanted: HashSet<JobId>) -> Result<HashMap<JobId, Arc<Job>>> {
    let mut jobs = HashMap::with_capacity(wanted.len());
    if wanted.is_empty() {
        return Ok(jobs);
    }
    let mut unread = Vec::new();
    let select = "SELECT job_id, version, next_fire_time, last_fire_time, zone_version, error, paused FROM jobs \
                  WHERE job_id IN (SELECT value FROM json_each(?1))";
    let list = json_list(wanted.iter().map(JobId::as_str));
    for row in sqlx::query(select).bind(list).fetch_all(&mut *cx.sql).await? {
        let job_id = JobId::from_stored(row.try_get::<&str, _>(0)?);
        match cx.caches.job(&job_id) {
            Some(job) if is_same(job, &row)? => drop(jobs.insert(job_id, Arc::clone(job))),
            _ => unread.push(job_id),
        }
    }
    if !unread.is_empty() {
        let select = concat!(
            "SELECT ",
            job_columns!(),
            " FROM jobs WHERE job_id IN (SELECT value FROM json_each(?1))"
        );
        let list = json_list(unread.iter().map(JobId::as_str));
        for row in sqlx::query(select).bind(list).fetch_all(&mut *cx.sql).await? {
            let job = Arc::new(decode(&row)?);
            cx.caches.keep_job(Arc::clone(&job));
            jobs.insert(job.job_id.clone(), job);
        }
    }
    Ok(jobs)
}

/// Whether a decoded job is what the row says. A job that is deleted and made anew may have the version of the old one,
/// but the writer that made it forgot the old one, and every other process sees another next fire time or creation.
fn is_same(job: &Job, row: &SqliteRow) -> Result<bool> {
    Ok(
        job.version == u64::try_from(row.try_get::<i64, _>(1)?).unwrap_or(0)
            && job.next_fire_time == maybe_instant(row, 2)?
            && job.last_fire_time == maybe_instant(row, 3)?
            && job.zone_version == row.try_get::<&str, _>(4)?
            && job.error.as_deref() == row.try_get::<Option<&str>, _>(5)?
            && job.paused == row.try_get::<bool, _>(6)?,
    )
}
