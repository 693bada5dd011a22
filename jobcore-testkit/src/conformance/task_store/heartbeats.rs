//! Heartbeats: who lives on, and what a living executor learns.

use jobcore::id::TaskId;
use jobcore::json::Json;
use jobcore::lease::{Fence, FencingToken, Holder, Incarnation};
use jobcore::store::{
    Alive, ClaimRequest, ExecutorStatus, Heartbeat, HeartbeatOutcome, Held, SetExecutorStatus,
};

use crate::conformance::fixture::{Fixture, LEASE, executor_id, fences, heartbeat, ids_of, task_id};

/// A heartbeat that must find the executor alive.
async fn alive(f: &Fixture, holder: &Holder, held: Held) -> Alive {
    match f.beat(holder, held).await {
        HeartbeatOutcome::Alive(alive) => alive,
        other => panic!("it should be alive: {other:?}"),
    }
}

fn nothing() -> Held {
    Held::Leases(Vec::new())
}

fn named(fence: &Fence) -> (TaskId, FencingToken) {
    (fence.task_id.clone(), fence.token)
}

fn unnamed(fence: &Fence) -> (TaskId, FencingToken, u32) {
    (fence.task_id.clone(), fence.token, fence.attempt)
}

pub(super) async fn a_heartbeat_keeps_an_executor_alive(f: &Fixture) {
    let (beats, silent) = (f.node("beats").await, f.node("silent").await);
    let joined = f.executor("beats").await.last_heartbeat_time;
    f.pass(LEASE * 2).await;
    let answer = alive(f, &beats, nothing()).await;
    assert!(
        answer.now >= joined + LEASE * 2,
        "the answer has the store's clock"
    );
    assert_eq!(f.executor("beats").await.last_heartbeat_time, answer.now);
    assert_eq!(f.expire(10).await, [silent]);
}

pub(super) async fn a_missed_lease_is_forgiven_until_the_executor_is_dead(f: &Fixture) {
    let node = f.node("n").await;
    f.pass(LEASE * 5).await;
    alive(f, &node, nothing()).await;
    assert_eq!(f.expire(10).await, []);
}

pub(super) async fn a_dead_executor_learns_that_it_is_dead(f: &Fixture) {
    let node = f.node("n").await;
    f.kill(&[&node]).await;
    let before = f.executor("n").await;
    assert_eq!(f.beat(&node, nothing()).await, HeartbeatOutcome::Dead);
    assert_eq!(f.executor("n").await, before, "it changes nothing");
}

pub(super) async fn an_executor_that_left_or_never_joined_is_dead(f: &Fixture) {
    let node = f.node("n").await;
    let leave = SetExecutorStatus::Leave(node.clone());
    let _ = f
        .store
        .set_executor_status(leave)
        .await
        .expect("set_executor_status");
    assert_eq!(f.beat(&node, nothing()).await, HeartbeatOutcome::Dead);
    let stranger = Holder {
        executor_id: executor_id("stranger"),
        incarnation: Incarnation(1),
    };
    assert_eq!(f.beat(&stranger, nothing()).await, HeartbeatOutcome::Dead);
}

pub(super) async fn heartbeats_are_answered_in_order_and_independently(f: &Fixture) {
    let old = f.node("b").await;
    let new = f.node("b").await;
    let dead = f.node("c").await;
    let leave = SetExecutorStatus::Leave(dead.clone());
    let _ = f
        .store
        .set_executor_status(leave)
        .await
        .expect("set_executor_status");
    let other = f.node("a").await;
    let beats = [&dead, &new, &old, &other].map(|holder| heartbeat(holder, nothing()));
    let outcomes = f.store.heartbeat(beats.to_vec()).await.expect("heartbeat");
    assert_eq!(outcomes.len(), 4);
    assert_eq!(outcomes[0], HeartbeatOutcome::Dead);
    assert!(matches!(outcomes[1], HeartbeatOutcome::Alive(_)));
    assert_eq!(outcomes[2], HeartbeatOutcome::Superseded);
    assert!(matches!(outcomes[3], HeartbeatOutcome::Alive(_)));
}

pub(super) async fn a_heartbeat_tells_what_people_ordered(f: &Fixture) {
    let node = f.node("n").await;
    assert_eq!(alive(f, &node, nothing()).await.status, ExecutorStatus::Online);
    for (change, status) in [
        (
            SetExecutorStatus::Disable(executor_id("n")),
            ExecutorStatus::Disabled,
        ),
        (
            SetExecutorStatus::Enable(executor_id("n")),
            ExecutorStatus::Online,
        ),
        (
            SetExecutorStatus::Drain(executor_id("n")),
            ExecutorStatus::Draining,
        ),
    ] {
        let _ = f
            .store
            .set_executor_status(change)
            .await
            .expect("set_executor_status");
        assert_eq!(alive(f, &node, nothing()).await.status, status);
    }
}

pub(super) async fn a_heartbeat_tells_what_is_to_be_cancelled(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let other = f.node("other").await;
    f.held("foreign", &other).await;
    f.insert_some(&["c", "a", "b"]).await;
    let lease = f.claim(&node, 10).await;
    f.cancel(&["foreign", "c", "a"]).await;
    let answer = alive(f, &node, Held::Leases(vec![lease.token])).await;
    assert_eq!(answer.cancel, [task_id("a"), task_id("c")]);
    let of_c = fences(&lease).remove(0);
    assert_eq!(of_c.task_id, task_id("c"));
    f.succeed(&of_c).await;
    let answer = alive(f, &node, Held::Leases(vec![lease.token])).await;
    assert_eq!(answer.cancel, [task_id("a")]);
}

pub(super) async fn a_lease_that_was_not_named_is_told(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let (known, lost) = (f.held("known", &node).await, f.held("lost", &node).await);
    let answer = alive(f, &node, Held::Leases(vec![known.token])).await;
    assert_eq!((answer.unnamed, answer.lost), (vec![unnamed(&lost)], vec![]));
    let answer = alive(f, &node, nothing()).await;
    assert_eq!(answer.unnamed, [unnamed(&known), unnamed(&lost)], "by token");
    let _ = f.settle(f.hand_back(&lost)).await;
    let answer = alive(f, &node, Held::Leases(vec![known.token])).await;
    assert_eq!(answer.unnamed, []);
}

pub(super) async fn a_dispatched_task_is_missed_only_after_its_start_before(f: &Fixture) {
    f.job().await;
    let node = f.remote("n").await;
    f.insert_some(&["b", "a"]).await;
    let request = ClaimRequest {
        start_before: Some(f.start + LEASE),
        ..f.claim_request(&node, 2)
    };
    let lease = f.claim_with(request).await;
    assert_eq!(ids_of(&lease), ["b", "a"]);
    let fences = fences(&lease);
    if f.set_clock().is_some() {
        // A clock that goes by itself may be past it already.
        let answer = alive(f, &node, Held::Tasks(Vec::new())).await;
        assert_eq!(answer.unnamed, []);
    }
    f.pass(LEASE * 2).await;
    let answer = alive(f, &node, Held::Tasks(vec![named(&fences[0])])).await;
    assert_eq!(answer.unnamed, [unnamed(&fences[1])]);
    let answer = alive(f, &node, Held::Tasks(Vec::new())).await;
    assert_eq!(
        answer.unnamed,
        [unnamed(&fences[1]), unnamed(&fences[0])],
        "by task within a lease"
    );
}

pub(super) async fn a_task_that_is_no_longer_held_is_told(f: &Fixture) {
    f.job().await;
    let node = f.remote("n").await;
    let (kept, settled) = (f.held("kept", &node).await, f.held("settled", &node).await);
    f.succeed(&settled).await;
    let older = (task_id("kept"), FencingToken(kept.token.0 - 1));
    let unknown = (task_id("unknown"), kept.token);
    let names = vec![named(&settled), named(&kept), unknown.clone(), older.clone()];
    let answer = alive(f, &node, Held::Tasks(names)).await;
    assert_eq!(
        answer.lost,
        [named(&settled), unknown, older],
        "in the order named"
    );
    assert_eq!(answer.unnamed, []);
}

pub(super) async fn a_closed_lease_changes_nothing_that_is_held(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.held("a", &node).await;
    let beat = Heartbeat {
        closed: vec![fence.token],
        ..heartbeat(&node, nothing())
    };
    let outcomes = f.store.heartbeat(vec![beat]).await.expect("heartbeat");
    let HeartbeatOutcome::Alive(answer) = &outcomes[0] else {
        panic!("it should be alive: {outcomes:?}");
    };
    assert_eq!(
        answer.unnamed,
        [unnamed(&fence)],
        "closed counts as not named while something is held"
    );
    f.kill(&[&node]).await;
    assert_eq!(f.recover(f.start).await.tasks.len(), 1, "recovery still finds it");
}

pub(super) async fn reported_resources_are_kept(f: &Fixture) {
    let node = f.node("n").await;
    let load = Json::parse(r#"{"memory_mb":512}"#).expect("JSON");
    let beat = Heartbeat {
        resources: Some(load.clone()),
        ..heartbeat(&node, nothing())
    };
    let _ = f.store.heartbeat(vec![beat]).await.expect("heartbeat");
    assert_eq!(f.executor("n").await.resources, Some(load.clone()));
    alive(f, &node, nothing()).await;
    assert_eq!(
        f.executor("n").await.resources,
        Some(load),
        "none leaves what is there"
    );
    f.node("n").await;
    assert_eq!(
        f.executor("n").await.resources,
        None,
        "a new incarnation begins without"
    );
}
