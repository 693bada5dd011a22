//! The floor on SQLite: live row → lease → history row, 1,000 at a time, one flush per batch.
//!
//! Per task it writes what any store with these tables must: the live row at the claim; at the settle the end of that
//! row and of its index entry, the history row and its three index entries. Techniques:
//!
//! - Live rows are clustered by lane and rank, so that a batch is neighbouring rows on few pages, however priorities mix.
//! - One transaction settles a batch and claims the next, so that a batch costs one flush.
//! - A second connection reads the next candidates while the writer works and flushes; the claim itself is the
//!   writer's conditional update of their range.
//! - Many values travel as one: what to settle in one JSON text, candidates in one text, because sqlx moves every row and
//!   every value through a channel.
//! - Pages of 8 KiB spare writes.
//!
//! A settle names its tasks one by one, each with times of its own, as results come in.

use std::fmt::Write as _;
use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use super::BATCH;
use crate::clock::Stopwatch;
use crate::failure::{Result, ensure};
use crate::workload::{JOBS, priority, task_id};

const SCHEMA: &str = "
CREATE TABLE tasks (
    lane_id INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    job_id TEXT NOT NULL,
    state INTEGER NOT NULL,
    token INTEGER NOT NULL DEFAULT 0,
    holder_id INTEGER,
    attempt INTEGER NOT NULL DEFAULT 0,
    priority INTEGER NOT NULL,
    due_time INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    scheduled_for INTEGER,
    part INTEGER NOT NULL DEFAULT 0,
    parts INTEGER NOT NULL DEFAULT 1,
    origin INTEGER NOT NULL DEFAULT 1,
    delivery INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    orphanings INTEGER NOT NULL DEFAULT 0,
    arguments TEXT,
    PRIMARY KEY (lane_id, rank, task_id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX tasks_id ON tasks (task_id);
CREATE TABLE leases (token INTEGER PRIMARY KEY, holder_id INTEGER NOT NULL, claim_id BLOB NOT NULL);
CREATE TABLE job_logs (
    id INTEGER PRIMARY KEY,
    job_id TEXT NOT NULL,
    executor_id TEXT NOT NULL,
    status INTEGER NOT NULL,
    start_time INTEGER NOT NULL,
    end_time INTEGER,
    output TEXT NOT NULL,
    error TEXT NOT NULL,
    exit_code INTEGER,
    task_id TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    token INTEGER NOT NULL,
    task_state INTEGER NOT NULL,
    lane_id INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    due_time INTEGER NOT NULL,
    create_time INTEGER NOT NULL,
    scheduled_for INTEGER,
    part INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    delivery INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    orphanings INTEGER NOT NULL,
    arguments TEXT
);
CREATE INDEX idx_job_id ON job_logs (job_id);
CREATE INDEX idx_start_time ON job_logs (start_time);
CREATE UNIQUE INDEX job_logs_attempt ON job_logs (task_id, attempt);
";

const INSERT: &str = "
INSERT INTO tasks (task_id, job_id, lane_id, state, rank, priority, due_time, create_time)
SELECT value ->> 0, value ->> 1, 1, 2, value ->> 2, value ->> 3, value ->> 4, value ->> 4 FROM json_each(?1)";

/// One row, one text: a line for each candidate, with what a handler is told. Beyond the last rank seen: ranks are unique
/// here, and nothing is inserted meanwhile.
const CANDIDATES: &str = "
SELECT group_concat(task_id || '|' || rank || '|' || job_id || '|' || attempt || '|' || priority || '|' || due_time
        || '|' || coalesce(scheduled_for, '') || '|' || coalesce(arguments, ''), char(10))
FROM (SELECT * FROM tasks WHERE lane_id = 1 AND rank > ?1 AND state = 2 ORDER BY rank LIMIT ?2)";

const LEASE: &str = "INSERT INTO leases (token, holder_id, claim_id) VALUES (?1, 1, randomblob(16))";

const CLAIM: &str = "
UPDATE tasks SET state = 3, token = ?1, holder_id = 1, attempt = attempt + 1
WHERE lane_id = 1 AND rank BETWEEN ?2 AND ?3 AND state = 2 AND token < ?1";

/// Each element is id, start time, end time and rank, 36 + 16 + 16 + 16 or 17 characters: cheaper to take apart than
/// nested JSON.
const RECORD: &str = "
INSERT INTO job_logs (job_id, executor_id, status, start_time, end_time, output, error, task_id, attempt,
    token, task_state, lane_id, priority, due_time, create_time, scheduled_for, part, parts, origin, delivery, failures,
    orphanings, arguments)
SELECT t.job_id, 'executor-1', 1, CAST(substr(value, 37, 16) AS INTEGER), CAST(substr(value, 53, 16) AS INTEGER),
    '', '', t.task_id, t.attempt, t.token, 5, t.lane_id, t.priority, t.due_time, t.create_time, t.scheduled_for,
    t.part, t.parts, t.origin, t.delivery, t.failures, t.orphanings, t.arguments
FROM json_each(?1) CROSS JOIN tasks t
WHERE t.lane_id = 1 AND t.rank = CAST(substr(value, 69) AS INTEGER) AND t.task_id = substr(value, 1, 36)
    AND t.token = ?2 AND t.holder_id = 1";

const REMOVE: &str = "
DELETE FROM tasks
WHERE (lane_id, rank, task_id) IN
        (SELECT 1, CAST(substr(value, 69) AS INTEGER), substr(value, 1, 36) FROM json_each(?1))
    AND token = ?2 AND holder_id = 1";

const CLOSE: &str = "DELETE FROM leases WHERE token = ?1";

/// The instant at which the tasks begin to be due, in microseconds.
const EPOCH: i64 = 1_700_000_000_000_000;

/// One step of priority, in microseconds of waiting.
const PRIORITY_STEP: i64 = 10_000_000;

pub(super) async fn measure(folder: &Path, tasks: usize) -> Result<f64> {
    let file = folder.join("floor.db");
    let mut writer = connect(&file).await?;
    sqlx::raw_sql(SCHEMA).execute(&mut writer).await?;
    fill(&mut writer, tasks).await?;
    let mut reader = connect(&file).await?;
    let watch = Stopwatch::start();
    drain(&mut writer, &mut reader).await?;
    let took = watch.elapsed();
    check(&mut writer, tasks).await?;
    Ok(tasks as f64 / took.as_secs_f64())
}

async fn connect(file: &Path) -> Result<SqliteConnection> {
    Ok(SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .page_size(8_192)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("cache_size", "-65536")
        .pragma("temp_store", "memory")
        .disable_statement_logging()
        .connect()
        .await?)
}

/// Inserts the tasks.
async fn fill(writer: &mut SqliteConnection, tasks: usize) -> Result<()> {
    let rows = (0..tasks).collect::<Vec<_>>();
    for chunk in rows.chunks(1_000) {
        let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query(INSERT)
            .bind(new_rows(chunk))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
    }
    Ok(())
}

fn new_rows(numbers: &[usize]) -> String {
    let rows = numbers.iter().map(|&n| {
        let due_time = EPOCH + n as i64;
        let rank = due_time - i64::from(priority(n)) * PRIORITY_STEP;
        let (task_id, job) = (task_id(n), n % JOBS);
        format!(r#"["{task_id}","job-{job}",{rank},{},{due_time}]"#, priority(n))
    });
    format!("[{}]", rows.collect::<Vec<_>>().join(","))
}

/// A candidate of a claim, or a task that is held.
struct Candidate {
    task_id: String,
    rank: i64,
}

/// A batch that is held: its token, and a JSON text of what to settle.
struct Held {
    token: i64,
    records: String,
    count: usize,
}

/// Claims and settles until nothing is ready.
async fn drain(writer: &mut SqliteConnection, reader: &mut SqliteConnection) -> Result<()> {
    let mut held = None;
    let mut candidates = candidates(reader, i64::MIN).await?;
    let mut token = 0;
    while held.is_some() || !candidates.is_empty() {
        token += 1;
        let next_rank = candidates.last().map_or(i64::MAX, |last| last.rank);
        let (turned, next) = tokio::join!(
            turn(writer, held.take(), &candidates, token),
            self::candidates(reader, next_rank)
        );
        held = turned?;
        candidates = next?;
    }
    Ok(())
}

/// Reads the next candidates, beyond `rank`.
async fn candidates(reader: &mut SqliteConnection, rank: i64) -> Result<Vec<Candidate>> {
    let row = sqlx::query(CANDIDATES)
        .bind(rank)
        .bind(BATCH as i64)
        .fetch_one(reader)
        .await?;
    let text = row.try_get::<Option<&str>, _>(0)?.unwrap_or("");
    Ok(text.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Candidate> {
    let mut fields = line.split('|');
    Some(Candidate {
        task_id: fields.next()?.to_owned(),
        rank: fields.next()?.parse().ok()?,
    })
}

/// One transaction: settles what is held and claims the candidates.
async fn turn(
    writer: &mut SqliteConnection,
    held: Option<Held>,
    candidates: &[Candidate],
    token: i64,
) -> Result<Option<Held>> {
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
    if let Some(held) = held {
        settle(&mut transaction, held).await?;
    }
    let claimed = if candidates.is_empty() {
        None
    } else {
        Some(claim(&mut transaction, candidates, token).await?)
    };
    transaction.commit().await?;
    Ok(claimed)
}

async fn settle(connection: &mut SqliteConnection, held: Held) -> Result<()> {
    let recorded = sqlx::query(RECORD)
        .bind(&held.records)
        .bind(held.token)
        .execute(&mut *connection)
        .await?;
    ensure(
        recorded.rows_affected() == held.count as u64,
        "the floor lost a lease",
    )?;
    sqlx::query(REMOVE)
        .bind(held.records)
        .bind(held.token)
        .execute(&mut *connection)
        .await?;
    sqlx::query(CLOSE).bind(held.token).execute(connection).await?;
    Ok(())
}

async fn claim(connection: &mut SqliteConnection, candidates: &[Candidate], token: i64) -> Result<Held> {
    let rank = |candidate: Option<&Candidate>| candidate.map_or(i64::MAX, |candidate| candidate.rank);
    sqlx::query(LEASE).bind(token).execute(&mut *connection).await?;
    let claimed = sqlx::query(CLAIM)
        .bind(token)
        .bind(rank(candidates.first()))
        .bind(rank(candidates.last()))
        .execute(connection)
        .await?;
    ensure(
        claimed.rows_affected() == candidates.len() as u64,
        "the floor claimed other tasks",
    )?;
    Ok(Held {
        token,
        records: records(candidates, EPOCH + token * 1_000),
        count: candidates.len(),
    })
}

/// What to settle, as a JSON array of texts that need no escaping; the handlers did nothing, one after the other.
fn records(candidates: &[Candidate], begin: i64) -> String {
    let mut text = String::with_capacity(candidates.len() * 90);
    for (Candidate { task_id, rank }, start_time) in candidates.iter().zip((begin..).step_by(2)) {
        text.push_str(if text.is_empty() { "[\"" } else { "\",\"" });
        let end_time = start_time + 1;
        // Writing to a text can't fail.
        let _ = write!(text, "{task_id}{start_time:016}{end_time:016}{rank}");
    }
    text.push_str("\"]");
    text
}

/// That every task went through.
async fn check(writer: &mut SqliteConnection, tasks: usize) -> Result<()> {
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM job_logs WHERE task_state = 5 AND attempt = 1), (SELECT count(*) FROM tasks)",
    )
    .fetch_one(writer)
    .await?;
    let (finished, left) = (row.try_get::<i64, _>(0)?, row.try_get::<i64, _>(1)?);
    ensure(finished == tasks as i64 && left == 0, "the floor lost tasks")
}
