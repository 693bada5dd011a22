//! Rates, as the promoter carries them out.

use std::time::Duration;

use jobcore::gate::{GatePolicy, Rate};
use jobcore::task::{Rank, TaskState};

use super::promotions::{in_state, insert_gated};
use crate::conformance::fixture::Fixture;

fn rate(count: u32, burst: u32) -> GatePolicy {
    GatePolicy {
        rate: Some(Rate {
            count,
            per: Duration::from_secs(1),
            burst,
        }),
        ..GatePolicy::default()
    }
}

pub(super) async fn a_rate_spreads_tasks_up_to_a_second_ahead(f: &Fixture) {
    f.job().await;
    insert_gated(f, &["a", "b", "c", "d", "e"], &rate(2, 1)).await;
    let promoted = f.promote(f.start).await;
    assert_eq!(promoted.ready, 1);
    let half = Duration::from_millis(500);
    assert_eq!(promoted.next_due_time, Some(f.start + half));
    for (id, due_time) in [("b", f.start + half), ("c", f.start + half * 2)] {
        let task = f.get(id).await;
        assert_eq!((task.state, task.due_time), (TaskState::Scheduled, due_time));
        assert_eq!((task.passed, task.rank), (true, Rank::new(due_time, 0)));
    }
    assert_eq!(in_state(f, TaskState::Blocked).await, ["d", "e"]);
}

pub(super) async fn what_passed_a_rate_becomes_ready_without_asking_again(f: &Fixture) {
    f.job().await;
    insert_gated(f, &["a", "b", "c", "d"], &rate(2, 1)).await;
    f.promote(f.start).await;
    let promoted = f.promote(f.start + Duration::from_millis(500)).await;
    assert_eq!(promoted.ready, 1);
    let states = f.states(&["a", "b", "c", "d"]).await;
    assert_eq!(states[..2], [TaskState::Ready; 2]);
    assert_eq!(states[2..], [TaskState::Scheduled; 2]);
    assert_eq!(f.get("d").await.due_time, f.start + Duration::from_millis(1_500));
}

pub(super) async fn a_burst_passes_at_once(f: &Fixture) {
    f.job().await;
    insert_gated(f, &["a", "b", "c", "d"], &rate(1, 3)).await;
    assert_eq!(f.promote(f.start).await.ready, 3);
    let task = f.get("d").await;
    assert_eq!((task.state, task.due_time), (TaskState::Scheduled, f.at(1)));
}

pub(super) async fn a_rate_remembers_what_passed_and_is_gone(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    insert_gated(f, &["a"], &rate(1, 1)).await;
    f.promote(f.start).await;
    let fence = f.claim_one("a", &node).await;
    f.succeed(&fence).await;
    insert_gated(f, &["b"], &rate(1, 1)).await;
    assert_eq!(f.promote(f.start).await.ready, 0);
    let task = f.get("b").await;
    assert_eq!((task.state, task.due_time), (TaskState::Scheduled, f.at(1)));
}
