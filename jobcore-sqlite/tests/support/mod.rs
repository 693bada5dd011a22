//! What the tests of the file have in common.

#![allow(dead_code, reason = "each test program uses a part")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jobcore::Timestamp;
use jobcore::attempt::AttemptStatus;
use jobcore::clock::SystemEntropy;
use jobcore::id::{ClaimId, ExecutorId, JobId, TaskId};
use jobcore::job::{Command, Delivery, JobDefinition};
use jobcore::lane::{Capability, ExecutorProfile, Lane};
use jobcore::lease::{ClaimedTask, Holder, Lease};
use jobcore::store::*;
use jobcore::task::{NewTask, Origin, TaskState};
use jobcore_sqlite::SqliteStore;
use sqlx::{Connection as _, SqliteConnection};

/// The job of all tasks here.
pub(crate) fn job_id() -> JobId {
    JobId::new("greet").unwrap()
}

/// The lane of all tasks here.
pub(crate) fn lane() -> Lane {
    Lane::new("default", &capability(), &BTreeMap::new(), None)
}

fn capability() -> Capability {
    Capability::handler("greet").unwrap()
}

/// Makes the job.
pub(crate) async fn put_job(store: &SqliteStore) {
    let now = store.now().await.unwrap();
    let put = PutJob {
        job_id: job_id(),
        definition: JobDefinition::new("greet", Command::handler("greet")),
        expected: Expected::Any,
        next_fire_time: None,
        zone_version: "test".into(),
        now,
    };
    let outcomes = store.put_jobs(vec![put]).await.unwrap();
    assert_eq!(outcomes.len(), 1);
}

/// A node with this id.
pub(crate) async fn join(store: &SqliteStore, id: &str) -> Holder {
    let executor_id = ExecutorId::new(id).unwrap();
    let profile = ExecutorProfile {
        group: "default".into(),
        capabilities: vec![capability()],
        labels: BTreeMap::new(),
        capacity: 10,
    };
    let registration = RegisterExecutor {
        executor_id: executor_id.clone(),
        host: String::new(),
        port: 0,
        profile,
        reach: Reach::Direct,
        address: None,
        lease_duration: Duration::from_secs(60),
        join: None,
    };
    let incarnation = store.register_executor(registration).await.unwrap().incarnation;
    Holder {
        executor_id,
        incarnation,
    }
}

/// A task that is due.
pub(crate) fn task(task_id: &str, now: Timestamp) -> NewTask {
    NewTask {
        task_id: TaskId::new(task_id).unwrap(),
        job_id: job_id(),
        scheduled_for: None,
        part: 0,
        parts: 1,
        origin: Origin::Manual,
        arguments: None,
        priority: 0,
        due_time: now,
        lane: lane(),
        gates: Vec::new(),
        delivery: Delivery::AtLeastOnce,
        unique_key: None,
        step: None,
        create_time: now,
    }
}

/// Inserts one task.
pub(crate) async fn insert(store: &SqliteStore, task_id: &str) -> jobcore::Result<InsertOutcome> {
    let now = store.now().await.unwrap();
    let mut outcomes = store.insert_tasks(vec![task(task_id, now)], now).await?;
    Ok(outcomes.remove(0))
}

/// Inserts one task that is new.
pub(crate) async fn add(store: &SqliteStore, task_id: &str) {
    assert_eq!(insert(store, task_id).await.unwrap(), InsertOutcome::Inserted);
}

/// A claim of at most `limit` tasks.
pub(crate) fn claim_request(holder: &Holder, limit: usize, now: Timestamp) -> ClaimRequest {
    ClaimRequest {
        claim_id: ClaimId::generate(now, &SystemEntropy),
        replay: false,
        holder: holder.clone(),
        lanes: vec![lane()],
        limit,
        max_held: None,
        start_before: None,
        now,
    }
}

/// Claims at most `limit` tasks.
pub(crate) async fn claim(store: &SqliteStore, holder: &Holder, limit: usize) -> Option<Lease> {
    let now = store.now().await.unwrap();
    match store.claim(claim_request(holder, limit, now)).await.unwrap() {
        ClaimOutcome::Claimed(lease) => Some(lease),
        ClaimOutcome::Nothing => None,
        other => panic!("{other:?}"),
    }
}

/// The successes of all tasks of a lease.
pub(crate) fn settlements(lease: &Lease, now: Timestamp) -> Vec<Settlement> {
    let settlement = |claimed: &ClaimedTask| Settlement {
        fence: claimed.fence(lease.token, &lease.holder),
        attempt: Some(AttemptEnd {
            status: AttemptStatus::Success,
            start_time: now,
            end_time: now,
            exit_code: None,
            output: String::new(),
            error: String::new(),
        }),
        next: Next::Final {
            state: TaskState::Succeeded,
            reason: None,
        },
        checkpoint: None,
    };
    lease.tasks.iter().map(settlement).collect()
}

/// Settles all tasks of a lease as succeeded.
pub(crate) async fn settle(store: &SqliteStore, lease: &Lease) {
    let now = store.now().await.unwrap();
    for outcome in store.settle(settlements(lease, now), now).await.unwrap() {
        assert!(matches!(outcome, SettleOutcome::Settled { .. }), "{outcome:?}");
    }
}

/// All final tasks.
pub(crate) async fn finished(store: &SqliteStore) -> Vec<TaskId> {
    let mut page = PageRequest::first(MAX_BATCH);
    let mut finished = Vec::new();
    loop {
        let found = store
            .list_finished(&FinishedFilter::default(), &page)
            .await
            .unwrap();
        finished.extend(found.items.into_iter().map(|task| task.task_id));
        match found.next {
            Some(next) => page.cursor = Some(next),
            None => return finished,
        }
    }
}

/// The file as any SQLite tool sees it.
pub(crate) async fn by_hand(path: &Path) -> SqliteConnection {
    SqliteConnection::connect(&format!("sqlite://{}", path.display()))
        .await
        .unwrap()
}

/// Fails if the file's structure is damaged.
pub(crate) async fn check_integrity(path: &Path) {
    let mut sql = by_hand(path).await;
    let answer: String = sqlx::query_scalar("PRAGMA integrity_check")
        .fetch_one(&mut sql)
        .await
        .unwrap();
    assert_eq!(answer, "ok");
    sql.close().await.unwrap();
}
