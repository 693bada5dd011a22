//! Claims: what is taken, in which order, and by whom.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::{join, join_all};
use jobcore::engine::settle::JOB_DELETED;
use jobcore::lease::{FencingToken, Holder, Lease};
use jobcore::store::{ClaimOutcome, ClaimRequest, SetExecutorStatus};
use jobcore::task::{NewTask, TaskState};

use super::promotions::{delete_job, insert_gated, limit};
use crate::conformance::fixture::{Fixture, LEASE, definition, executor_id, fences, ids_of, job_id, task_id};

pub(super) async fn claim(f: &Fixture, request: ClaimRequest) -> ClaimOutcome {
    f.store.claim(request).await.expect("claim")
}

pub(super) async fn a_claim_makes_a_lease(f: &Fixture) {
    let job = f.job().await;
    let node = f.node("n").await;
    f.insert_some(&["a"]).await;
    let before = f.get("a").await;
    let request = f.claim_request(&node, 10);
    let claim_id = request.claim_id;
    let lease = f.claim_with(request).await;
    assert_eq!(
        (lease.claim_id, &lease.holder, lease.tasks.len()),
        (claim_id, &node, 1)
    );
    assert!(lease.token > FencingToken(0));
    let expected = jobcore::task::Task {
        state: TaskState::Leased,
        attempt: 1,
        token: lease.token,
        holder: Some(node),
        ..before
    };
    assert_eq!(lease.tasks[0].task, expected);
    assert_eq!(lease.tasks[0].job, job);
    assert_eq!(f.get("a").await, expected);
}

pub(super) async fn a_claim_finds_what_is_on_its_way_where_promised(f: &Fixture) {
    if !f.store.is_ordered() {
        return;
    }
    f.job().await;
    let node = f.node("n").await;
    for id in ["a", "b", "c"] {
        let insert = f.store.insert_tasks(vec![f.task(id)], f.start);
        // Polled in this order.
        let (inserted, lease) = join(insert, f.claim(&node, 10)).await;
        inserted.expect("insert_tasks");
        assert_eq!(ids_of(&lease), [id]);
    }
}

pub(super) async fn only_ready_tasks_are_claimed(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    assert_eq!(claim(f, f.claim_request(&node, 10)).await, ClaimOutcome::Nothing);
    insert_gated(f, &["blocked"], &limit(1)).await;
    let later = NewTask {
        due_time: f.at(1),
        ..f.task("later")
    };
    f.insert(vec![later]).await;
    let late = ClaimRequest {
        now: f.at(60),
        ..f.claim_request(&node, 10)
    };
    assert_eq!(claim(f, late).await, ClaimOutcome::Nothing);
    f.held("held", &node).await;
    assert_eq!(claim(f, f.claim_request(&node, 10)).await, ClaimOutcome::Nothing);
}

pub(super) async fn a_claim_takes_no_more_than_its_limit(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.insert_some(&["a", "b", "c"]).await;
    assert_eq!(ids_of(&f.claim(&node, 2).await), ["a", "b"]);
    assert_eq!(ids_of(&f.claim(&node, 2).await), ["c"]);
}

pub(super) async fn the_lowest_rank_goes_first(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let task = |id: &str, priority, second| NewTask {
        priority,
        due_time: f.at(second),
        ..f.task(id)
    };
    // A step of priority is worth ten seconds.
    let tasks = vec![
        task("young", 0, -1),
        task("urgent", 9, -1),
        task("aged", 0, -15),
        task("high", 1, -2),
        task("low", -5, -40),
        task("same-b", 0, -3),
        task("same-a", 0, -3),
    ];
    f.insert(tasks).await;
    let lease = f.claim(&node, 10).await;
    assert_eq!(
        ids_of(&lease),
        ["urgent", "aged", "high", "same-a", "same-b", "young", "low"]
    );
}

pub(super) async fn tokens_strictly_increase_per_task(f: &Fixture) {
    f.job().await;
    let (one, two) = (f.node("n1").await, f.node("n2").await);
    f.insert_some(&["a"]).await;
    let mut last = FencingToken(0);
    for (round, node) in [&one, &two, &one, &two].into_iter().enumerate() {
        let fence = f.claim_one("a", node).await;
        assert!(fence.token > last, "{} after {last}", fence.token);
        assert_eq!(fence.attempt, round as u32 + 1);
        last = fence.token;
        f.start_one(&fence).await;
        let _ = f.settle(f.retry(&fence, f.start)).await;
        assert_eq!(f.get("a").await.token, last, "a task remembers its latest token");
    }
}

pub(super) async fn an_unregistered_holder_claims_nothing(f: &Fixture) {
    f.job().await;
    f.insert_some(&["a"]).await;
    let nobody = Holder {
        executor_id: executor_id("nobody"),
        incarnation: jobcore::lease::Incarnation(1),
    };
    assert_eq!(
        claim(f, f.claim_request(&nobody, 1)).await,
        ClaimOutcome::NotAlive
    );
    assert_eq!(f.state("a").await, TaskState::Ready);
}

pub(super) async fn a_dead_holder_claims_nothing(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.insert_some(&["a"]).await;
    f.kill(&[&node]).await;
    assert_eq!(claim(f, f.claim_request(&node, 1)).await, ClaimOutcome::NotAlive);
    assert_eq!(f.state("a").await, TaskState::Ready);
}

pub(super) async fn a_missed_lease_alone_is_no_hindrance(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.insert_some(&["a"]).await;
    f.pass(LEASE * 2).await;
    assert_eq!(ids_of(&f.claim(&node, 1).await), ["a"]);
}

pub(super) async fn a_disabled_or_draining_holder_takes_nothing_new(f: &Fixture) {
    f.job().await;
    f.insert_some(&["a"]).await;
    let (disabled, draining) = (f.node("n1").await, f.node("n2").await);
    for change in [
        SetExecutorStatus::Disable(executor_id("n1")),
        SetExecutorStatus::Drain(executor_id("n2")),
    ] {
        let _ = f
            .store
            .set_executor_status(change)
            .await
            .expect("set_executor_status");
    }
    for node in [disabled, draining] {
        assert_eq!(claim(f, f.claim_request(&node, 1)).await, ClaimOutcome::NotTaking);
    }
    assert_eq!(f.state("a").await, TaskState::Ready);
}

pub(super) async fn a_holder_gets_no_more_than_it_may_hold(f: &Fixture) {
    f.job().await;
    let node = f.remote("n").await;
    f.insert_some(&["a", "b", "c", "d"]).await;
    let request = |max_held| ClaimRequest {
        max_held: Some(max_held),
        ..f.claim_request(&node, 10)
    };
    let lease = f.claim_with(request(3)).await;
    assert_eq!(ids_of(&lease), ["a", "b", "c"]);
    assert_eq!(claim(f, request(3)).await, ClaimOutcome::Nothing);
    let fence = fences(&lease).remove(0);
    f.succeed(&fence).await;
    assert_eq!(ids_of(&f.claim_with(request(3)).await), ["d"]);
}

pub(super) async fn concurrent_claims_on_behalf_keep_what_a_holder_may_hold(f: &Fixture) {
    f.job().await;
    let node = f.remote("n").await;
    let ids: Vec<String> = (0..40).map(|n| format!("t{n:02}")).collect();
    f.insert_some(&ids.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let leases = race(
        f,
        (0..8).map(|_| ClaimRequest {
            max_held: Some(5),
            ..f.claim_request(&node, 3)
        }),
    )
    .await;
    let held: usize = leases.iter().map(|lease| lease.tasks.len()).sum();
    assert_eq!(held, 5);
}

pub(super) async fn a_task_of_a_deleted_job_is_cancelled_at_its_claim(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.insert_some(&["a"]).await;
    delete_job(f).await;
    let request = ClaimRequest {
        now: f.at(7),
        ..f.claim_request(&node, 10)
    };
    assert_eq!(claim(f, request).await, ClaimOutcome::Nothing);
    let task = f.get("a").await;
    assert_eq!((task.state, task.end_time), (TaskState::Cancelled, Some(f.at(7))));
    assert_eq!(task.reason.as_deref(), Some(JOB_DELETED));
}

/// The leases that came of claims at once.
async fn race(f: &Fixture, requests: impl Iterator<Item = ClaimRequest>) -> Vec<Lease> {
    let claims = requests.map(|request| {
        let store = Arc::clone(&f.store);
        tokio::spawn(async move { store.claim(request).await.expect("claim") })
    });
    let outcomes = join_all(claims).await.into_iter();
    outcomes
        .filter_map(|outcome| match outcome.expect("no claim panics") {
            ClaimOutcome::Claimed(lease) => Some(lease),
            _ => None,
        })
        .collect()
}

pub(super) async fn two_claims_never_get_the_same_task(f: &Fixture) {
    f.job().await;
    let mut nodes = Vec::new();
    for n in 0..8 {
        nodes.push(f.node(&format!("n{n}")).await);
    }
    let ids: Vec<String> = (0..400).map(|n| format!("t{n:03}")).collect();
    f.insert_some(&ids.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let (mut seen, mut tokens) = (BTreeSet::new(), BTreeSet::new());
    while seen.len() < ids.len() {
        let leases = race(f, nodes.iter().map(|node| f.claim_request(node, 10))).await;
        assert!(!leases.is_empty(), "{} of {} were claimed", seen.len(), ids.len());
        for lease in leases {
            assert!(
                tokens.insert(lease.token),
                "the token {} was given twice",
                lease.token
            );
            for claimed in lease.tasks {
                let id = claimed.task.task_id;
                assert!(seen.insert(id.clone()), "{id} was claimed twice");
                let held = f.get(id.as_str()).await;
                assert_eq!(
                    (held.token, held.holder),
                    (lease.token, Some(lease.holder.clone()))
                );
            }
        }
    }
}

pub(super) async fn a_lost_answer_can_be_asked_for(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.insert_some(&["a", "b", "c", "d"]).await;
    let request = f.claim_request(&node, 3);
    let again = ClaimRequest {
        replay: true,
        ..request.clone()
    };
    let lease = f.claim_with(request).await;
    let fence = fences(&lease).remove(0);
    f.succeed(&fence).await;
    f.start_one(&fences(&lease)[1]).await;
    let set = SetExecutorStatus::Disable(executor_id("n"));
    let _ = f
        .store
        .set_executor_status(set)
        .await
        .expect("set_executor_status");
    let replayed = f.claim_with(again).await;
    assert_eq!((replayed.token, replayed.claim_id), (lease.token, lease.claim_id));
    assert_eq!((&replayed.holder, ids_of(&replayed)), (&node, vec!["b", "c"]));
    assert_eq!(f.state("d").await, TaskState::Ready, "nothing more was taken");
}

pub(super) async fn a_dead_holder_is_not_told_its_lease(f: &Fixture) {
    f.job().await;
    let (superseded, dead) = (f.node("a").await, f.node("b").await);
    f.insert_some(&["a", "b"]).await;
    let requests = [&superseded, &dead].map(|node| f.claim_request(node, 1));
    for request in &requests {
        f.claim_with(request.clone()).await;
    }
    f.kill(&[&superseded, &dead]).await;
    f.node("a").await;
    for request in requests {
        let replay = ClaimRequest {
            replay: true,
            ..request
        };
        assert_eq!(claim(f, replay).await, ClaimOutcome::NotAlive);
    }
}

pub(super) async fn a_replay_leaves_what_is_held_of_a_deleted_job(f: &Fixture) {
    f.job().await;
    f.put("kept", definition("greet")).await;
    let of_kept = |id: &str| NewTask {
        job_id: job_id("kept"),
        ..f.task(id)
    };
    let node = f.node("n").await;
    f.insert_some(&["a", "b"]).await;
    f.insert(vec![of_kept("c")]).await;
    let request = f.claim_request(&node, 3);
    let lease = f.claim_with(request.clone()).await;
    let fences = fences(&lease);
    f.start_one(&fences[0]).await;
    delete_job(f).await;
    let replay = ClaimRequest {
        replay: true,
        ..request
    };
    assert_eq!(ids_of(&f.claim_with(replay.clone()).await), ["c"]);
    f.succeed(&fences[2]).await;
    f.insert(vec![of_kept("d")]).await;
    assert_eq!(claim(f, replay).await, ClaimOutcome::Nothing, "a and b are held");
    assert_eq!(f.state("d").await, TaskState::Ready);
    assert_eq!(f.state("b").await, TaskState::Leased);
    f.succeed(&fences[0]).await;
    assert_eq!(f.state("a").await, TaskState::Succeeded, "it ran meanwhile");
}

pub(super) async fn a_claim_that_never_happened_is_made_by_its_replay(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.insert_some(&["a"]).await;
    let replay = ClaimRequest {
        replay: true,
        ..f.claim_request(&node, 3)
    };
    let lease = f.claim_with(replay.clone()).await;
    assert_eq!(ids_of(&lease), ["a"]);
    f.succeed(&fences(&lease)[0]).await;
    f.insert_some(&["b"]).await;
    let lease = f.claim_with(replay).await;
    assert_eq!(
        ids_of(&lease),
        ["b"],
        "nothing of the first lease is held any more"
    );
}

pub(super) async fn a_full_batch_is_carried_out(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let count = jobcore::store::MAX_BATCH;
    let ids: Vec<String> = (0..count).map(|n| format!("t{n:04}")).collect();
    f.insert_some(&ids.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let lease = f.claim(&node, count).await;
    assert_eq!(ids_of(&lease), ids);
    let starts = fences(&lease).into_iter().map(|fence| jobcore::store::Start {
        fence,
        start_time: f.start,
    });
    let started = f.store.start(starts.collect()).await.expect("start");
    assert_eq!(started, vec![jobcore::store::StartOutcome::Started; count]);
    let settlements = fences(&lease)
        .iter()
        .map(|fence| f.succeeded(fence, f.start))
        .collect();
    let settled = f.store.settle(settlements, f.start).await.expect("settle");
    assert_eq!(settled.len(), count);
    let ids: Vec<_> = ids.iter().map(|id| task_id(id)).collect();
    let tasks = f.store.get_tasks(&ids).await.expect("get_tasks");
    assert!(
        tasks
            .iter()
            .flatten()
            .all(|task| task.state == TaskState::Succeeded)
    );
}

pub(super) async fn a_longer_batch_is_refused(f: &Fixture) {
    let tasks = (0..=jobcore::store::MAX_BATCH).map(|n| f.task(&format!("t{n}")));
    let error = f.store.insert_tasks(tasks.collect(), f.start).await;
    let error = error.expect_err("the batch is too long");
    assert_eq!(error.kind(), jobcore::ErrorKind::InvalidInput);
    assert_eq!(f.find("t0").await, None);
}

pub(super) async fn empty_requests_are_answered_with_nothing(f: &Fixture) {
    let store = &f.store;
    assert_eq!(store.put_jobs(Vec::new()).await.expect("put_jobs"), []);
    assert_eq!(store.pause_jobs(Vec::new()).await.expect("pause_jobs"), []);
    assert_eq!(store.delete_jobs(Vec::new()).await.expect("delete_jobs"), []);
    assert_eq!(store.get_jobs(&[]).await.expect("get_jobs"), []);
    assert_eq!(store.fire(Vec::new()).await.expect("fire"), []);
    assert_eq!(store.put_records(Vec::new()).await.expect("put_records"), []);
    assert_eq!(
        store
            .insert_tasks(Vec::new(), f.start)
            .await
            .expect("insert_tasks"),
        []
    );
    assert_eq!(store.start(Vec::new()).await.expect("start"), []);
    assert_eq!(store.heartbeat(Vec::new()).await.expect("heartbeat"), []);
    assert_eq!(store.settle(Vec::new(), f.start).await.expect("settle"), []);
    assert_eq!(store.save(Vec::new()).await.expect("save"), []);
    assert_eq!(
        store
            .change_tasks(Vec::new(), f.start)
            .await
            .expect("change_tasks"),
        []
    );
    assert_eq!(store.get_tasks(&[]).await.expect("get_tasks"), []);
    store.append_logs(Vec::new()).await.expect("append_logs");
    let node = f.node("n").await;
    let nowhere = ClaimRequest {
        lanes: Vec::new(),
        ..f.claim_request(&node, 5)
    };
    assert_eq!(claim(f, nowhere).await, ClaimOutcome::Nothing);
}
