//! What is due, what was never planned, and fires.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use jobcore::Timestamp;
use jobcore::job::Job;
use jobcore::store::{Decision, DueJobs, Fire, FireOutcome};

use super::decisions::insert_decisions;
use super::insert::insert_new_tasks;
use super::rows::{Bound, RowStatement, json_list};
use super::settle::without_repetition;
use super::stored_job::{decode, decode_checked, job_columns, jobs_by_stamp, stamps};
use crate::connection::{Care, Cx, Operation};
use crate::error::{Failure, Result};

/// Jobs that are due.
#[derive(Debug)]
pub(crate) struct ListDueJobs(pub(crate) DueJobs);

#[async_trait::async_trait]
impl Operation for ListDueJobs {
    type Answer = Vec<Arc<Job>>;
    const NAME: &'static str = "due_jobs";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        // Most of them were read before, half a horizon ago.
        let select = concat!(
            "SELECT ",
            stamps!(),
            " FROM (SELECT * FROM jobs WHERE next_fire_time IS NOT NULL AND next_fire_time <= ?1 \
             AND (next_fire_time, job_id) > (?2, ?3) ORDER BY next_fire_time, job_id LIMIT ?4)"
        );
        let (after_time, after_id) = match &self.0.after {
            Some((time, job_id)) => (time.as_micros(), job_id.to_shared()),
            None => (i64::MIN, "".into()),
        };
        let stamps = sqlx::query_scalar(select)
            .bind(self.0.until.as_micros())
            .bind(after_time)
            .bind(after_id)
            .bind(i64::try_from(self.0.limit).unwrap_or(i64::MAX));
        jobs_by_stamp(cx, stamps).await
    }
}

/// The earliest next fire time after an instant.
#[derive(Debug)]
pub(crate) struct NextDueTime(pub(crate) Timestamp);

#[async_trait::async_trait]
impl Operation for NextDueTime {
    type Answer = Option<Timestamp>;
    const NAME: &'static str = "next_due_time";

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let select = "SELECT next_fire_time FROM jobs WHERE next_fire_time IS NOT NULL AND next_fire_time > ?1 \
                      ORDER BY next_fire_time LIMIT 1";
        let next: Option<i64> = sqlx::query_scalar(select)
            .bind(self.0.as_micros())
            .fetch_optional(&mut *cx.sql)
            .await?;
        Ok(next.map(Timestamp::from_micros))
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

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        // By version, since `<>` would read the whole index; there are never more than a few.
        let mut jobs = Vec::new();
        let mut version = String::new();
        loop {
            let found = if version == self.zone_version {
                Vec::new()
            } else {
                self.of_version(cx, &version).await?
            };
            jobs.extend(found);
            let select = "SELECT zone_version FROM jobs WHERE paused = 0 \
                          AND coalesce(scheduled, cron_expression IS NOT NULL) AND zone_version > ?1 \
                          ORDER BY zone_version LIMIT 1";
            let next: Option<String> = sqlx::query_scalar(select)
                .bind(version)
                .fetch_optional(&mut *cx.sql)
                .await?;
            match next {
                Some(next) => version = next,
                None => break,
            }
        }
        jobs.sort_unstable_by(|a, b| a.job_id.cmp(&b.job_id));
        jobs.truncate(self.limit);
        Ok(jobs)
    }
}

impl ListUnplannedJobs {
    /// The first jobs that were planned with another version of the data.
    async fn of_version(&self, cx: &mut Cx<'_>, version: &str) -> Result<Vec<Arc<Job>>> {
        let select = concat!(
            "SELECT ",
            job_columns!(),
            " FROM jobs WHERE paused = 0 AND coalesce(scheduled, cron_expression IS NOT NULL) AND zone_version = ?1 \
             ORDER BY job_id LIMIT ?2"
        );
        let rows = sqlx::query(select)
            .bind(version.to_owned())
            .bind(i64::try_from(self.limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *cx.sql)
            .await?;
        rows.iter().map(|row| decode(row).map(Arc::new)).collect()
    }
}

/// Carries out fires.
#[derive(Debug)]
pub(crate) struct FireJobs(pub(crate) Vec<Fire>);

#[async_trait::async_trait]
impl Operation for FireJobs {
    type Answer = Vec<FireOutcome>;
    const NAME: &'static str = "fire";

    fn weight(&self) -> usize {
        self.0.iter().map(|fire| 1 + fire.tasks.len()).sum()
    }

    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer> {
        let mut outcomes = Vec::with_capacity(self.0.len());
        for part in without_repetition(&self.0, |fire| &fire.job_id) {
            fire_part(cx, part, &mut outcomes).await?;
        }
        Ok(outcomes)
    }
}

async fn fire_part(cx: &mut Cx<'_>, fires: &[Fire], outcomes: &mut Vec<FireOutcome>) -> Result<()> {
    let fits = match cx.care {
        Care::Ordinary => vec![true; fires.len()],
        Care::Full => as_planned(cx, fires).await?,
    };
    let fired: Vec<&Fire> = fires
        .iter()
        .zip(&fits)
        .filter(|(_, fits)| **fits)
        .map(|(fire, _)| fire)
        .collect();
    let advances = match cx.care {
        Care::Ordinary => fired.iter().map(|fire| (*fire, fire.error.clone())).collect(),
        Care::Full => with_errors(cx, &fired).await?,
    };
    advance(cx, &advances).await?;
    let tasks = fired
        .iter()
        .flat_map(|fire| fire.tasks.iter().map(|task| (task, fire.now)));
    // A task that is there already keeps its place: the fire stands either way.
    insert_new_tasks(cx, &tasks.collect::<Vec<_>>()).await?;
    let decisions: Vec<&Decision> = fired.iter().flat_map(|fire| &fire.decisions).collect();
    insert_decisions(cx, &decisions).await?;
    outcomes.extend(fits.into_iter().map(|fits| match fits {
        true => FireOutcome::Fired,
        false => FireOutcome::Conflict,
    }));
    Ok(())
}

/// Whether each job still is as its fire was planned for.
async fn as_planned(cx: &mut Cx<'_>, fires: &[Fire]) -> Result<Vec<bool>> {
    // One text, since each row would cross from the connection's thread by itself.
    let select = "SELECT coalesce(group_concat(v.key), '') FROM json_each(?1) v \
                  CROSS JOIN jobs ON job_id = v.value ->> 0 \
                  WHERE version = v.value ->> 1 AND next_fire_time IS v.value ->> 2 AND paused = 0";
    let found: String = sqlx::query_scalar(select)
        .bind(expectations(fires))
        .fetch_one(&mut *cx.sql)
        .await?;
    let mut fits = vec![false; fires.len()];
    for index in found.split(',').filter_map(|index| index.parse::<usize>().ok()) {
        fits[index] = true;
    }
    Ok(fits)
}

/// Sets the times only: a column that is set has its indexes written, even if it stays as it was.
const ADVANCE: &str = "UPDATE jobs SET next_fire_time = v.column4, \
                       last_fire_time = coalesce(v.column5, last_fire_time) FROM (VALUES";
const ADVANCE_ALL: &str = "UPDATE jobs SET next_fire_time = v.column4, \
                           last_fire_time = coalesce(v.column5, last_fire_time), \
                           zone_version = v.column6, error = v.column7 FROM (VALUES";
macro_rules! as_planned {
    () => {
        ") AS v WHERE job_id = v.column1 AND version = v.column2 AND next_fire_time IS v.column3 AND paused = 0"
    };
}
const AS_USUAL: &str = concat!(
    as_planned!(),
    " AND zone_version = v.column6 AND error IS v.column7"
);
static ADVANCE_JOBS: LazyLock<RowStatement> = LazyLock::new(|| RowStatement::new(ADVANCE, 7, AS_USUAL));
static ADVANCE_WHOLE: LazyLock<RowStatement> =
    LazyLock::new(|| RowStatement::new(ADVANCE_ALL, 7, as_planned!()));

/// A fire, and why its job can't be scheduled.
type Advance<'f> = (&'f Fire, Option<String>);

/// What a plan doesn't say: why a row can't be understood that a person wrote, for the person to find there. Only new time
/// zone data and rows written by hand are planned, each with a look first.
async fn with_errors<'f>(cx: &mut Cx<'_>, fires: &[&'f Fire]) -> Result<Vec<Advance<'f>>> {
    let select = concat!(
        "SELECT ",
        job_columns!(),
        " FROM jobs WHERE by_hand = 1 AND job_id IN (SELECT value FROM json_each(?1))"
    );
    let list = json_list(fires.iter().map(|fire| fire.job_id.as_str()));
    let rows = sqlx::query(select).bind(list).fetch_all(&mut *cx.sql).await?;
    let mut unreadable = HashMap::new();
    for row in &rows {
        let (job, is_readable) = decode_checked(row)?;
        if !is_readable {
            unreadable.insert(job.job_id, job.error);
        }
    }
    let advance = |fire: &&'f Fire| {
        let own = fire.error.clone();
        (
            *fire,
            own.or_else(|| unreadable.get(&fire.job_id).cloned().flatten()),
        )
    };
    Ok(fires.iter().map(advance).collect())
}

/// Advances jobs that are as planned, all at once. The version and `update_time` stay.
async fn advance(cx: &mut Cx<'_>, fires: &[Advance<'_>]) -> Result<()> {
    let bind = |query: Bound, (fire, error): &Advance<'_>| {
        let micros = |time: Option<Timestamp>| time.map(Timestamp::as_micros);
        query
            .bind(fire.job_id.to_shared())
            .bind(i64::try_from(fire.version).unwrap_or(i64::MAX))
            .bind(micros(fire.expected_next_fire_time))
            .bind(micros(fire.next_fire_time))
            .bind(micros(fire.last_fire_time))
            .bind(fire.zone_version.clone())
            .bind(error.clone())
    };
    let statement = match cx.care {
        Care::Ordinary => &ADVANCE_JOBS,
        Care::Full => &ADVANCE_WHOLE,
    };
    let advanced = statement.execute_with(cx.sql, |query| query, fires, bind).await?;
    if advanced != fires.len() as u64 {
        return Err(Failure::Stale);
    }
    for (fire, error) in fires {
        cx.caches.job_fired(fire, error);
    }
    Ok(())
}

/// What fires expect, as one JSON parameter: id, version, next fire time.
fn expectations(fires: &[Fire]) -> String {
    let expectation = |fire: &Fire| {
        serde_json::json!([
            fire.job_id,
            fire.version,
            fire.expected_next_fire_time.map(Timestamp::as_micros),
        ])
    };
    serde_json::Value::Array(fires.iter().map(expectation).collect()).to_string()
}
