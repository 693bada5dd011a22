//! The floor on MySQL and MariaDB: live row → lease → history row, 1,000 at a time, one flush per batch.
//!
//! Per task it writes what any store with these tables must: the live row at the claim; at the settle the end of that
//! row and of its index entry, the history row and its three index entries.
//!
//! A settle names its tasks one by one, each with times of its own, as results come in. On two cores for server and loop
//! together its best runs do 60,000 tasks a second. The ways to do it were compared with six fewer parameters a history
//! row, which is faster: what is kept did 65,000 to 70,000 then. The best runs of each:
//!
//! - One connection: 46,000 to 54,000, since the server rests while we prepare the next statement, and at the flush.
//!   Three do as well as two where a flush takes 0.2 ms, and better where it takes longer; four and six don't add to it.
//! - Deletes by a list of ids, forced through their unique index: any range of the primary key, and so a list of ranks,
//!   also locks the row behind it, and the connections wait for each other: 16,000. Unforced, the optimizer reads the
//!   whole table once little is left in it, and deadlocks. By full primary keys (`OR`): 26,000 with one connection. As a
//!   join of `JSON_TABLE`: the same as the list, with more text.
//! - History rows as a prepared `INSERT … VALUES` of what the claim read. `INSERT … SELECT` of the rows with the times
//!   from `JSON_TABLE` or `UNION`: 50,000 to 60,000, since it holds the lock of AUTO_INCREMENT until it ends. Literals in
//!   the text of the statement: 56,000; instants as text: 60,000.
//! - A claim takes the rows with `SKIP LOCKED` beyond the rank at which the last one ended, and updates the range; a plain
//!   read before it is as fast. An update of a list of ranks: 15,000, for the reason above.
//! - One transaction settles a batch and claims the next, so that a batch costs one flush; two are at most as fast.
//! - Batches of 1,000 in statements of 500 rows; of 500 or 2,000 rows, and in statements of 250 or 1,000: up to a
//!   tenth slower.

use std::sync::Arc;

use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::query::Query;
use sqlx::types::chrono::{DateTime, NaiveDateTime};
use sqlx::{AssertSqlSafe, Connection as _, MySql, Row as _};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::BATCH;
use crate::clock::Stopwatch;
use crate::failure::{Result, ensure};
use crate::mysql::{Database, connect};
use crate::workload::{JOBS, priority, task_id};

/// How many connections claim and settle at the same time.
const CONNECTIONS: usize = 3;

/// How many rows a statement has at the most. MariaDB would make a join of a list of 1,000.
const ROWS: usize = 500;

const SCHEMA: &str = "
CREATE TABLE tasks (
    lane_id BIGINT NOT NULL,
    pending TINYINT NOT NULL,
    task_rank BIGINT NOT NULL,
    task_id VARCHAR(64) NOT NULL,
    job_id VARCHAR(64) NOT NULL,
    state TINYINT NOT NULL,
    priority INT NOT NULL,
    due_time DATETIME(6) NOT NULL,
    attempt BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    token BIGINT NOT NULL,
    create_time DATETIME(6) NOT NULL,
    start_time DATETIME(6) NULL,
    scheduled_for DATETIME(6) NULL,
    part BIGINT NOT NULL,
    origin TINYINT NOT NULL,
    arguments MEDIUMTEXT NULL,
    extra MEDIUMTEXT NULL,
    PRIMARY KEY (lane_id, pending, task_rank, task_id),
    UNIQUE KEY tasks_id (task_id)
) ENGINE = InnoDB;
CREATE TABLE leases (
    token BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    claim_id BINARY(16) NOT NULL,
    executor_id VARCHAR(64) NOT NULL,
    incarnation BIGINT NOT NULL,
    held BIGINT NOT NULL,
    start_before DATETIME(6) NULL,
    task_ids MEDIUMTEXT NOT NULL,
    UNIQUE KEY leases_claim (claim_id),
    KEY leases_holder (executor_id, incarnation)
) ENGINE = InnoDB;
CREATE TABLE job_logs (
    id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
    job_id VARCHAR(64) NOT NULL,
    executor_id VARCHAR(64) NOT NULL,
    status TINYINT NOT NULL,
    start_time DATETIME(6) NOT NULL,
    end_time DATETIME(6) NULL,
    output MEDIUMTEXT NULL,
    error MEDIUMTEXT NULL,
    task_id VARCHAR(64) NOT NULL DEFAULT '',
    attempt BIGINT NOT NULL DEFAULT 0,
    token BIGINT NOT NULL DEFAULT 0,
    exit_code INT NULL,
    task_state TINYINT NULL,
    finish_time DATETIME(6) NULL,
    reason TEXT NULL,
    lane_id BIGINT NULL,
    priority INT NULL,
    due_time DATETIME(6) NULL,
    create_time DATETIME(6) NULL,
    failures BIGINT NULL,
    scheduled_for DATETIME(6) NULL,
    part BIGINT NULL,
    origin TINYINT NULL,
    holder_id VARCHAR(64) NULL,
    incarnation BIGINT NULL,
    arguments MEDIUMTEXT NULL,
    extra MEDIUMTEXT NULL,
    KEY idx_job_id (job_id),
    KEY idx_start_time (start_time),
    KEY job_logs_task (task_id, attempt)
) ENGINE = InnoDB;
";

const INSERT: &str = "INSERT INTO tasks (lane_id, pending, task_rank, task_id, job_id, state, priority, due_time, \
                      attempt, failures, token, create_time, part, origin) VALUES";
const NEW_ROW: &str = "(1, 0, ?, ?, ?, 2, ?, ?, 0, 0, 0, ?, 0, 1)";

/// Beyond the last rank seen: ranks are unique here, and nothing is inserted meanwhile. All of it is what a handler is
/// told, or history needs.
const CANDIDATES: &str = "
SELECT task_rank, task_id, job_id, priority, due_time, attempt, failures, create_time, scheduled_for, part, origin,
    arguments, extra
FROM tasks FORCE INDEX (PRIMARY) WHERE lane_id = 1 AND pending = 0 AND task_rank > ? AND state = 2
ORDER BY lane_id, pending, task_rank, task_id LIMIT ? FOR UPDATE SKIP LOCKED";

const LEASE: &str = "
INSERT INTO leases (token, claim_id, executor_id, incarnation, held, task_ids)
VALUES (?, UNHEX(MD5(?)), 'executor-1', 1, ?, ?)";

const CLAIM: &str = "
UPDATE tasks FORCE INDEX (PRIMARY) SET state = 3, token = ?, attempt = attempt + 1
WHERE lane_id = 1 AND pending = 0 AND task_rank BETWEEN ? AND ? AND state = 2";

const RECORD: &str = "INSERT INTO job_logs (job_id, executor_id, status, start_time, end_time, output, error, task_id, \
                      attempt, token, task_state, finish_time, lane_id, priority, due_time, create_time, failures, \
                      scheduled_for, part, origin, incarnation, arguments) VALUES";
const RECORD_ROW: &str = "(?, 'executor-1', 1, ?, ?, '', '', ?, ?, ?, 5, ?, 1, ?, ?, ?, ?, ?, ?, ?, 1, ?)";

/// By the unique index, one row at a time: a range would lock the row behind it, which the other connection may hold.
const REMOVE: &str = "DELETE t FROM tasks t FORCE INDEX (tasks_id) WHERE t.token = ? AND t.task_id IN (";

const CLOSE: &str = "DELETE FROM leases WHERE token = ?";

/// The instant at which the tasks begin to be due, in microseconds.
const EPOCH: i64 = 1_700_000_000_000_000;

/// One step of priority, in microseconds of waiting.
const PRIORITY_STEP: i64 = 10_000_000;

/// A statement with a list of rows. It is prepared once on a connection for each length.
fn listing(head: &str, row: &str, rows: usize, tail: &str) -> Bound {
    sqlx::query(AssertSqlSafe(format!(
        "{head} {}{tail}",
        vec![row; rows].join(",")
    )))
}

type Bound = Query<'static, MySql, MySqlArguments>;

pub(super) async fn measure(database: &Database, tasks: usize) -> Result<f64> {
    let options = database.options();
    let mut connection = connect(&options).await?;
    sqlx::raw_sql(SCHEMA).execute(&mut connection).await?;
    fill(&mut connection, tasks).await?;
    let frontier = Arc::new(Mutex::new(Frontier {
        rank: i64::MIN,
        token: 0,
    }));
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        connections.push(connect(&options).await?);
    }
    let watch = Stopwatch::start();
    let mut drains = JoinSet::new();
    for connection in connections {
        drains.spawn(drain(connection, Arc::clone(&frontier)));
    }
    while let Some(drained) = drains.join_next().await {
        drained??;
    }
    let took = watch.elapsed();
    check(&mut connection, tasks).await?;
    Ok(tasks as f64 / took.as_secs_f64())
}

/// Inserts the tasks.
async fn fill(connection: &mut MySqlConnection, tasks: usize) -> Result<()> {
    let rows = (0..tasks).collect::<Vec<_>>();
    for chunk in rows.chunks(ROWS) {
        let mut insert = listing(INSERT, NEW_ROW, chunk.len(), "");
        for &n in chunk {
            let due_time = EPOCH + n as i64;
            insert = insert
                .bind(due_time - i64::from(priority(n)) * PRIORITY_STEP)
                .bind(task_id(n))
                .bind(format!("job-{}", n % JOBS))
                .bind(priority(n))
                .bind(datetime(due_time)?)
                .bind(datetime(due_time)?);
        }
        insert.execute(&mut *connection).await?;
    }
    Ok(())
}

fn datetime(micros: i64) -> Result<NaiveDateTime> {
    let time = DateTime::from_timestamp_micros(micros).ok_or("no such time")?;
    Ok(time.naive_utc())
}

/// How far all connections together have claimed.
struct Frontier {
    rank: i64,
    token: i64,
}

/// A batch that is held.
struct Held {
    token: i64,
    tasks: Vec<Task>,
}

/// A task that is held, with what history needs.
struct Task {
    rank: i64,
    task_id: String,
    job_id: String,
    priority: i32,
    due_time: NaiveDateTime,
    attempt: i64,
    failures: i64,
    create_time: NaiveDateTime,
    scheduled_for: Option<NaiveDateTime>,
    part: i64,
    origin: i8,
    arguments: Option<String>,
}

/// Claims and settles until nothing is ready.
async fn drain(mut connection: MySqlConnection, frontier: Arc<Mutex<Frontier>>) -> Result<()> {
    let mut held = None;
    loop {
        held = turn(&mut connection, held, &frontier).await?;
        if held.is_none() {
            return Ok(connection.close().await?);
        }
    }
}

/// One transaction: settles what is held and claims the next.
async fn turn(
    connection: &mut MySqlConnection,
    held: Option<Held>,
    frontier: &Mutex<Frontier>,
) -> Result<Option<Held>> {
    let mut transaction = connection.begin().await?;
    if let Some(held) = held {
        settle(&mut transaction, held).await?;
    }
    let mut frontier = frontier.lock().await;
    let claimed = claim(&mut transaction, &mut frontier).await?;
    drop(frontier);
    transaction.commit().await?;
    Ok(claimed)
}

async fn claim(connection: &mut MySqlConnection, frontier: &mut Frontier) -> Result<Option<Held>> {
    let candidates = sqlx::query(CANDIDATES)
        .bind(frontier.rank)
        .bind(BATCH as i64)
        .fetch_all(&mut *connection)
        .await?;
    let tasks = candidates.iter().map(Task::decode).collect::<Result<Vec<_>>>()?;
    let (Some(first), Some(last)) = (tasks.first(), tasks.last()) else {
        return Ok(None);
    };
    *frontier = Frontier {
        rank: last.rank,
        token: frontier.token + 1,
    };
    let token = frontier.token;
    let task_ids = tasks.iter().map(|task| task.task_id.as_str());
    sqlx::query(LEASE)
        .bind(token)
        .bind(token)
        .bind(tasks.len() as i64)
        .bind(serde_json::to_string(&task_ids.collect::<Vec<_>>())?)
        .execute(&mut *connection)
        .await?;
    let claimed = sqlx::query(CLAIM)
        .bind(token)
        .bind(first.rank)
        .bind(last.rank)
        .execute(connection)
        .await?;
    ensure(
        claimed.rows_affected() == tasks.len() as u64,
        "the floor claimed other tasks",
    )?;
    Ok(Some(Held { token, tasks }))
}

impl Task {
    fn decode(row: &MySqlRow) -> Result<Self> {
        Ok(Self {
            rank: row.try_get(0)?,
            task_id: row.try_get(1)?,
            job_id: row.try_get(2)?,
            priority: row.try_get(3)?,
            due_time: row.try_get(4)?,
            attempt: row.try_get::<i64, _>(5)? + 1,
            failures: row.try_get(6)?,
            create_time: row.try_get(7)?,
            scheduled_for: row.try_get(8)?,
            part: row.try_get(9)?,
            origin: row.try_get(10)?,
            arguments: row.try_get(11)?,
        })
    }
}

/// The handlers did nothing, one after the other.
async fn settle(connection: &mut MySqlConnection, held: Held) -> Result<()> {
    let Held { token, tasks } = held;
    let count = tasks.len() as u64;
    let mut times = (EPOCH + token * 1_000..).map(datetime);
    let mut time = || times.next().ok_or("no such time")?;
    let finish_time = datetime(EPOCH + (token + 3) * 1_000)?;
    let (mut removed, mut recorded) = (0, 0);
    for chunk in tasks.chunks(ROWS) {
        let mut remove = listing(REMOVE, "?", chunk.len(), ")").bind(token);
        for task in chunk {
            remove = remove.bind(task.task_id.clone());
        }
        removed += remove.execute(&mut *connection).await?.rows_affected();
    }
    let mut tasks = tasks.into_iter().peekable();
    while tasks.peek().is_some() {
        let chunk = tasks.by_ref().take(ROWS).collect::<Vec<_>>();
        let mut record = listing(RECORD, RECORD_ROW, chunk.len(), "");
        for task in chunk {
            record = task.bind(record, token, [time()?, time()?, finish_time]);
        }
        recorded += record.execute(&mut *connection).await?.rows_affected();
    }
    ensure((removed, recorded) == (count, count), "the floor lost a lease")?;
    sqlx::query(CLOSE).bind(token).execute(connection).await?;
    Ok(())
}

impl Task {
    fn bind(self, record: Bound, token: i64, times: [NaiveDateTime; 3]) -> Bound {
        let [start_time, end_time, finish_time] = times;
        record
            .bind(self.job_id)
            .bind(start_time)
            .bind(end_time)
            .bind(self.task_id)
            .bind(self.attempt)
            .bind(token)
            .bind(finish_time)
            .bind(self.priority)
            .bind(self.due_time)
            .bind(self.create_time)
            .bind(self.failures)
            .bind(self.scheduled_for)
            .bind(self.part)
            .bind(self.origin)
            .bind(self.arguments)
    }
}

/// That every task went through.
async fn check(connection: &mut MySqlConnection, tasks: usize) -> Result<()> {
    let row = sqlx::query(
        "SELECT (SELECT COUNT(*) FROM job_logs WHERE task_state = 5 AND attempt = 1), (SELECT COUNT(*) FROM tasks)",
    )
    .fetch_one(connection)
    .await?;
    let (finished, left) = (row.try_get::<i64, _>(0)?, row.try_get::<i64, _>(1)?);
    ensure(finished == tasks as i64 && left == 0, "the floor lost tasks")
}
