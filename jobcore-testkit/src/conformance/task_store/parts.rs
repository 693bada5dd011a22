//! Parts of broadcasts whose executor won't start them.

use std::collections::BTreeMap;

use jobcore::Timestamp;
use jobcore::engine::part::RETURN_WITHIN;
use jobcore::id::ExecutorId;
use jobcore::lane::{Capability, Lane};
use jobcore::lease::Holder;
use jobcore::store::{ClaimOutcome, ClaimRequest, PromoteRequest, Promoted, SetExecutorStatus};
use jobcore::task::{NewTask, TaskState};

use super::promotions::{key, limit};
use crate::conformance::fixture::{Fixture, executor_id, fences, job_id, task_id};

/// The lane of what only this executor may take.
fn own_lane(executor_id: &ExecutorId) -> Lane {
    let capability = Capability::handler("greet").expect("a good name");
    Lane::new("default", &capability, &BTreeMap::new(), Some(executor_id))
}

fn part(f: &Fixture, id: &str, executor: &str) -> NewTask {
    NewTask {
        lane: own_lane(&executor_id(executor)),
        ..f.task(id)
    }
}

async fn disable(f: &Fixture, executor: &str) {
    let change = SetExecutorStatus::Disable(executor_id(executor));
    let _ = f
        .store
        .set_executor_status(change)
        .await
        .expect("set_executor_status");
}

async fn leave(f: &Fixture, holder: &Holder) {
    let change = SetExecutorStatus::Leave(holder.clone());
    let _ = f
        .store
        .set_executor_status(change)
        .await
        .expect("set_executor_status");
}

/// When parts that wait for the executor are given up.
async fn given_up(f: &Fixture, executor: &str) -> Timestamp {
    f.executor(executor).await.last_heartbeat_time + RETURN_WITHIN
}

fn skipped(id: &str) -> (jobcore::id::TaskId, jobcore::id::JobId, TaskState) {
    (task_id(id), job_id("greet"), TaskState::Skipped)
}

async fn promote(f: &Fixture, now: Timestamp, limit: usize) -> Promoted {
    let request = PromoteRequest {
        now,
        gates: None,
        limit,
    };
    f.store.promote(request).await.expect("promote")
}

/// Claims what only the holder may take.
async fn claim(f: &Fixture, holder: &Holder) -> ClaimOutcome {
    let request = ClaimRequest {
        lanes: vec![own_lane(&holder.executor_id)],
        ..f.claim_request(holder, 10)
    };
    f.store.claim(request).await.expect("claim")
}

pub(super) async fn parts_of_a_disabled_executor_are_skipped(f: &Fixture) {
    f.job().await;
    f.node("on").await;
    f.node("off").await;
    f.insert(vec![
        part(f, "a", "on"),
        part(f, "b", "off"),
        part(f, "c", "off"),
        f.task("d"),
    ])
    .await;
    assert_eq!(f.promote(f.start).await.settled, [], "both may start theirs");
    disable(f, "off").await;
    let promoted = promote(f, f.start, 1).await;
    assert_eq!((promoted.settled, promoted.more), (vec![skipped("b")], true));
    let promoted = f.promote(f.start).await;
    assert_eq!((promoted.settled, promoted.more), (vec![skipped("c")], false));
    let task = f.get("b").await;
    assert_eq!(task.reason.as_deref(), Some("executor off is disabled"));
    assert_eq!((task.state, task.end_time), (TaskState::Skipped, Some(f.start)));
    assert_eq!(f.states(&["a", "d"]).await, [TaskState::Ready, TaskState::Ready]);
}

pub(super) async fn parts_of_an_executor_that_stays_away_are_skipped(f: &Fixture) {
    f.job().await;
    let holder = f.node("n").await;
    f.insert(vec![part(f, "a", "n")]).await;
    let given_up = given_up(f, "n").await;
    assert_eq!(f.promote(given_up).await.settled, [], "it is there, if silent");
    leave(f, &holder).await;
    let before = Timestamp::from_micros(given_up.as_micros() - 1);
    assert_eq!(f.promote(before).await.settled, [], "it may come back");
    assert_eq!(f.promote(given_up).await.settled, [skipped("a")]);
    assert_eq!(f.get("a").await.reason.as_deref(), Some("executor n is gone"));
}

pub(super) async fn parts_of_an_executor_that_comes_back_are_taken(f: &Fixture) {
    f.job().await;
    let holder = f.node("n").await;
    f.insert(vec![part(f, "a", "n")]).await;
    leave(f, &holder).await;
    f.promote(f.start).await;
    let holder = f.node("n").await;
    let given_up = given_up(f, "n").await;
    assert_eq!(f.promote(given_up).await.settled, [], "it is there again");
    assert!(matches!(claim(f, &holder).await, ClaimOutcome::Claimed(_)));
}

pub(super) async fn what_a_disabled_executor_holds_goes_on(f: &Fixture) {
    f.job().await;
    let holder = f.node("n").await;
    f.insert(vec![part(f, "a", "n"), part(f, "b", "n")]).await;
    let ClaimOutcome::Claimed(lease) = claim(f, &holder).await else {
        panic!("there is something to claim");
    };
    let fences = fences(&lease);
    f.start_one(&fences[0]).await;
    disable(f, "n").await;
    assert_eq!(f.promote(f.start).await.settled, []);
    f.succeed(&fences[0]).await;
    let _ = f.settle(f.hand_back(&fences[1])).await;
    assert_eq!(f.promote(f.start).await.settled, [skipped("b")]);
    assert_eq!(f.state("a").await, TaskState::Succeeded);
}

pub(super) async fn skipped_parts_make_room_at_their_gates(f: &Fixture) {
    f.job().await;
    f.node("n").await;
    let gated = NewTask {
        lane: own_lane(&executor_id("n")),
        ..f.gated("a", &key(), &limit(1))
    };
    f.insert(vec![gated, f.gated("b", &key(), &limit(1))]).await;
    assert_eq!(f.promote(f.start).await.ready, 1);
    disable(f, "n").await;
    let promoted = f.promote(f.start).await;
    assert_eq!((promoted.settled, promoted.ready), (vec![skipped("a")], 1));
    assert_eq!(f.state("b").await, TaskState::Ready);
}
