//! What a store remembers of its own claims is only used while it is so: others change the same file.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "the helpers of tests may panic like the tests"
)]

mod support;

use std::path::Path;

use jobcore::id::TaskId;
use jobcore::lease::Lease;
use jobcore::store::*;
use jobcore::task::TaskState;
use jobcore_sqlite::SqliteStore;
use support::{add, check_integrity, claim, finished, join, put_job, settlements};

/// Two stores on one file, with one task that the first has claimed together with another one.
async fn shared(folder: &Path) -> (SqliteStore, SqliteStore, Lease) {
    let file = folder.join("jobs.db");
    let (ours, theirs) = (
        SqliteStore::open(&file).await.unwrap(),
        SqliteStore::open(&file).await.unwrap(),
    );
    put_job(&ours).await;
    let holder = join(&ours, "ours").await;
    add(&ours, "a").await;
    add(&ours, "b").await;
    let lease = claim(&ours, &holder, 2).await.unwrap();
    assert_eq!(lease.tasks.len(), 2);
    (ours, theirs, lease)
}

async fn settle(store: &SqliteStore, lease: &Lease) -> Vec<SettleOutcome> {
    let now = store.now().await.unwrap();
    store.settle(settlements(lease, now), now).await.unwrap()
}

fn succeeded() -> SettleOutcome {
    SettleOutcome::Settled {
        state: TaskState::Succeeded,
        gates: Vec::new(),
    }
}

#[tokio::test]
async fn a_success_counts_though_another_store_asked_to_cancel() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs, lease) = shared(folder.path()).await;
    let now = theirs.now().await.unwrap();
    let cancel = CancelTasks {
        which: CancelWhich::Tasks(vec![TaskId::new("a").unwrap()]),
        reason: "no longer wanted".into(),
        grace: None,
        now,
        limit: 10,
    };
    let cancelled = theirs.cancel_tasks(cancel).await.unwrap();
    assert_eq!(cancelled.requested.len(), 1);
    assert_eq!(settle(&ours, &lease).await, [succeeded(), succeeded()]);
    assert_eq!(finished(&theirs).await.len(), 2);
    let live = theirs
        .list_tasks(&TaskFilter::default(), &PageRequest::first(10))
        .await
        .unwrap();
    assert!(live.items.is_empty());
    check_integrity(&folder.path().join("jobs.db")).await;
}

#[tokio::test]
async fn what_another_store_recovered_is_fenced() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs, lease) = shared(folder.path()).await;
    // A newer incarnation drives ours out.
    let other = join(&theirs, "ours").await;
    let now = theirs.now().await.unwrap();
    let recovered = theirs.recover(RecoverRequest { now, limit: 10 }).await.unwrap();
    assert_eq!(recovered.tasks.len(), 2);
    let newer = claim(&theirs, &other, 2).await.unwrap();
    assert_eq!(
        settle(&ours, &lease).await,
        [SettleOutcome::Fenced, SettleOutcome::Fenced]
    );
    assert!(finished(&ours).await.is_empty());
    assert_eq!(settle(&theirs, &newer).await, [succeeded(), succeeded()]);
    check_integrity(&folder.path().join("jobs.db")).await;
}
