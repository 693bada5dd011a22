//! Enqueueing in the application's own transaction, on a table of its own in the same database.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic like the tests")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use jobcore::enqueue::Written;
use jobcore::id::JobId;
use jobcore::job::NewJob;
use jobcore::scheduler::{PutJobRequest, Triggered};
use jobcore::store::{Expected, PageRequest, PutJobOutcome, TaskFilter};
use jobcore::{Engine, ErrorKind, HandlerError, JobBuilder, Scheduler, SchedulerExt, TaskContext, Trigger};
use jobcore_mysql::MySqlStore;
use sqlx::mysql::MySqlPool;
use sqlx::{MySql, Transaction};
use support::Database;
use tokio::sync::mpsc;

/// An application: a table `orders` beside the store's, and a handler `confirm` that says for which order it runs. Its
/// engine never looks by itself, so what starts was woken.
struct Application {
    engine: Engine,
    store: Arc<MySqlStore>,
    pool: MySqlPool,
    confirmed: mpsc::UnboundedReceiver<i64>,
    _database: Database,
}

impl Application {
    async fn start(server: &str, job: JobBuilder) -> Self {
        let database = Database::create(server).await;
        let store = Arc::new(database.config().open().await.unwrap());
        let pool = MySqlPool::connect(&database.url()).await.unwrap();
        sqlx::query("CREATE TABLE orders (id BIGINT PRIMARY KEY)")
            .execute(&pool)
            .await
            .unwrap();
        let (tell, confirmed) = mpsc::unbounded_channel();
        let confirm = move |order: i64, _: TaskContext| {
            let told = tell.send(order);
            async move { told.map_err(HandlerError::new) }
        };
        let builder = Engine::builder(store.clone()).handler("confirm", confirm);
        let builder = builder.configure(|config| config.poll_interval = Duration::from_secs(3_600));
        let engine = builder.start().await.unwrap();
        engine.put_job(job).await.unwrap();
        Self {
            engine,
            store,
            pool,
            confirmed,
            _database: database,
        }
    }

    async fn enqueue(&self, tx: &mut Transaction<'_, MySql>, triggers: Vec<Trigger>) -> Written<Triggered> {
        let plan = self.engine.plan_triggers(triggers).await.unwrap();
        self.store.enqueue_in(tx, &plan).await.unwrap()
    }

    async fn next(&mut self) -> i64 {
        let next = tokio::time::timeout(Duration::from_secs(20), self.confirmed.recv());
        next.await.expect("it was woken").unwrap()
    }

    async fn orders(&self) -> i64 {
        let count = sqlx::query_scalar("SELECT COUNT(*) FROM orders");
        count.fetch_one(&self.pool).await.unwrap()
    }

    async fn live_tasks(&self) -> usize {
        let tasks = self
            .engine
            .list_tasks(&TaskFilter::default(), &PageRequest::first(100))
            .await;
        tasks.unwrap().items.len()
    }
}

fn confirm(order: i64) -> Trigger {
    Trigger::new(JobId::new("confirm").unwrap())
        .arguments(&order)
        .unwrap()
}

async fn insert_order(tx: &mut Transaction<'_, MySql>, id: i64) {
    let insert = sqlx::query("INSERT INTO orders (id) VALUES (?)").bind(id);
    insert.execute(&mut **tx).await.unwrap();
}

#[tokio::test]
async fn a_commit_brings_the_row_and_its_task_which_starts_at_once() {
    let Some(server) = support::server() else { return };
    let mut application = Application::start(&server, JobBuilder::handler("confirm")).await;
    let mut tx = application.pool.begin().await.unwrap();
    insert_order(&mut tx, 1).await;
    let Written { outcomes, wake_up } = application.enqueue(&mut tx, vec![confirm(1)]).await;
    assert!(matches!(outcomes[..], [Triggered::Made { .. }]));
    assert_eq!(
        application.live_tasks().await,
        0,
        "nobody sees it before the commit"
    );
    tx.commit().await.unwrap();
    wake_up.wake();
    assert_eq!(application.next().await, 1);
    assert_eq!(application.orders().await, 1);
}

#[tokio::test]
async fn a_rollback_takes_both_back_and_the_plan_can_be_used_again() {
    let Some(server) = support::server() else { return };
    let mut application = Application::start(&server, JobBuilder::handler("confirm")).await;
    let plan = application.engine.plan_triggers(vec![confirm(7)]).await.unwrap();
    let mut tx = application.pool.begin().await.unwrap();
    insert_order(&mut tx, 7).await;
    let written = application.store.enqueue_in(&mut tx, &plan).await.unwrap();
    tx.rollback().await.unwrap();
    written.wake_up.wake();
    assert_eq!(
        (application.orders().await, application.live_tasks().await),
        (0, 0)
    );
    let mut tx = application.pool.begin().await.unwrap();
    let Written { wake_up, .. } = application.store.enqueue_in(&mut tx, &plan).await.unwrap();
    tx.commit().await.unwrap();
    wake_up.wake();
    assert_eq!(application.next().await, 7);
}

#[tokio::test]
async fn what_is_there_already_is_named_and_the_rest_is_inserted() {
    let Some(server) = support::server() else { return };
    let application = Application::start(&server, JobBuilder::handler("confirm")).await;
    let keyed = |order| confirm(order).unique("key").unwrap();
    let first = application.engine.trigger_one(keyed(1)).await.unwrap();
    let mut tx = application.pool.begin().await.unwrap();
    insert_order(&mut tx, 2).await;
    let written = application.enqueue(&mut tx, vec![keyed(2), confirm(3)]).await;
    tx.commit().await.unwrap();
    assert_eq!(written.outcomes[0], Triggered::Existing { task_id: first });
    assert!(matches!(written.outcomes[1], Triggered::Made { .. }));
    assert_eq!(application.orders().await, 1, "the application's own row stays");
}

/// Both began before either committed: the second one waits, and then names the first one's task.
#[tokio::test]
async fn of_two_transactions_with_one_unique_key_the_second_names_the_firsts_task() {
    let Some(server) = support::server() else { return };
    let application = Application::start(&server, JobBuilder::handler("confirm")).await;
    let keyed = |order| confirm(order).unique("key").unwrap();
    let mut first = application.pool.begin().await.unwrap();
    let mut second = application.pool.begin().await.unwrap();
    // From here on the second one sees the past.
    sqlx::query("SELECT COUNT(*) FROM orders")
        .execute(&mut *second)
        .await
        .unwrap();
    let made = application.enqueue(&mut first, vec![keyed(1)]).await;
    let waits = application.enqueue(&mut second, vec![keyed(2)]);
    let commits = async { first.commit().await.unwrap() };
    let (named, ()) = tokio::join!(waits, commits);
    second.commit().await.unwrap();
    let task_id = made.outcomes[0].task_id().clone();
    assert_eq!(named.outcomes, [Triggered::Existing { task_id }]);
}

#[tokio::test]
async fn tasks_behind_a_gate_go_one_after_the_other() {
    let Some(server) = support::server() else { return };
    let limited = JobBuilder::handler("confirm").max_concurrent(1);
    let mut application = Application::start(&server, limited).await;
    let mut tx = application.pool.begin().await.unwrap();
    let Written { wake_up, .. } = application.enqueue(&mut tx, (1..=3).map(confirm).collect()).await;
    tx.commit().await.unwrap();
    wake_up.wake();
    for order in 1..=3 {
        assert_eq!(application.next().await, order);
    }
}

#[tokio::test]
async fn a_job_made_in_a_transaction_fires() {
    let Some(server) = support::server() else { return };
    let mut application = Application::start(&server, JobBuilder::handler("confirm")).await;
    let every = JobBuilder::handler("confirm")
        .id("every")
        .arguments(9)
        .every(Duration::from_millis(50));
    let job: NewJob = every.build().unwrap();
    let request = PutJobRequest {
        job,
        expected: Expected::Absent,
    };
    let plan = application.engine.plan_jobs(vec![request]).await.unwrap();
    let mut tx = application.pool.begin().await.unwrap();
    let Written { outcomes, wake_up } = application.store.put_jobs_in(&mut tx, &plan).await.unwrap();
    assert!(matches!(outcomes[..], [PutJobOutcome::Created(_)]));
    tx.commit().await.unwrap();
    wake_up.wake();
    assert_eq!(application.next().await, 9);
}

#[tokio::test]
async fn a_connection_without_a_transaction_is_refused() {
    let Some(server) = support::server() else { return };
    let application = Application::start(&server, JobBuilder::handler("confirm")).await;
    let plan = application.engine.plan_triggers(vec![confirm(1)]).await.unwrap();
    let mut connection = application.pool.acquire().await.unwrap();
    let refused = application
        .store
        .enqueue_in(&mut connection, &plan)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert_eq!(application.live_tasks().await, 0);
}
