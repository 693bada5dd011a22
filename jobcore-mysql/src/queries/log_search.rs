//! Searching history, newest first, a page at a time.
//!
//! Rows are found in the order of their ids, by the index of the task or the job, or among all; what else a filter asks is
//! looked up in the rows. A page looks at a limited number of them, so that a filter that hardly anything matches doesn't
//! keep the server busy: then the page is short, or empty, and says where to go on.

use jobcore::Timestamp;
use jobcore::id::{JobId, TaskId};
use jobcore::store::{Cursor, Page, PageRequest};
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use super::columns::datetime;
use super::listing::{cursor, numbers};
use super::rows::{Bound, made};
use crate::connection::Cx;
use crate::error::Result;

/// How many rows one statement looks at: some tens of milliseconds.
const WINDOW: i64 = 20_000;

/// How many such looks a page takes at the most.
const WINDOWS: usize = 10;

/// Up to how many attempts of a time range are asked for their ids: about a tenth of a second.
const RANGE: i64 = 200_000;

/// A value of a condition.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Text(String),
    Time(Timestamp),
    Number(i64),
}

fn bind(query: Bound, value: &Value) -> Bound {
    match value {
        Value::Text(text) => query.bind(text.clone()),
        Value::Time(time) => query.bind(datetime(*time)),
        Value::Number(number) => query.bind(*number),
    }
}

/// What leads to the rows.
#[derive(Clone, Debug)]
enum Lead {
    Task(String),
    Job(String),
    All,
}

/// Conditions with their values.
#[derive(Clone, Debug, Default)]
struct Conditions {
    text: String,
    values: Vec<Value>,
}

impl Conditions {
    fn add(&mut self, condition: &str, value: Option<Value>) {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
        self.values.extend(value);
    }
}

/// A search of `job_logs`.
#[derive(Debug)]
pub(crate) struct LogSearch {
    columns: &'static str,
    lead: Lead,
    conditions: Conditions,
    /// Those on the start time.
    range: Conditions,
}

impl LogSearch {
    /// For these columns, of which the first is the id, of rows that match `condition`.
    pub(crate) fn new(columns: &'static str, condition: &str) -> Self {
        let mut search = Self {
            columns,
            lead: Lead::All,
            conditions: Conditions::default(),
            range: Conditions::default(),
        };
        search.require(condition, None);
        search
    }

    /// Only of this task.
    pub(crate) fn task(mut self, task_id: Option<&TaskId>) -> Self {
        if let Some(task_id) = task_id {
            self.lead = Lead::Task(task_id.as_str().to_owned());
        }
        self
    }

    /// Only of this job.
    pub(crate) fn job(mut self, job_id: Option<&JobId>) -> Self {
        if let Some(job_id) = job_id {
            let job_id = job_id.as_str().to_owned();
            match self.lead {
                Lead::All => self.lead = Lead::Job(job_id),
                _ => self.require("job_id = ?", Some(Value::Text(job_id))),
            }
        }
        self
    }

    /// Only of attempts that started at or after `from`, and before `until`.
    pub(crate) fn started(mut self, from: Option<Timestamp>, until: Option<Timestamp>) -> Self {
        for (condition, time) in [("start_time >= ?", from), ("start_time < ?", until)] {
            if let Some(time) = time {
                self.range.add(condition, Some(Value::Time(time)));
                self.require(condition, Some(Value::Time(time)));
            }
        }
        self
    }

    /// Only what matches `condition` as well, which has a `?` if there is a value.
    pub(crate) fn require(&mut self, condition: &str, value: Option<Value>) {
        self.conditions.add(condition, value);
    }

    /// The rows of a page.
    pub(crate) async fn page(&self, cx: &mut Cx<'_>, page: &PageRequest) -> Result<Page<MySqlRow>> {
        let [mut before] = page.cursor.as_ref().map_or(Ok([i64::MAX]), numbers)?;
        let mut first = 0;
        if matches!(self.lead, Lead::All) {
            let Some((oldest, newest)) =
                bounds(cx, made("SELECT MIN(id), MAX(id) FROM job_logs".to_owned())).await?
            else {
                return Ok(last_page(Vec::new()));
            };
            (first, before) = (oldest, before.min(newest.saturating_add(1)));
        }
        let mut rows = Vec::new();
        for look in 0..WINDOWS {
            let lowest = self.lowest(cx, first, before).await?;
            let wanted = page.limit.saturating_sub(rows.len()).saturating_add(1);
            rows.append(&mut self.select(cx, lowest, before, wanted).await?);
            if rows.len() > page.limit {
                return self::page(rows, page.limit);
            }
            if lowest <= first {
                return Ok(last_page(rows));
            }
            before = lowest;
            if look == 0 && !self.range.values.is_empty() {
                match self.range_bounds(cx).await? {
                    RangeBounds::Unknown => {}
                    RangeBounds::Nothing => return Ok(last_page(rows)),
                    RangeBounds::Within(oldest, newest) => {
                        (first, before) = (first.max(oldest), before.min(newest.saturating_add(1)));
                    }
                }
            }
            if before <= first {
                return Ok(last_page(rows));
            }
        }
        Ok(Page {
            items: rows,
            next: Some(Cursor(cursor([before]))),
        })
    }

    /// The lowest id of the rows before `before` that one statement looks at.
    async fn lowest(&self, cx: &mut Cx<'_>, first: i64, before: i64) -> Result<i64> {
        let lowest = match &self.lead {
            // As many as there are attempts.
            Lead::Task(_) => None,
            Lead::All => Some(before.saturating_sub(WINDOW)),
            Lead::Job(job_id) => {
                let select = "SELECT id FROM job_logs FORCE INDEX (idx_job_id) WHERE job_id = ? AND id < ? \
                              ORDER BY id DESC LIMIT 1 OFFSET ?";
                sqlx::query_scalar(select)
                    .bind(job_id.clone())
                    .bind(before)
                    .bind(WINDOW - 1)
                    .fetch_optional(&mut *cx.sql)
                    .await?
            }
        };
        Ok(lowest.map_or(first, |lowest| lowest.max(first)))
    }

    async fn select(&self, cx: &mut Cx<'_>, lowest: i64, before: i64, limit: usize) -> Result<Vec<MySqlRow>> {
        let (index, lead, value) = match &self.lead {
            Lead::Task(task_id) => ("job_logs_task", "task_id = ? AND", Some(task_id)),
            Lead::Job(job_id) => ("idx_job_id", "job_id = ? AND", Some(job_id)),
            Lead::All => ("PRIMARY", "", None),
        };
        let (columns, conditions) = (self.columns, &self.conditions.text);
        let select = format!(
            "SELECT {columns} FROM job_logs FORCE INDEX ({index}) WHERE {lead} id >= ? AND id < ?{conditions} \
             ORDER BY id DESC LIMIT ?"
        );
        let lead = value.map(|value| Value::Text(value.clone()));
        let mut values: Vec<Value> = lead.into_iter().collect();
        values.extend([Value::Number(lowest), Value::Number(before)]);
        values.extend(self.conditions.values.iter().cloned());
        values.push(Value::Number(i64::try_from(limit).unwrap_or(i64::MAX)));
        let query = values.iter().fold(made(select), bind);
        Ok(query.fetch_all(&mut *cx.sql).await?)
    }

    /// Between which ids the attempts lie that started in the range, if they aren't too many to look.
    async fn range_bounds(&self, cx: &mut Cx<'_>) -> Result<RangeBounds> {
        let range = &self.range.text;
        let select = format!(
            "SELECT MIN(id), MAX(id), COUNT(*) FROM (SELECT id FROM job_logs FORCE INDEX (idx_start_time) \
             WHERE TRUE{range} LIMIT ?) started"
        );
        let query = self.range.values.iter().fold(made(select), bind);
        let row = query.bind(RANGE + 1).fetch_one(&mut *cx.sql).await?;
        if row.try_get::<i64, _>(2)? > RANGE {
            return Ok(RangeBounds::Unknown);
        }
        let (oldest, newest): (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
        Ok(match oldest.zip(newest) {
            Some((oldest, newest)) => RangeBounds::Within(oldest, newest),
            None => RangeBounds::Nothing,
        })
    }
}

/// Where the attempts of a time range lie.
enum RangeBounds {
    Unknown,
    Nothing,
    Within(i64, i64),
}

/// The lowest and the highest id that a query gives; `None` if there is nothing.
async fn bounds(cx: &mut Cx<'_>, query: Bound) -> Result<Option<(i64, i64)>> {
    let row = query.fetch_one(&mut *cx.sql).await?;
    let (oldest, newest): (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
    Ok(oldest.zip(newest))
}

/// The page of the first `limit` of more rows.
fn page(mut rows: Vec<MySqlRow>, limit: usize) -> Result<Page<MySqlRow>> {
    rows.truncate(limit);
    let last: Option<i64> = rows.last().map(|row| row.try_get(0)).transpose()?;
    Ok(Page {
        items: rows,
        next: last.map(|id| Cursor(cursor([id]))),
    })
}

fn last_page(rows: Vec<MySqlRow>) -> Page<MySqlRow> {
    Page {
        items: rows,
        next: None,
    }
}
