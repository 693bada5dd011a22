//! Promotion: tasks that come due, and limits.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jobcore::engine::settle::JOB_DELETED;
use jobcore::gate::{Gate, GateKey, GatePolicy};
use jobcore::store::{DeleteJob, Expected, PageRequest, PromoteRequest, SettleOutcome, TaskFilter};
use jobcore::task::{NewTask, TaskState};

use crate::conformance::fixture::{Fixture, fences, ids_of, job_id, task_id};

pub(super) fn limit(max_live: u32) -> GatePolicy {
    GatePolicy {
        max_live: Some(max_live),
        ..GatePolicy::default()
    }
}

pub(super) fn key() -> GateKey {
    GateKey::of_key("k")
}

/// Inserts tasks behind the gate `k`, due one millisecond after the other, all before the start.
pub(super) async fn insert_gated(f: &Fixture, ids: &[&str], policy: &GatePolicy) {
    let tasks = ids.iter().enumerate().map(|(n, id)| NewTask {
        due_time: f.at(-60) + Duration::from_millis(n as u64),
        ..f.gated(id, &key(), policy)
    });
    f.insert(tasks.collect()).await;
}

pub(super) async fn delete_job(f: &Fixture) {
    let delete = DeleteJob {
        job_id: job_id("greet"),
        expected: Expected::Any,
    };
    let _ = f.store.delete_jobs(vec![delete]).await.expect("delete_jobs");
}

/// The ids of live tasks in `state`.
pub(super) async fn in_state(f: &Fixture, state: TaskState) -> Vec<String> {
    let filter = TaskFilter {
        states: vec![state],
        ..TaskFilter::default()
    };
    let page = f.store.list_tasks(&filter, &PageRequest::first(1_000)).await;
    let tasks = page.expect("list_tasks").items;
    tasks.iter().map(|task| task.task_id.to_string()).collect()
}

pub(super) async fn a_scheduled_task_becomes_ready_when_due(f: &Fixture) {
    f.job().await;
    let due = |id: &str, second| NewTask {
        due_time: f.at(second),
        ..f.task(id)
    };
    f.insert(vec![due("a", 10), due("b", 11)]).await;
    let promoted = f.promote(f.at(9)).await;
    assert_eq!((promoted.ready, promoted.next_due_time), (0, Some(f.at(10))));
    let promoted = f.promote(f.at(10)).await;
    assert_eq!((promoted.ready, promoted.next_due_time), (1, Some(f.at(11))));
    assert!(!promoted.more);
    assert_eq!(
        f.states(&["a", "b"]).await,
        [TaskState::Ready, TaskState::Scheduled]
    );
}

pub(super) async fn a_promotion_moves_up_to_its_limit(f: &Fixture) {
    f.job().await;
    let tasks = ["c", "b", "a"].iter().zip(1..).map(|(id, second)| NewTask {
        due_time: f.at(second),
        ..f.task(id)
    });
    f.insert(tasks.collect()).await;
    let promote = async || {
        let request = PromoteRequest {
            now: f.at(10),
            gates: None,
            limit: 2,
        };
        f.store.promote(request).await.expect("promote")
    };
    let promoted = promote().await;
    assert_eq!((promoted.ready, promoted.more), (2, true));
    assert_eq!(
        in_state(f, TaskState::Ready).await,
        ["b", "c"],
        "the earliest first"
    );
    let promoted = promote().await;
    assert_eq!((promoted.ready, promoted.more), (1, false));
}

pub(super) async fn named_gates_alone_are_promoted(f: &Fixture) {
    f.job().await;
    insert_gated(f, &["k"], &limit(1)).await;
    let other = f.gated("other", &GateKey::of_key("other"), &limit(1));
    let scheduled = NewTask {
        due_time: f.at(1),
        ..f.task("scheduled")
    };
    f.insert(vec![other, scheduled]).await;
    let request = PromoteRequest {
        now: f.at(2),
        gates: Some(vec![key()]),
        limit: 10,
    };
    assert_eq!(f.store.promote(request).await.expect("promote").ready, 1);
    let states = f.states(&["k", "other", "scheduled"]).await;
    assert_eq!(
        states,
        [TaskState::Ready, TaskState::Blocked, TaskState::Scheduled]
    );
}

pub(super) async fn a_limit_lets_the_lowest_ranks_pass(f: &Fixture) {
    f.job().await;
    let task = |id: &str, priority| NewTask {
        priority,
        ..f.gated(id, &key(), &limit(2))
    };
    f.insert(vec![task("a", 0), task("b", 5), task("c", 9), task("d", 1)])
        .await;
    let promoted = f.promote(f.start).await;
    assert_eq!((promoted.ready, promoted.more), (2, false));
    assert_eq!(in_state(f, TaskState::Ready).await, ["b", "c"]);
    let passed = f.get("c").await;
    assert!(passed.passed && !f.get("a").await.passed);
    assert_eq!(f.promote(f.start).await.ready, 0, "the gate is full");
}

pub(super) async fn a_limit_counts_ready_leased_and_running_tasks(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    insert_gated(f, &["a", "b"], &limit(1)).await;
    assert_eq!(f.promote(f.start).await.ready, 1, "ready counts after this");
    assert_eq!(f.promote(f.start).await.ready, 0);
    let fence = f.claim_one("a", &node).await;
    assert_eq!(f.promote(f.start).await.ready, 0, "leased counts");
    f.start_one(&fence).await;
    assert_eq!(f.promote(f.start).await.ready, 0, "running counts");
    f.succeed(&fence).await;
    assert_eq!(f.promote(f.start).await.ready, 1, "final doesn't count");
    assert_eq!(f.state("b").await, TaskState::Ready);
}

pub(super) async fn the_newest_policy_holds_for_a_gate(f: &Fixture) {
    f.job().await;
    insert_gated(f, &["a", "b", "c"], &limit(1)).await;
    insert_gated(f, &["d"], &limit(3)).await;
    assert_eq!(f.promote(f.start).await.ready, 3);
    let duplicate = f.gated("d", &key(), &limit(9));
    let _ = f
        .store
        .insert_tasks(vec![duplicate], f.start)
        .await
        .expect("insert_tasks");
    assert_eq!(f.promote(f.start).await.ready, 0, "a duplicate changes no policy");
}

pub(super) async fn a_task_passes_all_its_gates_or_none(f: &Fixture) {
    f.job().await;
    let (first, second) = (GateKey::of_key("g1"), GateKey::of_key("g2"));
    let behind = |id: &str, keys: &[&GateKey]| NewTask {
        gates: keys
            .iter()
            .map(|key| Gate {
                key: (*key).clone(),
                policy: limit(1),
            })
            .collect(),
        ..f.task(id)
    };
    f.insert(vec![behind("a", &[&second])]).await;
    assert_eq!(f.promote(f.start).await.ready, 1);
    f.insert(vec![behind("b", &[&first, &second]), behind("c", &[&first])])
        .await;
    assert_eq!(f.promote(f.start).await.ready, 1);
    let states = f.states(&["a", "b", "c"]).await;
    assert_eq!(states, [TaskState::Ready, TaskState::Blocked, TaskState::Ready]);
}

/// A task behind several gates.
pub(super) fn behind(f: &Fixture, id: &str, gates: &[(&GateKey, GatePolicy)]) -> NewTask {
    let gates = gates.iter().map(|(key, policy)| Gate {
        key: (*key).clone(),
        policy: policy.clone(),
    });
    NewTask {
        gates: gates.collect(),
        ..f.task(id)
    }
}

pub(super) async fn gates_are_connected_by_what_waits_behind_a_full_one(f: &Fixture) {
    f.job().await;
    let (full, free) = (GateKey::of_key("full"), GateKey::of_key("free"));
    insert_gated(f, &["k"], &limit(1)).await;
    f.insert(vec![behind(f, "a", &[(&full, limit(1))])]).await;
    assert_eq!(f.promote(f.start).await.ready, 2);
    let both = behind(f, "b", &[(&full, limit(1)), (&free, limit(1))]);
    f.insert(vec![both, behind(f, "c", &[(&free, limit(1))])]).await;
    let request = PromoteRequest {
        now: f.start,
        gates: Some(vec![full]),
        limit: 10,
    };
    assert_eq!(f.store.promote(request).await.expect("promote").ready, 1);
    assert_eq!(
        f.states(&["b", "c"]).await,
        [TaskState::Blocked, TaskState::Ready]
    );
}

pub(super) async fn tasks_of_a_deleted_job_behind_a_full_gate_are_cancelled(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    insert_gated(f, &["a", "b", "c"], &limit(1)).await;
    assert_eq!(f.promote(f.start).await.ready, 1);
    let fence = f.claim_one("a", &node).await;
    delete_job(f).await;
    let request = PromoteRequest {
        now: f.start,
        gates: Some(vec![key()]),
        limit: 1,
    };
    let promoted = f.store.promote(request).await.expect("promote");
    assert_eq!((promoted.settled.len(), promoted.more), (1, true));
    assert_eq!(f.promote(f.start).await.settled.len(), 1);
    for id in ["b", "c"] {
        assert_eq!(f.get(id).await.reason.as_deref(), Some(JOB_DELETED));
    }
    f.succeed(&fence).await;
}

pub(super) async fn a_gated_task_waits_for_its_due_time(f: &Fixture) {
    f.job().await;
    let later = NewTask {
        due_time: f.at(10),
        ..f.gated("a", &key(), &limit(1))
    };
    f.insert(vec![later]).await;
    let promoted = f.promote(f.at(9)).await;
    assert_eq!((promoted.ready, promoted.next_due_time), (0, Some(f.at(10))));
    assert_eq!(f.promote(f.at(10)).await.ready, 1);
    let task = f.get("a").await;
    assert_eq!((task.state, task.due_time), (TaskState::Ready, f.at(10)));
}

pub(super) async fn a_repeated_task_comes_back_to_its_gates(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    insert_gated(f, &["a", "b"], &limit(1)).await;
    f.promote(f.start).await;
    let fence = f.claim_one("a", &node).await;
    let outcome = f.settle(f.retry(&fence, f.at(5))).await;
    let SettleOutcome::Settled { state, gates } = outcome else {
        panic!("the settlement should count: {outcome:?}");
    };
    assert_eq!((state, gates), (TaskState::Blocked, vec![key()]));
    assert!(f.get("a").await.passed);
    assert_eq!(f.promote(f.at(1)).await.ready, 1);
    assert_eq!(
        f.states(&["a", "b"]).await,
        [TaskState::Blocked, TaskState::Ready]
    );
    assert_eq!(f.promote(f.at(6)).await.ready, 0, "its place was taken meanwhile");
    let fence = f.claim_one("b", &node).await;
    f.succeed(&fence).await;
    assert_eq!(f.promote(f.at(6)).await.ready, 1);
    assert_eq!(f.state("a").await, TaskState::Ready);
}

pub(super) async fn due_tasks_of_a_deleted_job_are_cancelled(f: &Fixture) {
    f.job().await;
    insert_gated(f, &["blocked"], &limit(1)).await;
    let due = |id: &str, second| NewTask {
        due_time: f.at(second),
        ..f.task(id)
    };
    f.insert(vec![due("due", 5), due("later", 50)]).await;
    delete_job(f).await;
    let promoted = f.promote(f.at(5)).await;
    assert_eq!(promoted.ready, 0);
    let mut settled = promoted.settled;
    settled.sort();
    let gone = |id| (task_id(id), job_id("greet"), TaskState::Cancelled);
    assert_eq!(settled, [gone("blocked"), gone("due")]);
    for id in ["blocked", "due"] {
        let task = f.get(id).await;
        assert_eq!((task.state, task.end_time), (TaskState::Cancelled, Some(f.at(5))));
        assert_eq!(task.reason.as_deref(), Some(JOB_DELETED));
    }
    assert_eq!(f.state("later").await, TaskState::Scheduled);
}

pub(super) async fn concurrent_promoters_keep_a_limit(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let ids: Vec<String> = (0..30).map(|n| format!("t{n:02}")).collect();
    insert_gated(f, &ids.iter().map(String::as_str).collect::<Vec<_>>(), &limit(3)).await;
    let mut finished = 0;
    while finished < ids.len() {
        let promoters = (0..8).map(|n| {
            let store = Arc::clone(&f.store);
            let gates = (n % 2 == 0).then(|| vec![key()]);
            let request = PromoteRequest {
                now: f.start,
                gates,
                limit: 100,
            };
            tokio::spawn(async move { store.promote(request).await.expect("promote").ready })
        });
        let moved = join_all(promoters).await;
        let moved: usize = moved
            .into_iter()
            .map(|ready| ready.expect("no promoter panics"))
            .sum();
        assert_eq!(moved, 3, "after {finished} tasks");
        assert_eq!(in_state(f, TaskState::Ready).await.len(), 3);
        let lease = f.claim(&node, 10).await;
        assert_eq!(ids_of(&lease).len(), 3);
        let settlements = fences(&lease)
            .iter()
            .map(|fence| f.succeeded(fence, f.start))
            .collect();
        let _ = f.store.settle(settlements, f.start).await.expect("settle");
        finished += 3;
    }
}

pub(super) async fn promotion_races_with_settlement_within_the_limit(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let ids: Vec<String> = (0..40).map(|n| format!("t{n:02}")).collect();
    insert_gated(f, &ids.iter().map(String::as_str).collect::<Vec<_>>(), &limit(2)).await;
    let loops = (0..4).map(|_| {
        let (store, node, start) = (Arc::clone(&f.store), node.clone(), f.start);
        let requests: Vec<_> = (0..100).map(|_| f.claim_request(&node, 1)).collect();
        let success = move |fence: &_| f.succeeded(fence, start);
        async move {
            for request in requests {
                let promote = PromoteRequest {
                    now: start,
                    gates: None,
                    limit: 10,
                };
                store.promote(promote).await.expect("promote");
                let live = [TaskState::Ready, TaskState::Leased, TaskState::Running];
                let filter = TaskFilter {
                    states: live.to_vec(),
                    ..TaskFilter::default()
                };
                let page = store.list_tasks(&filter, &PageRequest::first(100)).await;
                assert!(page.expect("list_tasks").items.len() <= 2);
                if let jobcore::store::ClaimOutcome::Claimed(lease) =
                    store.claim(request).await.expect("claim")
                {
                    let settlements = fences(&lease).iter().map(success).collect();
                    let _ = store.settle(settlements, start).await.expect("settle");
                }
            }
        }
    });
    join_all(loops).await;
    assert_eq!(
        in_state(f, TaskState::Blocked).await,
        [""; 0],
        "everything had its turn"
    );
}
