//! Sessions that an operator kills.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jobcore::id::TaskId;
use jobcore::lease::Lease;
use jobcore::store::{
    ClaimOutcome, ClaimRequest, FinishedFilter, HistoryStore as _, PageRequest, TaskStore as _,
};
use jobcore::{ErrorKind, Result};
use sqlx::{AssertSqlSafe, Executor as _};
use tokio::task::LocalSet;

use super::support::client::{Client, fences, task_id};
use super::support::{eventually, server};
use super::{PATIENCE, Scene, all_settled};

#[tokio::test]
async fn a_call_whose_session_is_killed_is_repeated_in_another() {
    let Some(server) = server() else { return };
    let mut scene = Scene::open(&server, |config| config).await;
    let lease = scene.claimed(&["a"]).await;
    scene.disturb("BEGIN").await;
    scene.lock("a").await;
    let settling = scene.settling(&lease);
    let (first, session) = scene.held_up(None).await;
    scene
        .watcher
        .execute(AssertSqlSafe(format!("KILL {session}")))
        .await
        .unwrap();
    let (_, another) = scene.held_up(Some(&first)).await;
    assert_ne!(another, session);
    scene.disturb("ROLLBACK").await;
    assert!(all_settled(settling.await.unwrap()));
}

/// How many work at once, and how many tasks each carries out.
const WORKERS: usize = 4;
const TASKS: usize = 50;

/// How often all sessions of the store are killed.
const KILLS: usize = 20;

/// Repeats a call until it has an answer. What it may fail with meanwhile says that it can be repeated.
async fn answered<T>(mut call: impl AsyncFnMut() -> Result<T>) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => {
                let honest = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Indeterminate);
                assert!(honest, "{error:?}");
            }
        }
    }
}

/// What a claim gets at last. A session that was killed keeps its locks until the server has undone it, and claims skip
/// what is locked.
async fn claimed(client: &Client, claim: &ClaimRequest) -> Lease {
    for _ in 0..10_000 {
        match answered(async || client.claim(claim.clone()).await).await {
            ClaimOutcome::Claimed(lease) => return lease,
            ClaimOutcome::Nothing => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("there is nothing to claim");
}

/// Inserts, claims and settles one task after the other.
async fn work(client: Client, worker: usize, done: Arc<AtomicUsize>) {
    let handler = format!("work-{worker}");
    answered(async || client.put_job_again(&handler).await).await;
    let holder = answered(async || client.try_join(&handler).await).await;
    for number in 0..TASKS {
        let task = client.task(&handler, &format!("{handler}-{number}"));
        let _ = answered(async || client.insert_tasks(vec![task.clone()], client.now).await).await;
        let claim = ClaimRequest {
            replay: true,
            ..client.claim_request(&holder, &handler, 1)
        };
        let lease = claimed(&client, &claim).await;
        let settlements: Vec<_> = fences(&lease)
            .iter()
            .map(|fence| client.succeeded(fence))
            .collect();
        let _ = answered(async || client.settle(settlements.clone(), client.now).await).await;
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn sessions_killed_under_load_lose_and_double_nothing() {
    let Some(server) = server() else { return };
    let mut scene = Scene::open(&server, |config| config).await;
    let done = Arc::new(AtomicUsize::new(0));
    let workers = (0..WORKERS).map(|worker| work(scene.client.clone(), worker, Arc::clone(&done)));
    let working = LocalSet::new();
    let workers: Vec<_> = workers.map(|worker| working.spawn_local(worker)).collect();
    working.run_until(kill_often(&mut scene, &done)).await;
    working.await;
    for worker in workers {
        worker.await.unwrap();
    }
    let page = scene
        .client
        .list_finished(&FinishedFilter::default(), &PageRequest::first(1_000))
        .await;
    let mut finished: Vec<TaskId> = page.unwrap().items.into_iter().map(|task| task.task_id).collect();
    finished.sort_unstable();
    let workers = 0..WORKERS;
    let ids =
        workers.flat_map(|worker| (0..TASKS).map(move |number| task_id(&format!("work-{worker}-{number}"))));
    let mut expected: Vec<TaskId> = ids.collect();
    expected.sort_unstable();
    assert_eq!(finished, expected);
}

/// Kills all sessions each time that some more tasks are done.
async fn kill_often(scene: &mut Scene, done: &AtomicUsize) {
    for kill in 1..=KILLS {
        let some = kill * WORKERS * TASKS / (KILLS + 1);
        eventually(PATIENCE, async || {
            (done.load(Ordering::Relaxed) >= some).then_some(())
        })
        .await;
        kill_all(scene).await;
    }
}

/// Kills all sessions on the database but those of the test.
async fn kill_all(scene: &mut Scene) {
    let mut own = Vec::new();
    for sql in [&mut scene.other, &mut scene.watcher] {
        let id: i64 = sqlx::query_scalar("SELECT CAST(CONNECTION_ID() AS SIGNED)")
            .fetch_one(sql)
            .await
            .unwrap();
        own.push(id);
    }
    let select = "SELECT CAST(id AS SIGNED) FROM information_schema.processlist WHERE db = ?";
    let query = sqlx::query_scalar(select).bind(scene.database.name().to_owned());
    let all: Vec<i64> = query.fetch_all(&mut scene.watcher).await.unwrap();
    for session in all.into_iter().filter(|id| !own.contains(id)) {
        // It may have ended meanwhile.
        let _ = scene
            .watcher
            .execute(AssertSqlSafe(format!("KILL {session}")))
            .await;
    }
}
