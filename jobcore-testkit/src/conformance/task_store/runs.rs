//! Workflow runs: what the settling transaction appends, and what an advance consumes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jobcore::id::RunId;
use jobcore::json::Json;
use jobcore::store::{
    AdvanceRun, AdvanceRunOutcome, CancelWhich, InsertRunOutcome, NewRun, PageRequest, StepReport,
    TaskFilter, WorkflowRun,
};
use jobcore::task::{NewTask, Origin, StepRef, TaskState};

use super::promotions::delete_job;
use crate::conformance::fixture::{Fixture, job_id, task_id};

fn run_id() -> RunId {
    RunId::new("run").expect("a good id")
}

fn state(number: i64) -> Json {
    Json::encode(&number).expect("a number")
}

fn step(f: &Fixture, id: &str) -> NewTask {
    NewTask {
        origin: Origin::Workflow,
        step: Some(StepRef {
            run_id: run_id(),
            step: format!("step-{id}"),
        }),
        ..f.task(id)
    }
}

async fn begin(f: &Fixture, ids: &[&str]) {
    assert_eq!(insert(f, ids, 1).await, InsertRunOutcome::Inserted);
}

async fn insert(f: &Fixture, ids: &[&str], number: i64) -> InsertRunOutcome {
    let run = NewRun {
        run_id: run_id(),
        job_id: job_id("flow"),
        state: state(number),
        tasks: ids.iter().map(|id| step(f, id)).collect(),
        now: f.start,
    };
    f.store.insert_run(run).await.expect("insert_run")
}

async fn run(f: &Fixture) -> WorkflowRun {
    let run = f.store.get_run(&run_id()).await.expect("get_run");
    run.expect("the run exists")
}

fn advance(f: &Fixture, expected_version: u64, consumed: Option<u64>, tasks: Vec<NewTask>) -> AdvanceRun {
    AdvanceRun {
        run_id: run_id(),
        expected_version,
        state: state(2),
        consumed,
        tasks,
        end_time: None,
        now: f.start,
    }
}

/// The steps and states in the run's inbox.
async fn inbox(f: &Fixture) -> Vec<(String, TaskState)> {
    let inbox = run(f).await.inbox;
    inbox
        .into_iter()
        .map(|report| (report.step, report.state))
        .collect()
}

pub(super) async fn a_run_begins_with_its_tasks(f: &Fixture) {
    assert_eq!(f.store.get_run(&run_id()).await.expect("get_run"), None);
    begin(f, &["a", "b"]).await;
    let expected = WorkflowRun {
        run_id: run_id(),
        job_id: job_id("flow"),
        version: 1,
        state: state(1),
        inbox: Vec::new(),
        end_time: None,
    };
    assert_eq!(run(f).await, expected);
    assert_eq!(f.states(&["a", "b"]).await, [TaskState::Ready; 2]);
    assert_eq!(f.get("a").await.step, step(f, "a").step);
}

pub(super) async fn a_run_begins_once(f: &Fixture) {
    begin(f, &["a"]).await;
    let before = run(f).await;
    assert_eq!(insert(f, &["b"], 9).await, InsertRunOutcome::Duplicate);
    assert_eq!(run(f).await, before);
    assert_eq!(f.find("b").await, None);
}

pub(super) async fn a_settled_step_reports_to_its_run(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    begin(f, &["a", "b"]).await;
    let lease = f.claim(&node, 10).await;
    let fences = crate::conformance::fixture::fences(&lease);
    let _ = f.settle(f.retry(&fences[0], f.at(60))).await;
    assert_eq!(run(f).await.inbox, [], "a retry isn't the end");
    f.succeed(&fences[1]).await;
    let report = run(f).await.inbox.remove(0);
    let expected = StepReport {
        sequence: report.sequence,
        step: "step-b".into(),
        task_id: task_id("b"),
        state: TaskState::Succeeded,
        output: "out".into(),
    };
    assert_eq!(report, expected);
    assert_eq!(run(f).await.version, 1, "a report isn't an advance");
    assert_eq!(
        f.settle(f.succeeded(&fences[1], f.start)).await,
        jobcore::store::SettleOutcome::AlreadySettled
    );
    assert_eq!(run(f).await.inbox.len(), 1, "a repeated settlement reports once");
}

pub(super) async fn a_step_reports_however_it_ends(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    begin(f, &["cancelled"]).await;
    f.cancel(&["cancelled"]).await;
    f.insert(vec![step(f, "overdue")]).await;
    let fence = f.claim_one("overdue", &node).await;
    f.start_one(&fence).await;
    let which = CancelWhich::Tasks(vec![task_id("overdue")]);
    f.cancel_with(which, Some(Duration::from_secs(1))).await;
    f.recover(f.at(1)).await;
    f.insert(vec![step(f, "gone")]).await;
    delete_job(f).await;
    let _ = f.store.claim(f.claim_request(&node, 1)).await.expect("claim");
    let later = NewTask {
        due_time: f.at(1),
        ..step(f, "due")
    };
    f.insert(vec![later]).await;
    f.promote(f.at(1)).await;
    let expected =
        ["cancelled", "overdue", "gone", "due"].map(|id| (format!("step-{id}"), TaskState::Cancelled));
    assert_eq!(inbox(f).await, expected);
}

pub(super) async fn an_advance_is_applied_whole(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    begin(f, &["a", "b", "c"]).await;
    let lease = f.claim(&node, 10).await;
    for fence in crate::conformance::fixture::fences(&lease) {
        f.succeed(&fence).await;
    }
    let reports = run(f).await.inbox;
    assert_eq!(reports.len(), 3);
    assert!(reports.is_sorted_by(|a, b| a.sequence < b.sequence));
    let consumed = Some(reports[1].sequence);
    let outcome = f
        .store
        .advance_run(advance(f, 1, consumed, vec![step(f, "next")]))
        .await;
    assert_eq!(outcome.expect("advance_run"), AdvanceRunOutcome::Advanced);
    let expected = WorkflowRun {
        version: 2,
        state: state(2),
        inbox: vec![reports[2].clone()],
        ..run(f).await
    };
    assert_eq!(run(f).await, expected);
    assert_eq!(f.state("next").await, TaskState::Ready);
}

pub(super) async fn an_advance_without_consumption_leaves_the_inbox(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    begin(f, &["a"]).await;
    let fence = f.claim_one("a", &node).await;
    f.succeed(&fence).await;
    let outcome = f.store.advance_run(advance(f, 1, None, Vec::new())).await;
    assert_eq!(outcome.expect("advance_run"), AdvanceRunOutcome::Advanced);
    let run = run(f).await;
    assert_eq!((run.version, run.inbox.len(), run.end_time), (2, 1, None));
}

pub(super) async fn a_run_ends(f: &Fixture) {
    begin(f, &[]).await;
    let end = AdvanceRun {
        end_time: Some(f.at(5)),
        ..advance(f, 1, None, Vec::new())
    };
    assert_eq!(
        f.store.advance_run(end).await.expect("advance_run"),
        AdvanceRunOutcome::Advanced
    );
    assert_eq!(run(f).await.end_time, Some(f.at(5)));
}

pub(super) async fn a_stale_advance_changes_nothing(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    begin(f, &["a"]).await;
    let fence = f.claim_one("a", &node).await;
    f.succeed(&fence).await;
    let before = run(f).await;
    for version in [0, 2] {
        let stale = advance(f, version, Some(before.inbox[0].sequence), vec![step(f, "next")]);
        assert_eq!(
            f.store.advance_run(stale).await.expect("advance_run"),
            AdvanceRunOutcome::Conflict
        );
    }
    assert_eq!(run(f).await, before);
    assert_eq!(f.find("next").await, None);
}

pub(super) async fn an_advance_of_an_unknown_run_finds_nothing(f: &Fixture) {
    let outcome = f
        .store
        .advance_run(advance(f, 1, None, vec![f.task("next")]))
        .await;
    assert_eq!(outcome.expect("advance_run"), AdvanceRunOutcome::NotFound);
    assert_eq!(f.find("next").await, None);
}

pub(super) async fn one_of_many_concurrent_advances_counts(f: &Fixture) {
    begin(f, &[]).await;
    let advances = (0..16).map(|n| {
        let (store, advance) = (
            Arc::clone(&f.store),
            advance(f, 1, None, vec![step(f, &format!("t{n}"))]),
        );
        tokio::spawn(async move { store.advance_run(advance).await.expect("advance_run") })
    });
    let outcomes = join_all(advances).await;
    let won = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(AdvanceRunOutcome::Advanced)));
    assert_eq!(won.count(), 1);
    let live = f
        .store
        .list_tasks(&TaskFilter::default(), &PageRequest::first(100))
        .await;
    assert_eq!(
        live.expect("list_tasks").items.len(),
        1,
        "one advance's task exists"
    );
}

pub(super) async fn concurrent_settlements_all_report(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let ids: Vec<String> = (0..32).map(|n| format!("t{n:02}")).collect();
    begin(f, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let lease = f.claim(&node, 100).await;
    let settles = crate::conformance::fixture::fences(&lease)
        .into_iter()
        .map(|fence| {
            let (store, settlement, now) = (Arc::clone(&f.store), f.succeeded(&fence, f.start), f.start);
            tokio::spawn(async move { store.settle(vec![settlement], now).await.expect("settle").len() })
        });
    join_all(settles).await;
    let inbox = run(f).await.inbox;
    assert_eq!(inbox.len(), 32);
    assert!(inbox.is_sorted_by(|a, b| a.sequence < b.sequence));
}
