//! The file: opened by many at once, by newer and older programs, written by hand, and on a full disk.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "the helpers of tests may panic like the tests"
)]

mod support;

use std::path::Path;

use jobcore::id::{JobId, TaskId};
use jobcore::job::JobKind;
use jobcore::schedule::Rule;
use jobcore::store::*;
use jobcore::task::TaskState;
use jobcore::{ErrorKind, Timestamp};
use jobcore_sqlite::{SqliteConfig, SqliteStore};
use sqlx::{Connection as _, SqliteConnection};
use support::{
    add, by_hand, check_integrity, claim, claim_request, finished, insert, job_id, join, put_job, settle,
};

fn in_new_directory() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jobs.db");
    (directory, file)
}

async fn execute(sql: &mut SqliteConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(sql).await.unwrap();
}

#[tokio::test]
async fn ten_open_a_new_file_at_once() {
    let (_directory, file) = in_new_directory();
    let open = |number: usize| {
        let file = file.clone();
        tokio::spawn(async move {
            let store = SqliteStore::open(file).await.unwrap();
            add(&store, &format!("task-{number}")).await;
            store
        })
    };
    let opened: Vec<_> = (0..10).map(open).collect();
    for store in opened {
        let store = store.await.unwrap();
        let tasks = store
            .list_tasks(&TaskFilter::default(), &PageRequest::first(100))
            .await
            .unwrap();
        assert!(!tasks.items.is_empty());
        store.close().await;
    }
    let store = SqliteStore::open(&file).await.unwrap();
    let tasks = store
        .list_tasks(&TaskFilter::default(), &PageRequest::first(100))
        .await
        .unwrap();
    assert_eq!(tasks.items.len(), 10);
}

#[tokio::test]
async fn what_is_settled_is_there_after_reopening() {
    let (_directory, file) = in_new_directory();
    let store = SqliteStore::open(&file).await.unwrap();
    put_job(&store).await;
    add(&store, "a").await;
    add(&store, "b").await;
    let holder = join(&store, "node").await;
    settle(&store, &claim(&store, &holder, 1).await.unwrap()).await;
    store.close().await;
    let store = SqliteStore::open(&file).await.unwrap();
    assert_eq!(finished(&store).await, [TaskId::new("a").unwrap()]);
    let b = store
        .get_tasks(&[TaskId::new("b").unwrap()])
        .await
        .unwrap()
        .remove(0)
        .unwrap();
    assert_eq!(b.state, TaskState::Ready);
    assert_eq!(
        insert(&store, "a").await.unwrap(),
        InsertOutcome::Duplicate {
            task_id: TaskId::new("a").unwrap()
        }
    );
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused() {
    let (_directory, file) = in_new_directory();
    SqliteStore::open(&file).await.unwrap().close().await;
    let mut sql = by_hand(&file).await;
    execute(&mut sql, "PRAGMA user_version = 999").await;
    sql.close().await.unwrap();
    let error = SqliteStore::open(&file).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.message().contains("999") && error.message().contains("upgrade"),
        "{error}"
    );
}

#[tokio::test]
async fn a_database_of_another_program_is_refused_and_left_alone() {
    let (_directory, file) = in_new_directory();
    std::fs::write(&file, "").unwrap();
    let mut sql = by_hand(&file).await;
    execute(&mut sql, "CREATE TABLE theirs (id INTEGER)").await;
    sql.close().await.unwrap();
    assert_eq!(
        SqliteStore::open(&file).await.unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    let mut sql = by_hand(&file).await;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut sql)
        .await
        .unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn what_is_no_database_is_refused() {
    let (_directory, file) = in_new_directory();
    std::fs::write(
        &file,
        "something else entirely, and long enough to be looked at".repeat(20),
    )
    .unwrap();
    assert_eq!(
        SqliteStore::open(&file).await.unwrap_err().kind(),
        ErrorKind::Corrupt
    );
    let missing = Path::new("/nonexistent/directory/jobs.db");
    assert_eq!(
        SqliteStore::open(missing).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing() {
    let (_directory, file) = in_new_directory();
    let store = SqliteConfig::file(&file)
        .max_size(400 * 1024)
        .open()
        .await
        .unwrap();
    put_job(&store).await;
    let mut accepted = 0;
    let error = loop {
        let now = store.now().await.unwrap();
        let tasks = (0..50)
            .map(|number| support::task(&format!("task-{accepted}-{number}"), now))
            .collect();
        match store.insert_tasks(tasks, now).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(accepted > 0);
    let page = PageRequest::first(MAX_BATCH);
    let live = store
        .list_tasks(&TaskFilter::default(), &page)
        .await
        .unwrap()
        .items
        .len();
    assert_eq!(live, (accepted * 50).min(MAX_BATCH));
    store.close().await;
    check_integrity(&file).await;
    let store = SqliteStore::open(&file).await.unwrap();
    assert_eq!(insert(&store, "more").await.unwrap(), InsertOutcome::Inserted);
}

#[tokio::test]
async fn a_failing_operation_takes_no_neighbour_with_it() {
    let (_directory, file) = in_new_directory();
    let store = SqliteStore::open(&file).await.unwrap();
    put_job(&store).await;
    let holder = join(&store, "node").await;
    add(&store, "first").await;
    add(&store, "second").await;
    let now = store.now().await.unwrap();
    let request = claim_request(&holder, 1, now);
    assert!(matches!(
        store.claim(request.clone()).await.unwrap(),
        ClaimOutcome::Claimed(_)
    ));
    // The same claim number for another claim breaks a constraint; all wait together while the first writes.
    let inserts: Vec<String> = (0..20).map(|number| format!("task-{number}")).collect();
    let (before, after) = inserts.split_at(10);
    let (before, claimed, after) = tokio::join!(
        futures(&store, before),
        store.claim(request),
        futures(&store, after),
    );
    assert_eq!(claimed.unwrap_err().kind(), ErrorKind::Conflict);
    assert!(
        before
            .into_iter()
            .chain(after)
            .all(|outcome| outcome == InsertOutcome::Inserted)
    );
}

/// Inserts tasks all at once, each by itself.
async fn futures(store: &SqliteStore, task_ids: &[String]) -> Vec<InsertOutcome> {
    let mut inserts: Vec<_> = task_ids
        .iter()
        .map(|task_id| Box::pin(insert(store, task_id)))
        .collect();
    let mut outcomes = Vec::new();
    std::future::poll_fn(|cx| {
        inserts.retain_mut(|insert| match insert.as_mut().poll(cx) {
            std::task::Poll::Ready(outcome) => {
                outcomes.push(outcome.unwrap());
                false
            }
            std::task::Poll::Pending => true,
        });
        if inserts.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    outcomes
}

#[tokio::test]
async fn a_row_written_by_hand_is_found_and_works() {
    let (_directory, file) = in_new_directory();
    let store = SqliteStore::open(&file).await.unwrap();
    let mut sql = by_hand(&file).await;
    execute(
        &mut sql,
        "INSERT INTO jobs (job_id, name, command, type, cron_expression, timeout, retry_count, retry_interval) \
         VALUES ('backup', 'Nightly backup', 'tar c /home', 1, '30 2 * * *', 60, 3, 5); \
         INSERT INTO jobs (job_id, name, command, type) VALUES ('by-hand-only', 'No schedule', 'true', 1); \
         INSERT INTO jobs (job_id, name, command, type, cron_expression) \
         VALUES ('bad', 'Bad', 'true', 1, 'every day'), ('worse', 'Worse', 'true', 99, '0 0 * * *')",
    )
    .await;
    let unplanned = store.unplanned_jobs("2026a", 10).await.unwrap();
    let ids: Vec<&str> = unplanned.iter().map(|job| job.job_id.as_str()).collect();
    assert_eq!(ids, ["backup", "bad", "worse"]);
    let backup = &unplanned[0];
    assert_eq!(
        (
            backup.error.as_deref(),
            backup.version,
            backup.zone_version.as_str()
        ),
        (None, 1, "")
    );
    assert_eq!(backup.definition.command.kind, JobKind::Shell);
    assert_eq!(
        backup.definition.timeout,
        Some(std::time::Duration::from_secs(60))
    );
    assert_eq!(backup.definition.retry.retry_count, 3);
    assert!(backup.definition.schedule.is_some() && backup.create_time > Timestamp::from_secs(1_700_000_000));
    assert!(
        unplanned[1].error.as_deref().unwrap().contains("cron"),
        "{:?}",
        unplanned[1].error
    );
    assert!(
        unplanned[2].error.as_deref().unwrap().contains("99"),
        "{:?}",
        unplanned[2].error
    );
    let plan = |job_id: &str| Fire {
        job_id: JobId::new(job_id).unwrap(),
        version: 1,
        expected_next_fire_time: None,
        next_fire_time: Some(Timestamp::from_secs(2_000_000_000)),
        last_fire_time: None,
        zone_version: "2026a".into(),
        error: None,
        tasks: Vec::new(),
        decisions: Vec::new(),
        now: Timestamp::from_secs(1_900_000_000),
    };
    assert_eq!(
        store.fire(vec![plan("backup")]).await.unwrap(),
        [FireOutcome::Fired]
    );
    assert_eq!(store.unplanned_jobs("2026a", 10).await.unwrap().len(), 2);
}

/// The person who wrote it finds out there why it doesn't run.
#[tokio::test]
async fn a_row_that_cant_be_understood_says_why() {
    let (_directory, file) = in_new_directory();
    let store = std::sync::Arc::new(SqliteStore::open(&file).await.unwrap());
    let mut sql = by_hand(&file).await;
    let row = "INSERT INTO jobs (job_id, name, command, type, cron_expression) \
               VALUES ('bad', 'bad', 'greet', 99, '* * * * *'), ('good', 'good', 'greet', 2, '* * * * *')";
    execute(&mut sql, row).await;
    let engine = jobcore::Engine::builder(store).start().await.unwrap();
    let select = "SELECT error FROM jobs WHERE zone_version <> '' ORDER BY job_id";
    let planned = async {
        loop {
            let errors: Vec<Option<String>> = sqlx::query_scalar(select).fetch_all(&mut sql).await.unwrap();
            if errors.len() == 2 {
                return errors;
            }
        }
    };
    let errors = tokio::time::timeout(std::time::Duration::from_secs(20), planned)
        .await
        .unwrap();
    assert!(errors[0].as_ref().unwrap().contains("99"), "{errors:?}");
    assert_eq!(errors[1], None);
    engine.drain(std::time::Duration::ZERO).await;
}

#[tokio::test]
async fn a_change_by_hand_is_planned_again_and_keeps_the_policies() {
    let (_directory, file) = in_new_directory();
    let store = SqliteStore::open(&file).await.unwrap();
    put_job(&store).await;
    let now = store.now().await.unwrap();
    let mut definition = store.get_jobs(&[job_id()]).await.unwrap()[0]
        .as_ref()
        .unwrap()
        .definition
        .clone();
    definition.max_concurrent = Some(2);
    definition.retry.retry_interval = std::time::Duration::from_millis(1_500);
    let schedule = jobcore::schedule::Schedule::cron("0 9 * * *").unwrap();
    definition.schedule = Some(schedule.in_zone("Europe/Berlin").unwrap());
    let put = PutJob {
        job_id: job_id(),
        definition: definition.clone(),
        expected: Expected::Any,
        next_fire_time: Some(now),
        zone_version: "2026a".into(),
        now,
    };
    let _ = store.put_jobs(vec![put]).await.unwrap();
    assert!(store.unplanned_jobs("2026a", 10).await.unwrap().is_empty());
    let mut sql = by_hand(&file).await;
    execute(
        &mut sql,
        "UPDATE jobs SET cron_expression = '0 10 * * *', priority = 7 WHERE job_id = 'greet'",
    )
    .await;
    let unplanned = store.unplanned_jobs("2026a", 10).await.unwrap();
    let [job] = &unplanned[..] else {
        panic!("{unplanned:?}")
    };
    assert_eq!(
        (job.version, job.next_fire_time, job.definition.priority),
        (3, None, 7)
    );
    assert_eq!(job.definition.max_concurrent, Some(2));
    assert_eq!(
        job.definition.retry, definition.retry,
        "a finer interval than the column's stays"
    );
    let Rule::Cron {
        expression,
        time_zone,
        ..
    } = job.definition.schedule.as_ref().unwrap().rule()
    else {
        panic!("{job:?}")
    };
    assert_eq!((expression, time_zone), ("0 10 * * *", "Europe/Berlin"));
}
