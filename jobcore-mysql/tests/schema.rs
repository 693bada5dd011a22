//! The tables: made by many at once, or by hand for programs without rights; refused when they are too new, shared with the
//! neighbouring release.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic like the tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use jobcore::ErrorKind;
use jobcore::store::{
    Fire, FireOutcome, HeartbeatOutcome, HistoryStore as _, JobStore as _, PromoteRequest, Purge,
    TaskStore as _,
};
use jobcore::task::NewTask;
use jobcore_mysql::{MySqlConfig, SCHEMA_SQL};
use sqlx::AssertSqlSafe;
use support::client::{Client, ZONE_VERSION, job_id};
use support::{Account, Database, execute, server};

/// What the database says of its schema: rows, version, the oldest program that may use it.
async fn schema(database: &Database) -> (i64, i64, i64) {
    let select = "SELECT COUNT(*), CAST(SUM(version) AS SIGNED), CAST(SUM(oldest_program) AS SIGNED) FROM jobcore_schema";
    sqlx::query_as(select)
        .fetch_one(&mut database.connect().await)
        .await
        .unwrap()
}

/// The tables of a database, and how many columns each has.
async fn tables(database: &Database) -> Vec<(String, i64)> {
    let select = "SELECT table_name, COUNT(*) FROM information_schema.columns WHERE table_schema = ? \
                  GROUP BY table_name ORDER BY table_name";
    let query = sqlx::query_as(select).bind(database.name().to_owned());
    query.fetch_all(&mut database.connect().await).await.unwrap()
}

/// The tables by hand, as `schema.sql` has them.
async fn run_script(database: &Database) {
    let mut sql = database.connect().await;
    sqlx::raw_sql(SCHEMA_SQL).execute(&mut sql).await.unwrap();
}

/// A task from its fire to the purge of its history, by two programs in turn.
async fn go_through(first: &Client, second: &Client) {
    first.put(vec![first.new_job("tick", Some(Duration::ZERO))]).await;
    let job = first
        .get_jobs(&[job_id("tick")])
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    let later = NewTask {
        due_time: first.now + Duration::from_secs(1),
        ..first.task("tick", "later")
    };
    let fire = Fire {
        job_id: job.job_id.clone(),
        version: job.version,
        expected_next_fire_time: job.next_fire_time,
        next_fire_time: Some(first.now + Duration::from_secs(60)),
        last_fire_time: job.next_fire_time,
        zone_version: ZONE_VERSION.into(),
        error: None,
        tasks: vec![NewTask {
            scheduled_for: job.next_fire_time,
            ..first.task("tick", "fired")
        }],
        decisions: Vec::new(),
        now: first.now,
    };
    assert_eq!(first.fire(vec![fire]).await.unwrap(), [FireOutcome::Fired]);
    second.insert(vec![second.task("tick", "now"), later]).await;
    let promote = PromoteRequest {
        now: first.now + Duration::from_secs(2),
        gates: None,
        limit: 10,
    };
    assert_eq!(first.promote(promote).await.unwrap().ready, 1);
    let holder = second.join("node").await;
    let lease = second.take(&holder, "tick", 10).await;
    assert_eq!(lease.tasks.len(), 3);
    assert!(matches!(
        first.beat(&holder, &[&lease]).await,
        HeartbeatOutcome::Alive(_)
    ));
    second.succeed(&lease).await;
    let purge = Purge {
        before: first.now + Duration::from_secs(60),
        limit: 10,
        now: first.now + Duration::from_secs(60),
    };
    assert_eq!(first.purge(&purge).await.unwrap().tasks, 3);
}

async fn client(config: MySqlConfig) -> Client {
    Client::new(config.open().await.unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_programs_make_the_tables_at_once() {
    let Some(server) = server() else { return };
    let (database, expected) = (
        Arc::new(Database::create(&server).await),
        Database::create(&server).await,
    );
    run_script(&expected).await;
    let opening: Vec<_> = (0..10)
        .map(|_| {
            let config = database.config();
            tokio::spawn(async move { config.open().await.map(drop) })
        })
        .collect();
    for opened in opening {
        opened.await.unwrap().unwrap();
    }
    assert_eq!(tables(&database).await, tables(&expected).await);
    assert_eq!(schema(&database).await, schema(&expected).await);
}

#[tokio::test]
async fn the_script_run_by_hand_and_again_is_all_that_is_needed() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    run_script(&database).await;
    run_script(&database).await;
    let client = client(database.config().migrate(false)).await;
    go_through(&client, &client).await;
}

#[tokio::test]
async fn four_rights_are_enough_once_the_tables_are_there() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    run_script(&database).await;
    let account = Account::create(&database, "SELECT, INSERT, UPDATE, DELETE").await;
    let first = client(account.config().migrate(false)).await;
    let second = client(account.config()).await;
    go_through(&first, &second).await;
}

#[tokio::test]
async fn who_may_not_make_the_tables_is_told_what_to_do() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    let account = Account::create(&database, "SELECT, INSERT, UPDATE, DELETE").await;
    for config in [account.config(), account.config().migrate(false)] {
        let refused = config.open().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        assert!(refused.to_string().contains("schema.sql"), "{refused}");
    }
    assert_eq!(tables(&database).await, []);
}

#[tokio::test]
async fn a_program_that_is_too_old_is_refused_and_told_to_be_upgraded() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    run_script(&database).await;
    let (_, version, _) = schema(&database).await;
    let newer = format!(
        "UPDATE jobcore_schema SET version = {0}, oldest_program = {0}",
        version + 1
    );
    execute(&database.url(), &newer).await;
    for config in [database.config(), database.config().migrate(false)] {
        let refused = config.open().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        assert!(refused.to_string().contains("upgrade"), "{refused}");
    }
}

#[tokio::test]
async fn the_neighbouring_release_can_have_added_columns_and_tables() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    let before = client(database.config()).await;
    let mut sql = database.connect().await;
    for (table, _) in tables(&database).await {
        let alter = format!("ALTER TABLE {table} ADD COLUMN added TEXT NULL");
        sqlx::query(AssertSqlSafe(alter)).execute(&mut sql).await.unwrap();
    }
    let (_, version, _) = schema(&database).await;
    let newer = format!(
        "CREATE TABLE added (id INT PRIMARY KEY); \
         UPDATE jobcore_schema SET version = {}, oldest_program = {version}",
        version + 1
    );
    execute(&database.url(), &newer).await;
    let after = client(database.config()).await;
    go_through(&before, &after).await;
    assert_eq!(schema(&database).await, (1, version + 1, version));
}
