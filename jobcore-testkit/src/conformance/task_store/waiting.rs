//! Changes and cancels of tasks.

use std::time::Duration;

use jobcore::Timestamp;
use jobcore::job::JobDefinition;
use jobcore::store::{CancelTasks, CancelWhich, ChangeOutcome, ChangeTask};
use jobcore::task::{CancelRequest, NewTask, Rank, TaskState};

use super::promotions::{delete_job, insert_gated, key, limit};
use crate::conformance::fixture::{Fixture, definition, ids_of, job_id, one, task_id};

async fn change(f: &Fixture, id: &str, priority: Option<i32>, due_time: Option<Timestamp>) -> ChangeOutcome {
    let change = ChangeTask {
        task_id: task_id(id),
        priority,
        due_time,
    };
    one(f
        .store
        .change_tasks(vec![change], f.start)
        .await
        .expect("change_tasks"))
}

pub(super) async fn a_changed_priority_moves_a_task_in_its_lane(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.insert_some(&["a", "b"]).await;
    let before = f.get("b").await;
    assert_eq!(change(f, "b", Some(1), None).await, ChangeOutcome::Changed);
    let task = f.get("b").await;
    assert_eq!((task.priority, task.due_time), (1, before.due_time));
    assert_eq!(task.rank, Rank::new(before.due_time, 1));
    assert_eq!(ids_of(&f.claim(&node, 1).await), ["b"]);
}

pub(super) async fn a_changed_due_time_moves_a_task_between_states(f: &Fixture) {
    f.job().await;
    f.insert_some(&["a"]).await;
    assert_eq!(change(f, "a", None, Some(f.at(60))).await, ChangeOutcome::Changed);
    let task = f.get("a").await;
    assert_eq!((task.state, task.due_time), (TaskState::Scheduled, f.at(60)));
    assert_eq!((task.priority, task.rank), (0, Rank::new(f.at(60), 0)));
    assert_eq!(change(f, "a", None, Some(f.start)).await, ChangeOutcome::Changed);
    assert_eq!(f.state("a").await, TaskState::Ready);
    insert_gated(f, &["gated"], &limit(1)).await;
    assert_eq!(
        change(f, "gated", Some(3), Some(f.at(60))).await,
        ChangeOutcome::Changed
    );
    let task = f.get("gated").await;
    assert_eq!(
        (task.state, task.due_time, task.priority),
        (TaskState::Blocked, f.at(60), 3)
    );
}

pub(super) async fn held_and_final_tasks_are_not_changed(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.held("leased", &node).await;
    f.running("running", &node).await;
    f.finished(f.task("final"), &node, f.start).await;
    f.insert_some(&["waits"]).await;
    let ids = ["leased", "running", "final", "unknown", "waits"];
    let changes = ids.map(|id| ChangeTask {
        task_id: task_id(id),
        priority: Some(5),
        due_time: Some(f.at(60)),
    });
    let outcomes = f
        .store
        .change_tasks(changes.to_vec(), f.start)
        .await
        .expect("change_tasks");
    let expected = [
        ChangeOutcome::Held,
        ChangeOutcome::Held,
        ChangeOutcome::NotWaiting,
        ChangeOutcome::NotWaiting,
        ChangeOutcome::Changed,
    ];
    assert_eq!(outcomes, expected);
    for id in &ids[..3] {
        assert_eq!(f.get(id).await.priority, 0);
    }
}

pub(super) async fn waiting_tasks_are_cancelled_at_once(f: &Fixture) {
    f.job().await;
    insert_gated(f, &["blocked"], &limit(1)).await;
    let later = NewTask {
        due_time: f.at(60),
        ..f.task("scheduled")
    };
    f.insert(vec![later, f.task("ready")]).await;
    let ids = ["blocked", "scheduled", "ready"];
    let cancelled = f.cancel(&ids).await;
    let settled: Vec<_> = ids.iter().map(|id| (task_id(id), job_id("greet"))).collect();
    assert_eq!(cancelled.settled, settled);
    assert_eq!(
        (cancelled.requested, cancelled.not_live, cancelled.more),
        (vec![], vec![], false)
    );
    for id in ids {
        let task = f.get(id).await;
        assert_eq!((task.state, task.end_time), (TaskState::Cancelled, Some(f.start)));
        assert_eq!(task.reason.as_deref(), Some("not needed"));
    }
}

pub(super) async fn held_tasks_get_the_request(f: &Fixture) {
    let short = JobDefinition {
        cancel_grace: Duration::from_secs(7),
        ..definition("greet")
    };
    f.put("greet", short).await;
    let node = f.node("n").await;
    f.held("leased", &node).await;
    f.running("running", &node).await;
    let cancelled = f.cancel(&["leased", "running"]).await;
    assert_eq!(cancelled.requested, [task_id("leased"), task_id("running")]);
    assert_eq!(
        f.states(&["leased", "running"]).await,
        [TaskState::Leased, TaskState::Running]
    );
    let request = CancelRequest {
        request_time: f.start,
        deadline: f.at(7),
        reason: "not needed".into(),
    };
    assert_eq!(
        f.get("running").await.cancel,
        Some(request),
        "the grace is the job's"
    );
}

pub(super) async fn a_second_request_can_only_hasten(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.running("a", &node).await;
    let request = async |seconds, reason: &str| {
        let request = CancelTasks {
            which: CancelWhich::Tasks(vec![task_id("a")]),
            reason: reason.into(),
            grace: Some(Duration::from_secs(seconds)),
            now: f.start,
            limit: 10,
        };
        let _ = f.store.cancel_tasks(request).await.expect("cancel_tasks");
        let cancel = f.get("a").await.cancel.expect("it is to be cancelled");
        (cancel.deadline, cancel.reason)
    };
    assert_eq!(request(20, "first").await, (f.at(20), "first".into()));
    assert_eq!(request(30, "second").await, (f.at(20), "first".into()));
    assert_eq!(request(5, "third").await, (f.at(5), "first".into()));
}

pub(super) async fn the_grace_of_a_deleted_job_is_thirty_seconds(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.running("a", &node).await;
    delete_job(f).await;
    f.cancel(&["a"]).await;
    assert_eq!(
        f.get("a").await.cancel.expect("it is to be cancelled").deadline,
        f.at(30)
    );
}

pub(super) async fn final_and_unknown_tasks_are_not_live(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.finished(f.task("final"), &node, f.start).await;
    f.insert_some(&["ready"]).await;
    let cancelled = f.cancel(&["final", "ready", "unknown"]).await;
    assert_eq!(cancelled.not_live, [task_id("final"), task_id("unknown")]);
    assert_eq!(cancelled.settled, [(task_id("ready"), job_id("greet"))]);
    assert_eq!(f.state("final").await, TaskState::Succeeded);
}

pub(super) async fn a_task_named_twice_is_cancelled_once(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.running("runs", &node).await;
    f.insert_some(&["waits"]).await;
    let cancelled = f.cancel(&["waits", "runs", "waits", "runs"]).await;
    assert_eq!(cancelled.settled, [(task_id("waits"), job_id("greet"))]);
    assert_eq!(
        cancelled.not_live,
        [task_id("waits")],
        "the second sees what the first did"
    );
    assert_eq!(cancelled.requested, [task_id("runs"), task_id("runs")]);
}

pub(super) async fn a_cancel_takes_up_to_its_limit(f: &Fixture) {
    f.job().await;
    f.put("other", definition("other")).await;
    let node = f.node("n").await;
    f.running("b", &node).await;
    let foreign = NewTask {
        job_id: job_id("other"),
        ..f.task("0")
    };
    f.insert(vec![f.task("c"), f.task("a"), f.task("d"), foreign])
        .await;
    let cancel = async || {
        let request = CancelTasks {
            which: CancelWhich::Job(job_id("greet")),
            reason: "not needed".into(),
            grace: None,
            now: f.start,
            limit: 3,
        };
        f.store.cancel_tasks(request).await.expect("cancel_tasks")
    };
    let first = cancel().await;
    assert_eq!(
        first.settled,
        [(task_id("a"), job_id("greet")), (task_id("c"), job_id("greet"))]
    );
    assert_eq!((first.requested, first.more), (vec![task_id("b")], true));
    let second = cancel().await;
    assert_eq!(second.settled, [(task_id("d"), job_id("greet"))]);
    assert_eq!(
        (second.requested, second.more),
        (vec![], false),
        "b has its request"
    );
    assert_eq!(f.state("0").await, TaskState::Ready);
}

pub(super) async fn a_cancel_names_the_gates_it_opens(f: &Fixture) {
    f.job().await;
    insert_gated(f, &["a", "b", "c"], &limit(1)).await;
    f.promote(f.start).await;
    assert_eq!(f.cancel(&["a"]).await.gates, [key()]);
    assert_eq!(f.promote(f.start).await.ready, 1);
    assert_eq!(f.state("b").await, TaskState::Ready);
}
