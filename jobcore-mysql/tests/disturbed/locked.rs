//! Locks that others hold.

use std::time::Duration;

use jobcore::ErrorKind;
use jobcore::store::JobStore as _;
use tokio::time::timeout;

use super::support::server;
use super::{PATIENCE, Scene, all_settled};

#[tokio::test]
async fn a_call_that_waited_too_long_for_a_lock_is_repeated() {
    let Some(server) = server() else { return };
    let mut scene = Scene::open(&server, |config| config.lock_timeout(Duration::from_secs(1))).await;
    let lease = scene.claimed(&["a"]).await;
    scene.disturb("BEGIN").await;
    scene.lock("a").await;
    let settling = scene.settling(&lease);
    let (first, _) = scene.held_up(None).await;
    let _ = scene.held_up(Some(&first)).await;
    scene.disturb("ROLLBACK").await;
    assert!(all_settled(settling.await.unwrap()));
}

#[tokio::test]
async fn a_call_that_lost_in_a_deadlock_is_repeated() {
    let Some(server) = server() else { return };
    // Nothing but the detection of the deadlock ends it in time.
    let forever =
        |config: jobcore_mysql::MySqlConfig| config.lock_timeout(PATIENCE * 10).timeout(PATIENCE * 10);
    let mut scene = Scene::open(&server, forever).await;
    let jobs = (0..100).map(|n| scene.client.new_job(&format!("job-{n}"), None));
    scene.client.put(jobs.collect()).await;
    let lease = scene.claimed(&["a", "b"]).await;
    // The transaction that has written more goes on.
    scene.disturb("BEGIN").await;
    scene.disturb("UPDATE jobs SET priority = 1").await;
    scene.lock("b").await;
    let settling = scene.settling(&lease);
    let _ = scene.held_up(None).await;
    let locked = timeout(PATIENCE, scene.lock("a")).await;
    locked.expect("the store's transaction should have ended");
    scene.disturb("ROLLBACK").await;
    assert!(all_settled(settling.await.unwrap()));
}

#[tokio::test]
async fn a_statement_that_takes_too_long_times_out_and_the_store_goes_on() {
    let Some(server) = server() else { return };
    let mut scene = Scene::open(&server, |config| config.timeout(Duration::from_millis(500))).await;
    let lease = scene.claimed(&["a"]).await;
    scene.disturb("BEGIN").await;
    scene.lock("a").await;
    for _ in 0..10 {
        let error = scene.settling(&lease).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    }
    scene.client.now().await.unwrap();
    scene.disturb("ROLLBACK").await;
    assert!(all_settled(scene.settling(&lease).await.unwrap()));
}
