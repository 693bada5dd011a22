//! Recovery: what becomes of tasks whose holder is gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jobcore::attempt::AttemptStatus;
use jobcore::job::Delivery;
use jobcore::lease::{Fence, Holder};
use jobcore::store::{
    CancelWhich, ClaimRequest, RecoverRequest, RecoveredTask, SaveOutcome, SaveProgress, SetExecutorStatus,
    SettleOutcome, StartOutcome,
};
use jobcore::task::{NewTask, POISON_AFTER, Rank, SUSPECT_AFTER, Task, TaskState};

use super::promotions::{delete_job, insert_gated, key, limit};
use super::starts::attempts;
use crate::conformance::fixture::{Fixture, LEASE, fences, ids_of, job_id, lane, one, task_id};

pub(super) async fn a_leased_orphan_waits_again(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.held("a", &node).await;
    let before = f.get("a").await;
    f.kill(&[&node]).await;
    let recovered = f.recover(f.at(9)).await;
    let task = RecoveredTask {
        task_id: task_id("a"),
        job_id: job_id("greet"),
        holder: node,
        state: TaskState::Ready,
    };
    assert_eq!(
        (recovered.tasks, recovered.gates, recovered.more),
        (vec![task], vec![], false)
    );
    let expected = Task {
        state: TaskState::Ready,
        due_time: f.at(9),
        rank: Rank::new(f.at(9), 0),
        attempt: 0,
        orphanings: 1,
        holder: None,
        ..before
    };
    assert_eq!(f.get("a").await, expected);
    assert_eq!(attempts(f, "a").await, [], "it left no trace");
    let next = f.node("next").await;
    let again = f.claim_one("a", &next).await;
    assert_eq!(again.attempt, 1, "the number is used again");
    assert!(again.token > fence.token);
}

pub(super) async fn a_started_orphan_loses_its_attempt(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.running("a", &node).await;
    f.kill(&[&node]).await;
    assert_eq!(f.recover(f.start).await.tasks.len(), 1);
    let task = f.get("a").await;
    assert_eq!(
        (task.state, task.attempt, task.failures),
        (TaskState::Ready, 1, 0)
    );
    let attempt = one(attempts(f, "a").await);
    assert_eq!((attempt.status, attempt.end_time), (AttemptStatus::Lost, None));
    let next = f.node("next").await;
    assert_eq!(f.claim_one("a", &next).await.attempt, 2);
}

/// Makes `holder` one whose leases are to be recovered, in one of three ways.
async fn lose(f: &Fixture, holder: &Holder, how: usize) {
    match how {
        0 => f.kill(&[holder]).await,
        1 => {
            f.node(holder.executor_id.as_str()).await;
        }
        _ => {
            let leave = SetExecutorStatus::Leave(holder.clone());
            let _ = f
                .store
                .set_executor_status(leave)
                .await
                .expect("set_executor_status");
        }
    }
}

pub(super) async fn what_the_dead_superseded_and_gone_hold_is_recovered(f: &Fixture) {
    f.job().await;
    for how in 0..3 {
        let id = format!("t{how}");
        let node = f.node(&format!("n{how}")).await;
        f.running(&id, &node).await;
        assert_eq!(f.recover(f.start).await.tasks, [], "it is alive");
        lose(f, &node, how).await;
        let recovered = f.recover(f.start).await.tasks;
        assert_eq!(
            (&recovered[0].holder, recovered[0].state),
            (&node, TaskState::Ready)
        );
        assert_eq!(recovered.len(), 1);
        let other = f.node("other").await;
        let fence = f.claim_one(&id, &other).await;
        f.succeed(&fence).await;
        lose(f, &other, 2).await;
    }
}

pub(super) async fn what_the_living_hold_is_left(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.running("a", &node).await;
    f.pass(LEASE * 2).await;
    let before = f.get("a").await;
    assert_eq!(
        f.recover(f.at(600)).await.tasks,
        [],
        "it missed its lease, but nobody declared it dead"
    );
    assert_eq!(f.get("a").await, before);
}

pub(super) async fn a_recovered_lease_is_fenced(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.running("a", &node).await;
    f.kill(&[&node]).await;
    f.recover(f.start).await;
    assert_fenced(f, &fence).await;
    let next = f.node("next").await;
    f.claim_one("a", &next).await;
    let before = f.get("a").await;
    assert_fenced(f, &fence).await;
    assert_eq!(f.get("a").await, before);
}

async fn assert_fenced(f: &Fixture, fence: &Fence) {
    assert_eq!(f.try_start(fence).await, StartOutcome::Fenced);
    assert_eq!(f.settle(f.succeeded(fence, f.start)).await, SettleOutcome::Fenced);
    let save = SaveProgress {
        fence: fence.clone(),
        checkpoint: Some(jobcore::json::Json::NULL),
        progress: None,
    };
    assert_eq!(
        f.store.save(vec![save]).await.expect("save"),
        [SaveOutcome::Fenced]
    );
}

pub(super) async fn a_started_orphan_at_most_once_fails(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let once = |id: &str| NewTask {
        delivery: Delivery::AtMostOnce,
        ..f.task(id)
    };
    f.insert(vec![once("started")]).await;
    let fence = f.claim_one("started", &node).await;
    f.start_one(&fence).await;
    f.insert(vec![once("waiting")]).await;
    f.claim_one("waiting", &node).await;
    f.kill(&[&node]).await;
    f.recover(f.at(3)).await;
    assert_eq!(
        f.states(&["started", "waiting"]).await,
        [TaskState::Failed, TaskState::Ready]
    );
    let task = f.get("started").await;
    assert!(task.reason.is_some_and(|reason| reason.contains("at most once")));
    assert_eq!((task.end_time, task.holder), (Some(f.at(3)), None));
    assert_eq!(one(attempts(f, "started").await).status, AttemptStatus::Lost);
    assert_eq!(
        f.settle(f.succeeded(&fence, f.start)).await,
        SettleOutcome::Fenced
    );
}

pub(super) async fn an_orphan_to_be_cancelled_is_cancelled(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.running("a", &node).await;
    f.held("b", &node).await;
    f.cancel(&["a", "b"]).await;
    f.kill(&[&node]).await;
    f.recover(f.at(1)).await;
    for id in ["a", "b"] {
        let task = f.get(id).await;
        assert_eq!(
            (task.state, task.reason.as_deref()),
            (TaskState::Cancelled, Some("not needed"))
        );
    }
}

pub(super) async fn a_passed_cancel_deadline_is_enforced(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let running = f.running("running", &node).await;
    let leased = f.held("leased", &node).await;
    let ids = vec![task_id("running"), task_id("leased")];
    f.cancel_with(CancelWhich::Tasks(ids), Some(Duration::from_secs(10)))
        .await;
    assert_eq!(f.recover(f.at(9)).await.tasks, []);
    let recovered = f.recover(f.at(10)).await.tasks;
    assert_eq!(recovered.len(), 2);
    assert!(
        recovered
            .iter()
            .all(|task| task.holder == node && task.state == TaskState::Cancelled)
    );
    assert_eq!(f.get("running").await.end_time, Some(f.at(10)));
    let attempt = one(attempts(f, "running").await);
    assert_eq!(
        (attempt.status, attempt.end_time),
        (AttemptStatus::Cancelled, Some(f.at(10)))
    );
    assert_eq!(attempts(f, "leased").await, []);
    for fence in [running, leased] {
        assert_eq!(
            f.settle(f.succeeded(&fence, f.start)).await,
            SettleOutcome::Fenced
        );
    }
}

pub(super) async fn a_gated_orphan_comes_back_to_its_gates(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    insert_gated(f, &["a", "b"], &limit(1)).await;
    f.promote(f.start).await;
    f.claim_one("a", &node).await;
    f.kill(&[&node]).await;
    let recovered = f.recover(f.start).await;
    assert_eq!(
        (recovered.tasks[0].state, recovered.gates),
        (TaskState::Blocked, vec![key()])
    );
    assert_eq!(f.promote(f.start).await.ready, 1);
    assert_eq!(
        f.state("a").await,
        TaskState::Ready,
        "it passed before, and goes first"
    );
}

pub(super) async fn recovery_takes_up_to_its_limit(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.insert_some(&["c", "b", "a"]).await;
    f.claim(&node, 10).await;
    f.kill(&[&node]).await;
    let recover = async || {
        let request = RecoverRequest {
            now: f.start,
            limit: 2,
        };
        let recovered = f.store.recover(request).await.expect("recover");
        let ids: Vec<String> = recovered
            .tasks
            .iter()
            .map(|task| task.task_id.to_string())
            .collect();
        (ids, recovered.more)
    };
    assert_eq!(recover().await, (vec!["a".to_owned(), "b".to_owned()], true));
    assert_eq!(recover().await, (vec!["c".to_owned()], false));
    assert_eq!(recover().await, (vec![], false));
}

pub(super) async fn a_deleted_job_does_not_keep_an_orphan(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.running("a", &node).await;
    delete_job(f).await;
    f.kill(&[&node]).await;
    assert_eq!(
        f.recover(f.start).await.tasks[0].state,
        TaskState::Ready,
        "like any other task"
    );
    let next = f.node("next").await;
    let _ = f.store.claim(f.claim_request(&next, 1)).await.expect("claim");
    assert_eq!(f.state("a").await, TaskState::Cancelled);
}

pub(super) async fn a_task_that_kills_its_nodes_is_poison(f: &Fixture) {
    f.job().await;
    f.insert(vec![f.task("a")]).await;
    for round in 0..SUSPECT_AFTER + POISON_AFTER {
        assert_eq!(f.state("a").await, TaskState::Ready, "before round {round}");
        let node = f.node(&format!("n{round}")).await;
        let request = ClaimRequest {
            lanes: vec![lane("greet"), lane("greet").quarantine()],
            ..f.claim_request(&node, 10)
        };
        let lease = f.claim_with(request).await;
        assert_eq!(ids_of(&lease), ["a"]);
        f.start_one(&fences(&lease)[0]).await;
        f.kill(&[&node]).await;
        f.recover(f.at(i64::from(round))).await;
    }
    let task = f.get("a").await;
    assert_eq!(task.state, TaskState::Failed);
    assert!(task.reason.is_some_and(|reason| reason.starts_with("poison")));
    assert_eq!(attempts(f, "a").await.len() as u32, SUSPECT_AFTER + POISON_AFTER);
}

pub(super) async fn a_suspect_that_never_starts_is_no_poison(f: &Fixture) {
    f.job().await;
    f.insert(vec![f.task("a")]).await;
    for round in 0..SUSPECT_AFTER + POISON_AFTER + 2 {
        let node = f.node(&format!("n{round}")).await;
        let request = ClaimRequest {
            lanes: vec![lane("greet"), lane("greet").quarantine()],
            ..f.claim_request(&node, 10)
        };
        assert_eq!(ids_of(&f.claim_with(request).await), ["a"]);
        f.kill(&[&node]).await;
        f.recover(f.start).await;
    }
    let task = f.get("a").await;
    assert_eq!((task.state, task.suspect_orphanings), (TaskState::Ready, 0));
}

pub(super) async fn each_orphan_is_recovered_once(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let ids: Vec<String> = (0..60).map(|n| format!("t{n:02}")).collect();
    f.insert_some(&ids.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    f.claim(&node, 100).await;
    f.kill(&[&node]).await;
    let recoveries = (0..8).map(|_| {
        let (store, now) = (Arc::clone(&f.store), f.start);
        tokio::spawn(async move {
            let request = RecoverRequest { now, limit: 20 };
            store.recover(request).await.expect("recover").tasks
        })
    });
    let mut seen = BTreeSet::new();
    for tasks in join_all(recoveries).await {
        for task in tasks.expect("no recovery panics") {
            assert!(
                seen.insert(task.task_id.clone()),
                "{} was recovered twice",
                task.task_id
            );
        }
    }
    assert_eq!(seen.len(), 60);
    assert_eq!(f.get("t00").await.orphanings, 1);
}
