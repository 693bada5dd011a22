//! Lanes: which tasks a claim sees, and how it shares among them.

use jobcore::store::{ClaimOutcome, ClaimRequest};
use jobcore::task::{NewTask, TaskState};

use super::claims::claim;
use crate::conformance::fixture::{Fixture, fences, ids_of, lane};

/// Inserts `count` tasks into the lane of each handler, the later lanes with the earlier due times.
async fn fill(f: &Fixture, lanes: &[(&str, usize)]) {
    for (place, (handler, count)) in lanes.iter().enumerate() {
        let tasks = (0..*count).map(|n| NewTask {
            lane: lane(handler),
            due_time: f.at(n as i64 - 100 * (place as i64 + 1)),
            ..f.task(&format!("{handler}{n}"))
        });
        f.insert(tasks.collect()).await;
    }
}

/// How many tasks of each lane a claim of `limit` from these lanes gets, in the order of the lease.
async fn shares(f: &Fixture, lanes: &[&str], limit: usize) -> Vec<String> {
    let node = f.node("n").await;
    let request = ClaimRequest {
        lanes: lanes.iter().map(|handler| lane(handler)).collect(),
        ..f.claim_request(&node, limit)
    };
    let lease = f.claim_with(request).await;
    let settlements = fences(&lease).iter().map(|fence| f.hand_back(fence)).collect();
    let _ = f.store.settle(settlements, f.start).await.expect("settle");
    ids_of(&lease).into_iter().map(str::to_owned).collect()
}

pub(super) async fn only_the_named_lanes_are_claimed(f: &Fixture) {
    f.job().await;
    fill(f, &[("a", 1), ("b", 1)]).await;
    assert_eq!(shares(f, &["b"], 10).await, ["b0"]);
    let node = f.node("n").await;
    let elsewhere = ClaimRequest {
        lanes: vec![lane("c")],
        ..f.claim_request(&node, 10)
    };
    assert_eq!(claim(f, elsewhere).await, ClaimOutcome::Nothing);
}

pub(super) async fn a_full_lane_does_not_starve_the_others(f: &Fixture) {
    f.job().await;
    fill(f, &[("a", 20), ("b", 2), ("c", 20)]).await;
    let even = shares(f, &["a", "b", "c"], 6).await;
    assert_eq!(even, ["a0", "a1", "b0", "b1", "c0", "c1"]);
}

pub(super) async fn what_a_lane_leaves_goes_to_the_others_in_order(f: &Fixture) {
    f.job().await;
    fill(f, &[("a", 20), ("b", 1), ("c", 20)]).await;
    let rest = shares(f, &["c", "b", "empty", "a"], 9).await;
    assert_eq!(rest, ["c0", "c1", "c2", "c3", "c4", "c5", "b0", "a0", "a1"]);
}

pub(super) async fn a_limit_below_the_number_of_lanes_serves_the_first(f: &Fixture) {
    f.job().await;
    fill(f, &[("a", 5), ("b", 5), ("c", 5)]).await;
    assert_eq!(shares(f, &["b", "c", "a"], 2).await, ["b0", "c0"]);
}

pub(super) async fn lanes_with_live_tasks_are_named(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    fill(f, &[("b", 1), ("a", 1)]).await;
    f.held("held", &node).await;
    let lanes = f.store.lanes().await.expect("lanes");
    for handler in ["a", "b", "greet"] {
        assert!(
            lanes.contains(&lane(handler)),
            "{handler} has a live task: {lanes:?}"
        );
    }
    assert!(lanes.is_sorted());
}

/// Inserts a task whose holders died twice before they started it.
async fn suspect(f: &Fixture, id: &str) {
    f.insert(vec![f.task(id)]).await;
    for round in 0..2 {
        let node = f.node(&format!("{id}-{round}")).await;
        f.claim_one(id, &node).await;
        f.kill(&[&node]).await;
        f.recover(f.start).await;
    }
}

pub(super) async fn a_suspect_moves_to_the_quarantine(f: &Fixture) {
    f.job().await;
    suspect(f, "s").await;
    let task = f.get("s").await;
    assert_eq!((task.state, task.orphanings), (TaskState::Ready, 2));
    assert_eq!(task.lane, lane("greet").quarantine());
    assert!(f.store.lanes().await.expect("lanes").contains(&task.lane));
    let node = f.node("n").await;
    assert_eq!(claim(f, f.claim_request(&node, 10)).await, ClaimOutcome::Nothing);
}

pub(super) async fn a_suspect_is_claimed_alone(f: &Fixture) {
    f.job().await;
    suspect(f, "s1").await;
    suspect(f, "s2").await;
    f.insert_some(&["a", "b"]).await;
    let node = f.node("n").await;
    let with = |lanes: Vec<jobcore::lane::Lane>| ClaimRequest {
        lanes,
        ..f.claim_request(&node, 10)
    };
    let (plain, quarantine) = (lane("greet"), lane("greet").quarantine());
    let lease = f.claim_with(with(vec![plain.clone(), quarantine.clone()])).await;
    assert_eq!(ids_of(&lease), ["a", "b"], "the lanes before gave something");
    let lease = f.claim_with(with(vec![plain.clone(), quarantine.clone()])).await;
    assert_eq!(ids_of(&lease), ["s1"]);
    f.insert_some(&["c"]).await;
    let lease = f.claim_with(with(vec![quarantine, plain])).await;
    assert_eq!(ids_of(&lease), ["s2"], "nothing else is taken with it");
}
