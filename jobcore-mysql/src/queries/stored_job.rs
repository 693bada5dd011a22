//! Jobs as rows: how they are read, and what is made of rows written by hand.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock};

use jobcore::Timestamp;
use jobcore::id::JobId;
use jobcore::job::{Command, Job, JobDefinition, JobKind};
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::columns::{datetime, instant, maybe_datetime, maybe_instant, number, unsigned};
use super::job_columns::JobColumns;
use super::rows::{Bound, RowStatement};
use crate::connection::Cx;
use crate::error::{Failure, Result};

/// What changes in a job's row whenever anything of it does, in the order of [`Stamp::decode`].
macro_rules! stamp_columns {
    () => {
        "job_id, version, next_fire_time, last_fire_time, zone_version, error, paused, create_time, update_time, \
         known_time"
    };
}

/// The columns of a job, in the order of [`decode`].
macro_rules! job_columns {
    () => {
        "job_id, version, next_fire_time, last_fire_time, zone_version, error, paused, create_time, update_time, \
         known_time, definition, name, command, type, priority, cron_expression, timeout, retry_count, retry_interval"
    };
}
pub(crate) use job_columns;

/// What a row says of a job beside its definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) job_id: JobId,
    pub(crate) version: u64,
    pub(crate) next_fire_time: Option<Timestamp>,
    pub(crate) last_fire_time: Option<Timestamp>,
    pub(crate) zone_version: String,
    pub(crate) error: Option<String>,
    pub(crate) paused: bool,
    pub(crate) create_time: Timestamp,
    pub(crate) update_time: Timestamp,
    /// Whether a person wrote the row, or changed it, since the program's latest write.
    pub(crate) by_hand: bool,
}

impl Stamp {
    /// Reads a row that begins with [`stamp_columns`].
    ///
    /// What a person changed is a new version, and to be planned anew: the row says so only when that is done.
    pub(crate) fn decode(row: &MySqlRow) -> Result<Self> {
        let update_time = instant(row, 8)?;
        let known_time = maybe_instant(row, 9)?;
        let mut stamp = Self {
            job_id: JobId::from_stored(row.try_get::<&str, _>(0)?),
            version: unsigned(row, 1)?,
            next_fire_time: maybe_instant(row, 2)?,
            last_fire_time: maybe_instant(row, 3)?,
            zone_version: row.try_get(4)?,
            error: row.try_get(5)?,
            paused: row.try_get::<i8, _>(6)? != 0,
            create_time: instant(row, 7)?,
            update_time,
            by_hand: known_time != Some(update_time),
        };
        if stamp.by_hand {
            stamp.version += u64::from(known_time.is_some());
            stamp.next_fire_time = None;
            stamp.zone_version.clear();
            stamp.error = None;
        }
        Ok(stamp)
    }

    fn job(self, definition: JobDefinition) -> Job {
        Job {
            job_id: self.job_id,
            definition,
            paused: self.paused,
            version: self.version,
            next_fire_time: self.next_fire_time,
            last_fire_time: self.last_fire_time,
            zone_version: self.zone_version,
            error: self.error,
            create_time: self.create_time,
            update_time: self.update_time,
        }
    }

    /// The job as the row says, if that has the definition of `known`. The times tell a job that was deleted and made anew
    /// from the old one.
    fn renewed(&self, known: &Arc<Job>) -> Option<Arc<Job>> {
        let same_definition = self.version == known.version
            && self.create_time == known.create_time
            && self.update_time == known.update_time;
        let same_schedule = self.next_fire_time == known.next_fire_time
            && self.last_fire_time == known.last_fire_time
            && self.zone_version == known.zone_version
            && self.error == known.error
            && self.paused == known.paused;
        match (same_definition, same_schedule) {
            (true, true) => Some(Arc::clone(known)),
            // An error may have come from reading the definition.
            (true, false) if known.error.is_none() => {
                Some(Arc::new(self.clone().job(known.definition.clone())))
            }
            _ => None,
        }
    }
}

/// Reads a row of [`job_columns`]. A row written by hand that can't be understood carries its error. What was decoded
/// before and hasn't changed since isn't decoded again.
pub(crate) fn decode(cx: &mut Cx<'_>, row: &MySqlRow) -> Result<Arc<Job>> {
    let mut stamp = Stamp::decode(row)?;
    if let Some(job) = remembered(cx, &stamp) {
        return Ok(job);
    }
    let columns = JobColumns::decode(row, 11)?;
    let text: Option<&str> = row.try_get(10)?;
    let definition = definition(&columns, text, stamp.by_hand).unwrap_or_else(|bad| {
        stamp.error = Some(bad.message().to_owned());
        JobDefinition::new(columns.name, unreadable(&columns))
    });
    let job = Arc::new(stamp.job(definition));
    cx.learned.job(Arc::clone(&job));
    Ok(job)
}

/// The job that a row says, if its definition was decoded before.
fn remembered(cx: &mut Cx<'_>, stamp: &Stamp) -> Option<Arc<Job>> {
    let known = cx.caches().job(&stamp.job_id)?;
    let job = stamp.renewed(&known)?;
    if !Arc::ptr_eq(&job, &known) {
        cx.learned.job(Arc::clone(&job));
    }
    Some(job)
}

/// The definition of a row. What a person wrote into the columns counts before column `definition`, also once the row is
/// planned.
fn definition(
    columns: &JobColumns<'_>,
    text: Option<&str>,
    by_hand: bool,
) -> Result<JobDefinition, jobcore::Error> {
    if let Some(text) = text.filter(|_| !by_hand)
        && let Ok(definition) = serde_json::from_str(text)
        && JobColumns::of(&definition) == *columns
    {
        return Ok(definition);
    }
    columns.over(text)
}

/// Stands for the command of a row that can't be read: a failure that says so, should somebody trigger it.
fn unreadable(columns: &JobColumns<'_>) -> Command {
    Command {
        kind: JobKind::from_code(columns.kind.into()).unwrap_or(JobKind::Shell),
        ..Command::shell(columns.command)
    }
}

static STAMPS: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = concat!("SELECT ", stamp_columns!(), " FROM jobs WHERE job_id IN");
    RowStatement::list(select, "")
});
static JOBS: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = concat!("SELECT ", job_columns!(), " FROM jobs WHERE job_id IN");
    RowStatement::list(select, "")
});

/// The jobs with these ids that exist. Those that were decoded before and haven't changed since aren't read whole.
pub(crate) async fn jobs_by_id(cx: &mut Cx<'_>, wanted: HashSet<JobId>) -> Result<HashMap<JobId, Arc<Job>>> {
    let mut jobs = HashMap::with_capacity(wanted.len());
    let (known, mut unread): (Vec<JobId>, Vec<JobId>) = wanted
        .into_iter()
        .partition(|job_id| cx.caches().job(job_id).is_some());
    for row in STAMPS.fetch(cx.sql, &known, bind_id).await? {
        let stamp = Stamp::decode(&row)?;
        match remembered(cx, &stamp) {
            Some(job) => drop(jobs.insert(stamp.job_id, job)),
            None => unread.push(stamp.job_id),
        }
    }
    for row in JOBS.fetch(cx.sql, &unread, bind_id).await? {
        let job = decode(cx, &row)?;
        jobs.insert(job.job_id.clone(), job);
    }
    Ok(jobs)
}

fn bind_id(query: Bound, job_id: &JobId) -> Bound {
    query.bind(job_id.as_str().to_owned())
}

// Always by key: a scan would lock what it passes.
static LOCK_STAMPS: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = concat!(
        "SELECT ",
        stamp_columns!(),
        " FROM jobs FORCE INDEX (PRIMARY) WHERE job_id IN"
    );
    RowStatement::list(select, "ORDER BY job_id FOR UPDATE")
});
static LOCK_JOBS: LazyLock<RowStatement> = LazyLock::new(|| {
    let select = concat!(
        "SELECT ",
        job_columns!(),
        " FROM jobs FORCE INDEX (PRIMARY) WHERE job_id IN"
    );
    RowStatement::list(select, "ORDER BY job_id FOR UPDATE")
});

/// Locks the jobs with these ids that exist, and says what is known of them beside their definitions.
pub(crate) async fn lock_stamps(
    cx: &mut Cx<'_>,
    job_ids: impl Iterator<Item = &JobId>,
) -> Result<HashMap<JobId, Stamp>> {
    let rows = LOCK_STAMPS.fetch(cx.sql, &in_order(job_ids), bind_id).await?;
    let stamps = rows.iter().map(Stamp::decode);
    stamps
        .map(|stamp| stamp.map(|stamp| (stamp.job_id.clone(), stamp)))
        .collect()
}

/// Locks the jobs with these ids that exist.
pub(crate) async fn lock_jobs(
    cx: &mut Cx<'_>,
    job_ids: impl Iterator<Item = &JobId>,
) -> Result<HashMap<JobId, Arc<Job>>> {
    let rows = LOCK_JOBS.fetch(cx.sql, &in_order(job_ids), bind_id).await?;
    let mut jobs = HashMap::with_capacity(rows.len());
    for row in &rows {
        let job = decode(cx, row)?;
        jobs.insert(job.job_id.clone(), job);
    }
    Ok(jobs)
}

fn in_order<'j>(job_ids: impl Iterator<Item = &'j JobId>) -> Vec<JobId> {
    let mut job_ids: Vec<JobId> = job_ids.cloned().collect();
    job_ids.sort_unstable();
    job_ids.dedup();
    job_ids
}

const INTO_JOBS: &str = "INSERT INTO jobs (job_id, name, command, type, priority, cron_expression, timeout, retry_count, \
                         retry_interval, create_time, update_time, known_time, definition, has_schedule, paused, \
                         version, next_fire_time, last_fire_time, zone_version, error) VALUES";
const ON_DUPLICATE: &str = "ON DUPLICATE KEY UPDATE name = VALUES(name), command = VALUES(command), \
                            type = VALUES(type), priority = VALUES(priority), \
                            cron_expression = VALUES(cron_expression), timeout = VALUES(timeout), \
                            retry_count = VALUES(retry_count), retry_interval = VALUES(retry_interval), \
                            update_time = VALUES(update_time), known_time = VALUES(known_time), \
                            definition = VALUES(definition), has_schedule = VALUES(has_schedule), \
                            paused = VALUES(paused), version = VALUES(version), \
                            next_fire_time = VALUES(next_fire_time), last_fire_time = VALUES(last_fire_time), \
                            zone_version = VALUES(zone_version), error = VALUES(error)";
static INSERT_JOBS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::new(INTO_JOBS, 20, ""));
static REPLACE_JOBS: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::new(INTO_JOBS, 20, ON_DUPLICATE));

/// Writes jobs that weren't there when the caller looked.
///
/// # Errors
/// Of a duplicate key if somebody else made one of them first.
pub(crate) async fn insert_jobs(cx: &mut Cx<'_>, jobs: &[Arc<Job>]) -> Result<()> {
    write(cx, &INSERT_JOBS, jobs).await
}

/// Writes jobs whose rows the caller has locked.
pub(crate) async fn replace_jobs(cx: &mut Cx<'_>, jobs: &[Arc<Job>]) -> Result<()> {
    write(cx, &REPLACE_JOBS, jobs).await
}

async fn write(cx: &mut Cx<'_>, statement: &'static RowStatement, jobs: &[Arc<Job>]) -> Result<()> {
    let mut rows = Vec::with_capacity(jobs.len());
    for job in jobs {
        let definition = serde_json::to_string(&job.definition).map_err(Failure::corrupt)?;
        rows.push((Arc::clone(job), definition));
        cx.learned.job(Arc::clone(job));
    }
    let bind = |query: Bound, (job, text): &(Arc<Job>, String)| bind_job(query, job, text.clone());
    statement.execute(cx.sql, &rows, bind).await?;
    Ok(())
}

fn bind_job(query: Bound, job: &Job, text: String) -> Bound {
    let columns = JobColumns::of(&job.definition);
    let has_other_schedule = job.definition.schedule.is_some() && columns.cron_expression.is_none();
    query
        .bind(job.job_id.as_str().to_owned())
        .bind(columns.name.to_owned())
        .bind(columns.command.to_owned())
        .bind(columns.kind)
        .bind(columns.priority)
        .bind(columns.cron_expression.map(str::to_owned))
        .bind(columns.timeout)
        .bind(columns.retry_count)
        .bind(columns.retry_interval)
        .bind(datetime(job.create_time))
        .bind(datetime(job.update_time))
        .bind(datetime(job.update_time))
        .bind(text)
        .bind(has_other_schedule)
        .bind(job.paused)
        .bind(number(job.version))
        .bind(maybe_datetime(job.next_fire_time))
        .bind(maybe_datetime(job.last_fire_time))
        .bind(job.zone_version.clone())
        .bind(error_text(job.error.as_deref()))
}

/// As much of an error as its column holds: it may quote what a person wrote.
pub(crate) fn error_text(error: Option<&str>) -> Option<String> {
    const MOST: usize = 60_000;
    error.map(|error| error[..error.floor_char_boundary(MOST)].to_owned())
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

static RECORD_CHANGES: LazyLock<RowStatement> = LazyLock::new(|| {
    let insert = "INSERT INTO job_changes (job_id, version, after_log_id, change_time) VALUES";
    RowStatement::new(insert, 4, "")
});

/// Records changes of jobs, behind all tasks that are known to be final so far.
pub(crate) async fn record_changes(cx: &mut Cx<'_>, changes: &[JobChange]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let latest: Option<i64> = sqlx::query_scalar("SELECT id FROM job_logs ORDER BY id DESC LIMIT 1")
        .fetch_optional(&mut *cx.sql)
        .await?;
    let log_id = latest.unwrap_or(0);
    let bind = |query: Bound, change: &JobChange| {
        query
            .bind(change.job_id.as_str().to_owned())
            .bind(change.version.map(number))
            .bind(log_id)
            .bind(datetime(change.change_time))
    };
    RECORD_CHANGES.execute(cx.sql, changes, bind).await?;
    Ok(())
}
