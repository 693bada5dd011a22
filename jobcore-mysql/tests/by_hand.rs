//! Rows that people write: they are found, planned and fired, and what can't be understood says why.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic like the tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use jobcore::{Engine, HandlerError, TaskContext};
use sqlx::{AssertSqlSafe, Executor as _, MySqlConnection, Row as _};
use support::{Database, eventually, server};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Many times what an engine takes to find a row and to fire it.
const PATIENCE: Duration = Duration::from_secs(20);

/// An engine whose handler `greet` tells of each call, and a connection of a person who writes rows.
struct Office {
    calls: mpsc::UnboundedReceiver<String>,
    sql: MySqlConnection,
    _engine: Engine,
    _database: Database,
}

impl Office {
    async fn open(server: &str) -> Self {
        let database = Database::create(server).await;
        let store = Arc::new(database.config().open().await.unwrap());
        let (tell, calls) = mpsc::unbounded_channel();
        let greet = move |(): (), cx: TaskContext| {
            let told = tell.send(cx.job_id().to_string());
            async move { told.map_err(HandlerError::new) }
        };
        let engine = Engine::builder(store)
            .handler("greet", greet)
            .shell()
            .start()
            .await
            .unwrap();
        Self {
            calls,
            sql: database.connect().await,
            _engine: engine,
            _database: database,
        }
    }

    async fn write(&mut self, statement: &str) {
        self.sql
            .execute(AssertSqlSafe(statement.to_owned()))
            .await
            .unwrap();
    }

    /// A column of a job's row, as text.
    async fn read(&mut self, column: &str, job_id: &str) -> Option<String> {
        let select = format!("SELECT CAST({column} AS CHAR) FROM jobs WHERE job_id = '{job_id}'");
        sqlx::query_scalar(AssertSqlSafe(select))
            .fetch_one(&mut self.sql)
            .await
            .unwrap()
    }

    /// Waits for the next call by this job.
    async fn called_by(&mut self, job_id: &str) {
        let called = async { while self.calls.recv().await.unwrap() != job_id {} };
        let called = timeout(PATIENCE, called).await;
        called.unwrap_or_else(|_| panic!("{job_id} should fire within {PATIENCE:?}"));
    }
}

/// A job with the columns that a person needs.
fn job(job_id: &str, kind: i8, command: &str, cron: &str) -> String {
    format!(
        "INSERT INTO jobs (job_id, name, command, type, cron_expression) \
         VALUES ('{job_id}', 'By hand', '{command}', {kind}, '{cron}')"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_with_the_columns_of_a_person_is_planned_and_fired() {
    let Some(server) = server() else { return };
    let mut office = Office::open(&server).await;
    office.write(&job("by-hand", 2, "greet", "* * * * * *")).await;
    office.called_by("by-hand").await;
    assert_ne!(office.read("next_fire_time", "by-hand").await, None);
    assert_eq!(office.read("error", "by-hand").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shell_command_written_by_a_person_leaves_its_output_in_the_log() {
    let Some(server) = server() else { return };
    let mut office = Office::open(&server).await;
    office.write(&job("echo", 1, "echo hello", "* * * * * *")).await;
    let sql = &mut office.sql;
    let logged = eventually(PATIENCE, async || {
        let select = "SELECT status, CAST(output AS CHAR) FROM job_logs WHERE job_id = 'echo' LIMIT 1";
        let row = sqlx::query(select).fetch_optional(&mut *sql).await.unwrap()?;
        Some((row.get::<i8, _>(0), row.get::<Option<String>, _>(1)?))
    });
    let (status, output) = logged.await;
    assert_eq!((status, output.trim()), (1, "hello"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_cant_be_understood_says_why_and_holds_nobody_up() {
    let Some(server) = server() else { return };
    let mut office = Office::open(&server).await;
    office
        .write(&job("a-bad-cron", 2, "greet", "every now and then"))
        .await;
    office.write(&job("a-bad-type", 99, "greet", "* * * * * *")).await;
    office.write(&job("good", 2, "greet", "* * * * * *")).await;
    office.called_by("good").await;
    for (job_id, word) in [("a-bad-cron", "cron"), ("a-bad-type", "99")] {
        let error = eventually(PATIENCE, async || office.read("error", job_id).await).await;
        assert!(error.contains(word), "{job_id}: {error}");
    }
    office
        .write("UPDATE jobs SET type = 2 WHERE job_id = 'a-bad-type'")
        .await;
    office.called_by("a-bad-type").await;
    assert_eq!(office.read("error", "a-bad-type").await, None, "it is mended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_a_person_changed_is_planned_anew() {
    let Some(server) = server() else { return };
    let mut office = Office::open(&server).await;
    office.write(&job("rare", 2, "greet", "0 0 0 1 1 *")).await;
    let before = eventually(PATIENCE, async || office.read("next_fire_time", "rare").await).await;
    office
        .write("UPDATE jobs SET cron_expression = '* * * * * *' WHERE job_id = 'rare'")
        .await;
    office.called_by("rare").await;
    assert_ne!(office.read("next_fire_time", "rare").await, Some(before));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn update_time_moves_with_a_persons_change_and_not_with_fires() {
    let Some(server) = server() else { return };
    let mut office = Office::open(&server).await;
    office.write(&job("steady", 2, "greet", "* * * * * *")).await;
    let written = office.read("update_time", "steady").await;
    office.called_by("steady").await;
    office.called_by("steady").await;
    assert_eq!(office.read("update_time", "steady").await, written);
    office
        .write("UPDATE jobs SET priority = 5 WHERE job_id = 'steady'")
        .await;
    assert!(office.read("update_time", "steady").await > written);
}
