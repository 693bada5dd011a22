//! Overlap policies, as the promoter carries them out.

use jobcore::engine::gate::{SKIPPED, SUPERSEDED};
use jobcore::gate::{GateKey, GatePolicy};
use jobcore::overlap::OverlapPolicy;
use jobcore::store::{Decision, DecisionKind, PageRequest};
use jobcore::task::TaskState;

use super::promotions::{behind, in_state, insert_gated, limit};
use crate::conformance::fixture::{Fixture, job_id, task_id};

fn overlap(overlap: OverlapPolicy) -> GatePolicy {
    GatePolicy {
        overlap,
        ..GatePolicy::default()
    }
}

async fn decisions(f: &Fixture) -> Vec<Decision> {
    let page = f
        .store
        .list_decisions(Some(&job_id("greet")), &PageRequest::first(100))
        .await;
    page.expect("list_decisions").items
}

/// Checks that the only decision is about `id`.
async fn assert_decided(f: &Fixture, id: &str, kind: DecisionKind, reason: &str) {
    let decisions = decisions(f).await;
    assert_eq!(decisions.len(), 1, "{decisions:?}");
    assert_eq!(decisions[0].task_id, Some(task_id(id)));
    assert_eq!((decisions[0].kind, &*decisions[0].reason), (kind, reason));
    assert_eq!((decisions[0].count, decisions[0].decision_time), (1, f.start));
}

pub(super) async fn skip_settles_what_meets_an_earlier_task(f: &Fixture) {
    f.job().await;
    insert_gated(f, &["a"], &overlap(OverlapPolicy::Skip)).await;
    assert_eq!(f.promote(f.start).await.ready, 1);
    insert_gated(f, &["b"], &overlap(OverlapPolicy::Skip)).await;
    let promoted = f.promote(f.start).await;
    assert_eq!(
        promoted.settled,
        [(task_id("b"), job_id("greet"), TaskState::Skipped)]
    );
    let task = f.get("b").await;
    assert_eq!((task.state, task.end_time), (TaskState::Skipped, Some(f.start)));
    assert_eq!(task.reason.as_deref(), Some(SKIPPED));
    assert_decided(f, "b", DecisionKind::OverlapSkipped, SKIPPED).await;
}

pub(super) async fn skip_lets_pass_once_the_earlier_task_is_final(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    insert_gated(f, &["a"], &overlap(OverlapPolicy::Skip)).await;
    f.promote(f.start).await;
    let fence = f.claim_one("a", &node).await;
    f.succeed(&fence).await;
    insert_gated(f, &["b"], &overlap(OverlapPolicy::Skip)).await;
    assert_eq!(f.promote(f.start).await.ready, 1);
    assert_eq!(f.state("b").await, TaskState::Ready);
}

pub(super) async fn a_task_that_waits_for_its_retry_still_overlaps(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    insert_gated(f, &["a"], &overlap(OverlapPolicy::QueueAll)).await;
    f.promote(f.start).await;
    let fence = f.claim_one("a", &node).await;
    let _ = f.settle(f.retry(&fence, f.at(5))).await;
    insert_gated(f, &["b"], &overlap(OverlapPolicy::QueueAll)).await;
    assert_eq!(f.promote(f.at(1)).await.ready, 0);
    assert_eq!(f.promote(f.at(5)).await.ready, 1);
    assert_eq!(
        f.states(&["a", "b"]).await,
        [TaskState::Ready, TaskState::Blocked]
    );
}

pub(super) async fn queue_one_lets_a_single_task_wait(f: &Fixture) {
    f.job().await;
    insert_gated(f, &["a", "b", "c"], &overlap(OverlapPolicy::QueueOne)).await;
    let promoted = f.promote(f.start).await;
    assert_eq!(promoted.ready, 1);
    assert_eq!(
        promoted.settled,
        [(task_id("c"), job_id("greet"), TaskState::Skipped)]
    );
    assert_eq!(
        f.states(&["a", "b"]).await,
        [TaskState::Ready, TaskState::Blocked]
    );
    assert_decided(f, "c", DecisionKind::OverlapSkipped, SKIPPED).await;
}

pub(super) async fn queue_all_lets_one_after_the_other_pass(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    insert_gated(f, &["c", "a", "b"], &overlap(OverlapPolicy::QueueAll)).await;
    for id in ["c", "a", "b"] {
        assert_eq!(f.promote(f.start).await.ready, 1);
        let fence = f.claim_one(id, &node).await;
        assert_eq!(f.promote(f.start).await.ready, 0);
        f.succeed(&fence).await;
    }
    assert_eq!(decisions(f).await, []);
}

pub(super) async fn cancel_previous_cancels_what_waits(f: &Fixture) {
    f.job().await;
    insert_gated(f, &["a"], &overlap(OverlapPolicy::CancelPrevious)).await;
    f.promote(f.start).await;
    insert_gated(f, &["b", "c"], &overlap(OverlapPolicy::CancelPrevious)).await;
    let promoted = f.promote(f.start).await;
    assert_eq!(promoted.ready, 1);
    let mut settled = promoted.settled;
    settled.sort();
    let cancelled = |id| (task_id(id), job_id("greet"), TaskState::Cancelled);
    assert_eq!(settled, [cancelled("a"), cancelled("b")]);
    assert_eq!(in_state(f, TaskState::Ready).await, ["c"]);
    assert_eq!(f.get("a").await.reason.as_deref(), Some(SUPERSEDED));
    let kinds: Vec<DecisionKind> = decisions(f).await.iter().map(|decision| decision.kind).collect();
    assert_eq!(kinds, [DecisionKind::OverlapCancelled; 2]);
}

pub(super) async fn cancel_previous_frees_the_places_of_what_waits(f: &Fixture) {
    f.job().await;
    let (job, key) = (GateKey::of_job(&job_id("greet")), GateKey::of_key("shared"));
    let policy = GatePolicy {
        max_live: Some(1),
        ..overlap(OverlapPolicy::CancelPrevious)
    };
    for id in ["a", "b"] {
        let gates = [(&job, policy.clone()), (&key, limit(1))];
        f.insert(vec![behind(f, id, &gates)]).await;
        assert_eq!(f.promote(f.start).await.ready, 1, "{id} passes at once");
    }
    assert_eq!(
        f.states(&["a", "b"]).await,
        [TaskState::Cancelled, TaskState::Ready]
    );
}

pub(super) async fn cancel_previous_asks_what_is_held_and_waits(f: &Fixture) {
    let job = f.job().await;
    let node = f.node("n").await;
    insert_gated(f, &["a"], &overlap(OverlapPolicy::CancelPrevious)).await;
    f.promote(f.start).await;
    let fence = f.claim_one("a", &node).await;
    f.start_one(&fence).await;
    insert_gated(f, &["b"], &overlap(OverlapPolicy::CancelPrevious)).await;
    let promoted = f.promote(f.start).await;
    assert_eq!((promoted.ready, promoted.cancelling), (0, vec![task_id("a")]));
    let request = f.get("a").await.cancel.expect("it is to be cancelled");
    assert_eq!(request.reason, SUPERSEDED);
    assert_eq!(request.deadline, f.start + job.definition.cancel_grace);
    assert_decided(f, "a", DecisionKind::OverlapCancelled, SUPERSEDED).await;
    assert_eq!(f.promote(f.start).await.cancelling, [], "it is asked once");
    f.succeed(&fence).await;
    assert_eq!(f.promote(f.start).await.ready, 1);
    assert_eq!(f.state("b").await, TaskState::Ready);
}
