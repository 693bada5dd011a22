//! Enqueueing in the application's own transaction, on a table of its own in the same file.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic like the tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use jobcore::enqueue::Written;
use jobcore::event::{Event, Received};
use jobcore::id::JobId;
use jobcore::job::NewJob;
use jobcore::scheduler::{PutJobRequest, Triggered};
use jobcore::store::{Expected, MAX_BATCH, PageRequest, PutJobOutcome, TaskFilter};
use jobcore::task::TaskState;
use jobcore::{Engine, ErrorKind, HandlerError, JobBuilder, Scheduler, SchedulerExt, TaskContext, Trigger};
use jobcore_sqlite::SqliteStore;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{Sqlite, Transaction};
use support::by_hand;
use tokio::sync::mpsc;

const HOUR: Duration = Duration::from_secs(3600);

/// An application: a table `orders` beside the store's, and a handler `confirm` that says for which order it runs.
struct Application {
    store: Arc<SqliteStore>,
    pool: SqlitePool,
    engine: Engine,
    confirmed: mpsc::UnboundedReceiver<i64>,
    _directory: tempfile::TempDir,
}

impl Application {
    /// With an engine that looks for what it wasn't told this often.
    async fn polling(poll_interval: Duration) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("orders.db");
        let store = Arc::new(SqliteStore::open(&file).await.unwrap());
        let options = SqliteConnectOptions::new().filename(&file);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        sqlx::query("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
            .execute(&pool)
            .await
            .unwrap();
        let (tell, confirmed) = mpsc::unbounded_channel();
        let confirm = move |order: i64, _: TaskContext| {
            let told = tell.send(order);
            async move { told.map_err(HandlerError::new) }
        };
        let builder = Engine::builder(store.clone()).handler("confirm", confirm);
        let builder = builder.configure(|config| config.poll_interval = poll_interval);
        Self {
            engine: builder.start().await.unwrap(),
            store,
            pool,
            confirmed,
            _directory: directory,
        }
    }

    /// With an engine that never looks by itself.
    async fn start() -> Self {
        let application = Self::polling(HOUR).await;
        let job = JobBuilder::handler("confirm");
        application.engine.put_job(job).await.unwrap();
        application
    }

    async fn begin(&self) -> Transaction<'static, Sqlite> {
        self.pool.begin_with("BEGIN IMMEDIATE").await.unwrap()
    }

    async fn orders(&self) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM orders");
        count.fetch_one(&self.pool).await.unwrap()
    }

    async fn live_tasks(&self) -> usize {
        let page = PageRequest::first(MAX_BATCH);
        let tasks = self.engine.list_tasks(&TaskFilter::default(), &page).await;
        tasks.unwrap().items.len()
    }

    async fn enqueue(&self, tx: &mut Transaction<'_, Sqlite>, triggers: Vec<Trigger>) -> Written<Triggered> {
        let plan = self.engine.plan_triggers(triggers).await.unwrap();
        self.store.enqueue_in(tx, &plan).await.unwrap()
    }

    /// The next order that is confirmed.
    async fn next(&mut self) -> i64 {
        bounded(self.confirmed.recv()).await.unwrap()
    }

    async fn state(&self, triggered: &Triggered) -> TaskState {
        bounded(self.engine.wait(triggered.task_id()))
            .await
            .unwrap()
            .state
    }
}

async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work)
        .await
        .expect("it takes too long")
}

async fn insert_order(tx: &mut Transaction<'_, Sqlite>, id: i64) {
    sqlx::query("INSERT INTO orders (id) VALUES (?)")
        .bind(id)
        .execute(&mut **tx)
        .await
        .unwrap();
}

fn confirm(order: i64) -> Trigger {
    Trigger::new(JobId::new("confirm").unwrap())
        .arguments(&order)
        .unwrap()
}

fn put(job: NewJob) -> PutJobRequest {
    PutJobRequest {
        job,
        expected: Expected::Absent,
    }
}

#[tokio::test]
async fn a_commit_brings_the_row_and_its_task_which_starts_at_once() {
    let mut application = Application::start().await;
    let mut tx = application.begin().await;
    insert_order(&mut tx, 1).await;
    let Written { outcomes, wake_up } = application.enqueue(&mut tx, vec![confirm(1)]).await;
    assert!(matches!(outcomes[..], [Triggered::Made { .. }]));
    tx.commit().await.unwrap();
    wake_up.wake();
    assert_eq!(application.next().await, 1);
    assert_eq!(application.state(&outcomes[0]).await, TaskState::Succeeded);
    assert_eq!(application.orders().await, 1);
}

#[tokio::test]
async fn a_rollback_takes_both_back_and_the_plan_can_be_used_again() {
    let mut application = Application::start().await;
    let plan = application.engine.plan_triggers(vec![confirm(7)]).await.unwrap();
    let mut tx = application.begin().await;
    insert_order(&mut tx, 7).await;
    let written = application.store.enqueue_in(&mut tx, &plan).await.unwrap();
    drop(tx);
    // Waking for what isn't there is harmless.
    written.wake_up.wake();
    assert_eq!(application.orders().await, 0);
    assert_eq!(application.live_tasks().await, 0);
    let mut tx = application.begin().await;
    insert_order(&mut tx, 7).await;
    let Written { outcomes, wake_up } = application.store.enqueue_in(&mut tx, &plan).await.unwrap();
    assert!(matches!(outcomes[..], [Triggered::Made { .. }]));
    tx.commit().await.unwrap();
    wake_up.wake();
    assert_eq!(application.next().await, 7);
    assert_eq!(application.state(&outcomes[0]).await, TaskState::Succeeded);
}

#[tokio::test]
async fn without_a_wake_up_the_next_look_finds_the_task() {
    let mut application = Application::polling(Duration::from_millis(20)).await;
    let job = JobBuilder::handler("confirm");
    application.engine.put_job(job).await.unwrap();
    let mut tx = application.begin().await;
    let written = application.enqueue(&mut tx, vec![confirm(3)]).await;
    drop(written);
    tx.commit().await.unwrap();
    assert_eq!(application.next().await, 3);
}

#[tokio::test]
async fn a_unique_key_names_the_task_that_is_there() {
    let mut application = Application::start().await;
    let keyed = |order: i64| confirm(order).unique("key").unwrap();
    let mut tx = application.begin().await;
    let Written { outcomes, wake_up } = application
        .enqueue(&mut tx, vec![keyed(1), keyed(2), confirm(3)])
        .await;
    let first = outcomes[0].task_id().clone();
    assert_eq!(
        outcomes[1],
        Triggered::Existing {
            task_id: first.clone()
        }
    );
    assert!(matches!(outcomes[2], Triggered::Made { .. }));
    tx.commit().await.unwrap();
    wake_up.wake();
    for outcome in [&outcomes[0], &outcomes[2]] {
        assert_eq!(application.state(outcome).await, TaskState::Succeeded);
    }
    let mut tx = application.begin().await;
    let again = application.enqueue(&mut tx, vec![keyed(4)]).await;
    tx.commit().await.unwrap();
    assert_eq!(again.outcomes, [Triggered::Existing { task_id: first }]);
    // A key that was rolled back is free.
    let mut tx = application.begin().await;
    let undone = application
        .enqueue(&mut tx, vec![confirm(5).unique("other").unwrap()])
        .await;
    assert!(matches!(undone.outcomes[..], [Triggered::Made { .. }]));
    tx.rollback().await.unwrap();
    let other = confirm(6).unique("other").unwrap();
    let triggered = application.engine.trigger(vec![other]).await.unwrap();
    assert!(matches!(triggered[..], [Triggered::Made { .. }]));
    let mut ran = [application.next().await, application.next().await];
    ran.sort_unstable();
    assert_eq!((ran, application.next().await), ([1, 3], 6));
}

#[tokio::test]
async fn tasks_behind_a_gate_go_one_after_the_other() {
    let mut application = Application::polling(HOUR).await;
    let limited = JobBuilder::handler("confirm").max_concurrent(1);
    application.engine.put_job(limited).await.unwrap();
    let mut tx = application.begin().await;
    let Written { outcomes, wake_up } = application.enqueue(&mut tx, (1..=3).map(confirm).collect()).await;
    tx.commit().await.unwrap();
    let tasks: Vec<_> = outcomes.iter().map(|made| made.task_id().clone()).collect();
    for task in application.engine.get_tasks(&tasks).await.unwrap() {
        assert!(task.unwrap().is_gated());
    }
    wake_up.wake();
    for order in 1..=3 {
        assert_eq!(application.next().await, order);
    }
}

#[tokio::test]
async fn a_job_made_in_a_transaction_fires() {
    let mut application = Application::polling(HOUR).await;
    let every = JobBuilder::handler("confirm")
        .arguments(9)
        .every(Duration::from_millis(50));
    let plan = application
        .engine
        .plan_jobs(vec![put(every.build().unwrap())])
        .await
        .unwrap();
    let mut events = application.engine.subscribe();
    let mut tx = application.begin().await;
    let undone = application.store.put_jobs_in(&mut tx, &plan).await.unwrap();
    assert!(matches!(undone.outcomes[..], [PutJobOutcome::Created(_)]));
    tx.rollback().await.unwrap();
    let job_id = JobId::new("confirm").unwrap();
    assert_eq!(
        application
            .engine
            .get_jobs(std::slice::from_ref(&job_id))
            .await
            .unwrap(),
        [None]
    );
    let mut tx = application.begin().await;
    insert_order(&mut tx, 9).await;
    let Written { outcomes, wake_up } = application.store.put_jobs_in(&mut tx, &plan).await.unwrap();
    assert!(matches!(outcomes[..], [PutJobOutcome::Created(_)]));
    tx.commit().await.unwrap();
    wake_up.wake();
    let first = bounded(events.next()).await;
    assert_eq!(first, Some(Received::Event(Event::Job { job_id })));
    assert_eq!(application.next().await, 9);
    assert_eq!(application.next().await, 9);
    let mut tx = application.begin().await;
    let again = application.store.put_jobs_in(&mut tx, &plan).await.unwrap();
    assert!(matches!(
        again.outcomes[..],
        [PutJobOutcome::VersionConflict { .. }]
    ));
}

/// A lane's number that was rolled back is given again; the store must not go by the one that it was.
#[tokio::test]
async fn what_was_rolled_back_is_not_remembered() {
    let application = Application::start().await;
    let shell = JobBuilder::shell("true").id("other");
    application.engine.put_job(shell).await.unwrap();
    let mut tx = application.begin().await;
    let undone = application.enqueue(&mut tx, vec![confirm(1)]).await;
    tx.rollback().await.unwrap();
    drop(undone);
    let other = Trigger::new(JobId::new("other").unwrap());
    let other = application.engine.trigger_one(other).await.unwrap();
    let mut tx = application.begin().await;
    let Written { outcomes, wake_up } = application.enqueue(&mut tx, vec![confirm(2)]).await;
    tx.commit().await.unwrap();
    wake_up.wake();
    assert_eq!(application.state(&outcomes[0]).await, TaskState::Succeeded);
    // Nobody here carries out commands.
    let other = application.engine.get_task(&other).await.unwrap().unwrap();
    assert_eq!(
        (other.state, other.lane.capability()),
        (TaskState::Ready, "shell")
    );
}

#[tokio::test]
async fn a_plan_longer_than_a_batch_is_written_whole() {
    let application = Application::start().await;
    let later = |order| confirm(order).after(HOUR);
    let count = MAX_BATCH + 1;
    let triggers = (0..count).map(|order| later(i64::try_from(order).unwrap()));
    let mut tx = application.begin().await;
    let written = application.enqueue(&mut tx, triggers.collect()).await;
    assert_eq!(written.outcomes.len(), count);
    tx.commit().await.unwrap();
    let last = application
        .engine
        .get_task(written.outcomes[MAX_BATCH].task_id())
        .await;
    assert_eq!(last.unwrap().unwrap().state, TaskState::Scheduled);
}

#[tokio::test]
async fn a_connection_that_cannot_be_used_is_refused() {
    let application = Application::start().await;
    let plan = application.engine.plan_triggers(vec![confirm(1)]).await.unwrap();
    let mut connection = application.pool.acquire().await.unwrap();
    let error = application
        .store
        .enqueue_in(&mut connection, &plan)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(application.live_tasks().await, 0);
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = directory.path().join("elsewhere.db");
    std::fs::write(&elsewhere, "").unwrap();
    let mut elsewhere = by_hand(&elsewhere).await;
    let mut tx = sqlx::Connection::begin(&mut elsewhere).await.unwrap();
    let error = application.store.enqueue_in(&mut tx, &plan).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("another database"), "{error}");
}
