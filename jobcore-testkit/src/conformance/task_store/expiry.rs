//! Expiry: who is declared dead.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jobcore::lease::Holder;
use jobcore::store::{ExecutorStatus, ExpireExecutors, RegisterExecutor, SetExecutorStatus};
use jobcore::task::TaskState;

use crate::conformance::fixture::{Fixture, LEASE, executor_id, registration};

fn request(limit: usize) -> ExpireExecutors {
    ExpireExecutors {
        spare: Vec::new(),
        grace: Duration::ZERO,
        limit,
    }
}

async fn expire(f: &Fixture, request: ExpireExecutors) -> Vec<Holder> {
    f.store.expire_executors(request).await.expect("expire_executors")
}

pub(super) async fn a_silent_executor_is_declared_dead_once(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.held("a", &node).await;
    let before = f.get("a").await;
    f.pass(LEASE * 2).await;
    assert_eq!(expire(f, request(10)).await, [node]);
    assert_eq!(f.executor("n").await.status, ExecutorStatus::Offline);
    assert_eq!(expire(f, request(10)).await, []);
    assert_eq!(f.get("a").await, before, "its tasks aren't touched");
}

pub(super) async fn a_lease_holds_until_its_end(f: &Fixture) {
    let long = RegisterExecutor {
        lease_duration: Duration::from_secs(600),
        ..registration("long")
    };
    f.register(long).await;
    let node = f.node("n").await;
    if f.set_clock().is_some() {
        f.pass(LEASE - Duration::from_micros(1)).await;
        assert_eq!(expire(f, request(10)).await, []);
        f.pass(Duration::from_micros(1)).await;
    } else {
        f.pass(LEASE).await;
    }
    assert_eq!(expire(f, request(10)).await, [node]);
}

pub(super) async fn spared_executors_live_on(f: &Fixture) {
    let (a, b) = (f.node("a").await, f.node("b").await);
    f.pass(LEASE * 2).await;
    let spare = ExpireExecutors {
        spare: vec![executor_id("a")],
        ..request(10)
    };
    assert_eq!(expire(f, spare).await, [b]);
    assert_eq!(f.executor("a").await.status, ExecutorStatus::Online);
    assert_eq!(expire(f, request(10)).await, [a]);
}

pub(super) async fn a_grace_lengthens_every_lease(f: &Fixture) {
    let node = f.node("n").await;
    f.pass(LEASE * 2).await;
    let patient = ExpireExecutors {
        grace: Duration::from_secs(600),
        ..request(10)
    };
    assert_eq!(expire(f, patient).await, []);
    assert_eq!(expire(f, request(10)).await, [node]);
}

pub(super) async fn at_most_a_limit_is_declared_dead(f: &Fixture) {
    for id in ["c", "a", "b"] {
        f.node(id).await;
    }
    f.pass(LEASE * 2).await;
    let ids = async |limit| -> Vec<String> {
        let dead = expire(f, request(limit)).await;
        dead.iter().map(|holder| holder.executor_id.to_string()).collect()
    };
    assert_eq!(ids(2).await, ["a", "b"]);
    assert_eq!(ids(2).await, ["c"]);
}

pub(super) async fn who_left_or_was_superseded_is_not_declared_dead(f: &Fixture) {
    f.node("n").await;
    let newest = f.node("n").await;
    let gone = f.node("gone").await;
    let leave = SetExecutorStatus::Leave(gone);
    let _ = f
        .store
        .set_executor_status(leave)
        .await
        .expect("set_executor_status");
    f.pass(LEASE * 2).await;
    assert_eq!(expire(f, request(10)).await, [newest]);
}

pub(super) async fn disabled_and_draining_executors_can_die(f: &Fixture) {
    let (a, b) = (f.node("a").await, f.node("b").await);
    for change in [
        SetExecutorStatus::Disable(executor_id("a")),
        SetExecutorStatus::Drain(executor_id("b")),
    ] {
        let _ = f
            .store
            .set_executor_status(change)
            .await
            .expect("set_executor_status");
    }
    f.pass(LEASE * 2).await;
    assert_eq!(expire(f, request(10)).await, [a, b]);
}

pub(super) async fn each_death_is_told_to_one_of_many(f: &Fixture) {
    f.job().await;
    let mut nodes = Vec::new();
    for n in 0..6 {
        nodes.push(f.node(&format!("n{n}")).await);
    }
    f.held("a", &nodes[0]).await;
    f.pass(LEASE * 2).await;
    let expiries = (0..8).map(|_| {
        let store = Arc::clone(&f.store);
        tokio::spawn(async move {
            store
                .expire_executors(request(10))
                .await
                .expect("expire_executors")
        })
    });
    let mut told: Vec<Holder> = Vec::new();
    for dead in join_all(expiries).await {
        told.extend(dead.expect("no expiry panics"));
    }
    told.sort();
    assert_eq!(told, nodes);
    assert_eq!(f.state("a").await, TaskState::Leased);
}
