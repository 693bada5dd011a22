//! What is due, what was never planned, and fires.

use std::sync::{Arc, LazyLock};

use chrono::NaiveDateTime;
use jobcore::Timestamp;
use jobcore::job::Job;
use jobcore::store::{Decision, DueJobs, Fire, FireOutcome};

use super::columns::{datetime, maybe_datetime, number};
use super::decisions::insert_decisions;
use super::insert::insert_new_tasks;
use super::rows::{Bound, RowStatement};
use super::settle::without_repetition;
use super::stored_job::{Stamp, decode, error_text, job_columns, lock_stamps};
use crate::connection::{Access, Cx, Operation};
use crate::error::Result;

/// Jobs that are due.
#[derive(Debug)]
pub(crate) struct ListDueJobs(pub(crate) DueJobs);

#[async_trait::async_trait]
impl Operation for ListDueJobs {
    type Answer = Vec<Arc<Job>>;
    const NAME: &'static str = "due_jobs";
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut jobs = Vec::new();
        let mut after_time = None;
        if let Some((time, job_id)) = self.0.after.as_ref().filter(|(time, _)| *time <= self.0.until) {
            // What a person changed since it was planned is to be planned anew first.
            let select = concat!(
                "SELECT ",
                job_columns!(),
                " FROM jobs FORCE INDEX (jobs_due) WHERE next_fire_time = ? AND job_id > ? \
                 AND known_time = update_time ORDER BY job_id LIMIT ?"
            );
            let query = sqlx::query(select)
                .bind(datetime(*time))
                .bind(job_id.as_str().to_owned())
                .bind(limit(self.0.limit));
            read(cx, query, &mut jobs).await?;
            after_time = Some(datetime(*time));
        }
        let rest = self.0.limit - jobs.len();
        if rest == 0 {
            return Ok(jobs);
        }
        let query = match after_time {
            Some(time) => {
                let select = concat!(
                    "SELECT ",
                    job_columns!(),
                    " FROM jobs FORCE INDEX (jobs_due) WHERE next_fire_time > ? AND next_fire_time <= ? \
                     AND known_time = update_time ORDER BY next_fire_time, job_id LIMIT ?"
                );
                sqlx::query(select).bind(time)
            }
            None => {
                let select = concat!(
                    "SELECT ",
                    job_columns!(),
                    " FROM jobs FORCE INDEX (jobs_due) WHERE next_fire_time <= ? AND known_time = update_time \
                     ORDER BY next_fire_time, job_id LIMIT ?"
                );
                sqlx::query(select)
            }
        };
        let query = query.bind(datetime(self.0.until)).bind(limit(rest));
        read(cx, query, &mut jobs).await?;
        Ok(jobs)
    }
}

async fn read(cx: &mut Cx<'_>, query: Bound, jobs: &mut Vec<Arc<Job>>) -> Result<()> {
    for row in query.fetch_all(&mut *cx.sql).await? {
        jobs.push(decode(cx, &row)?);
    }
    Ok(())
}

fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The earliest next fire time after an instant.
#[derive(Debug)]
pub(crate) struct NextDueTime(pub(crate) Timestamp);

#[async_trait::async_trait]
impl Operation for NextDueTime {
    type Answer = Option<Timestamp>;
    const NAME: &'static str = "next_due_time";
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let select = "SELECT next_fire_time FROM jobs FORCE INDEX (jobs_due) WHERE next_fire_time > ? \
                      AND known_time = update_time ORDER BY next_fire_time LIMIT 1";
        let next: Option<NaiveDateTime> = sqlx::query_scalar(select)
            .bind(datetime(self.0))
            .fetch_optional(&mut *cx.sql)
            .await?;
        Ok(next.map(|next| next.and_utc().into()))
    }
}

/// Jobs whose next fire time was never computed, or with other time zone data.
#[derive(Debug)]
pub(crate) struct ListUnplannedJobs {
    pub(crate) zone_version: String,
    pub(crate) limit: usize,
}

#[async_trait::async_trait]
impl Operation for ListUnplannedJobs {
    type Answer = Vec<Arc<Job>>;
    const NAME: &'static str = "unplanned_jobs";
    const ACCESS: Access = Access::Read;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        // By version, since `<>` would read the whole index; there are never more than a few, and most often one.
        let select = "SELECT (SELECT MIN(planned) FROM jobs WHERE planned < ?), \
                      (SELECT MIN(planned) FROM jobs WHERE planned > ?)";
        let (before, behind): (Option<String>, Option<String>) = sqlx::query_as(select)
            .bind(self.zone_version.clone())
            .bind(self.zone_version.clone())
            .fetch_one(&mut *cx.sql)
            .await?;
        let mut jobs = Vec::new();
        let mut next = before.or_else(|| behind.clone());
        while let Some(version) = next {
            self.of_version(cx, &version, &mut jobs).await?;
            let select = "SELECT MIN(planned) FROM jobs WHERE planned > ?";
            next = sqlx::query_scalar(select)
                .bind(version)
                .fetch_one(&mut *cx.sql)
                .await?;
            if next.as_ref() == Some(&self.zone_version) {
                next.clone_from(&behind);
            }
        }
        jobs.sort_unstable_by(|a, b| a.job_id.cmp(&b.job_id));
        jobs.truncate(self.limit);
        Ok(jobs)
    }
}

impl ListUnplannedJobs {
    /// The first jobs that were planned with another version of the data.
    async fn of_version(&self, cx: &mut Cx<'_>, version: &str, jobs: &mut Vec<Arc<Job>>) -> Result<()> {
        let select = concat!(
            "SELECT ",
            job_columns!(),
            " FROM jobs FORCE INDEX (jobs_unplanned) WHERE planned = ? ORDER BY job_id LIMIT ?"
        );
        let query = sqlx::query(select)
            .bind(version.to_owned())
            .bind(limit(self.limit));
        read(cx, query, jobs).await
    }
}

/// Carries out fires.
#[derive(Debug)]
pub(crate) struct FireJobs(pub(crate) Vec<Fire>);

#[async_trait::async_trait]
impl Operation for FireJobs {
    type Answer = Vec<FireOutcome>;
    const NAME: &'static str = "fire";
    const ACCESS: Access = Access::Write;

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut outcomes = Vec::with_capacity(self.0.len());
        for part in without_repetition(&self.0, |fire| &fire.job_id) {
            fire_part(cx, part, &mut outcomes).await?;
        }
        Ok(outcomes)
    }
}

async fn fire_part(cx: &mut Cx<'_>, fires: &[Fire], outcomes: &mut Vec<FireOutcome>) -> Result<()> {
    let stamps = lock_stamps(cx, fires.iter().map(|fire| &fire.job_id)).await?;
    let mut advances: Vec<Advance<'_>> = Vec::with_capacity(fires.len());
    for fire in fires {
        let stamp = stamps.get(&fire.job_id);
        if let Some(stamp) = stamp.filter(|stamp| is_as_planned(cx, fire, stamp)) {
            let error = fire.error.clone().or_else(|| unreadable(cx, stamp));
            advances.push(Advance { fire, error });
            outcomes.push(FireOutcome::Fired);
        } else {
            outcomes.push(FireOutcome::Conflict);
        }
    }
    advance(cx, &advances).await?;
    let fired: Vec<&Fire> = advances.iter().map(|advance| advance.fire).collect();
    let tasks = fired
        .iter()
        .flat_map(|fire| fire.tasks.iter().map(|task| (task, fire.now)));
    // A task that is there already keeps its place: the fire stands either way.
    insert_new_tasks(cx, &tasks.collect::<Vec<_>>()).await?;
    let decisions: Vec<&Decision> = fired.iter().flat_map(|fire| &fire.decisions).collect();
    insert_decisions(cx, &decisions).await
}

/// Whether a job still is as its fire was planned for.
///
/// A plan takes a row written by hand out of those to be planned. Since its version tells only that it was written, not how
/// often, the plan must be of the state that was read here last.
fn is_as_planned(cx: &Cx<'_>, fire: &Fire, stamp: &Stamp) -> bool {
    let was_read = || {
        let known = cx.caches().job(&stamp.job_id);
        known.is_some_and(|known| known.update_time == stamp.update_time)
    };
    !stamp.paused
        && stamp.version == fire.version
        && stamp.next_fire_time == fire.expected_next_fire_time
        && (!stamp.by_hand || was_read())
}

/// Why a row can't be understood that a person wrote, for the person to find there: its plan doesn't say so.
fn unreadable(cx: &Cx<'_>, stamp: &Stamp) -> Option<String> {
    let read = cx.caches().job(&stamp.job_id).filter(|_| stamp.by_hand)?;
    read.error.clone()
}

/// What is to change in a job's row.
struct Advance<'f> {
    fire: &'f Fire,
    error: Option<String>,
}

/// The rows are there and locked: what changes in them is all that is written. `update_time` stays, and is known now.
static ADVANCE_JOBS: LazyLock<RowStatement> = LazyLock::new(|| {
    let insert = "INSERT INTO jobs (job_id, name, command, type, version, next_fire_time, last_fire_time, \
                  zone_version, error) VALUES";
    let on_duplicate = "ON DUPLICATE KEY UPDATE version = VALUES(version), \
                        next_fire_time = VALUES(next_fire_time), \
                        last_fire_time = COALESCE(VALUES(last_fire_time), last_fire_time), \
                        zone_version = VALUES(zone_version), error = VALUES(error), \
                        update_time = update_time, known_time = update_time";
    RowStatement::with_row(insert, "(?,'','',1,?,?,?,?,?)", on_duplicate)
});

/// Advances jobs that are as planned, all at once.
async fn advance(cx: &mut Cx<'_>, advances: &[Advance<'_>]) -> Result<()> {
    let bind = |query: Bound, Advance { fire, error }: &Advance<'_>| {
        query
            .bind(fire.job_id.as_str().to_owned())
            .bind(number(fire.version))
            .bind(maybe_datetime(fire.next_fire_time))
            .bind(maybe_datetime(fire.last_fire_time))
            .bind(fire.zone_version.clone())
            .bind(error_text(error.as_deref()))
    };
    ADVANCE_JOBS.execute(cx.sql, advances, bind).await?;
    Ok(())
}
