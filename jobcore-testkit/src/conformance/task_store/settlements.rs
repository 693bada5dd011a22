//! Settlements: how attempts end, and what their tasks become.

use jobcore::attempt::{Attempt, AttemptStatus};
use jobcore::json::Json;
use jobcore::store::{AttemptEnd, FinishedFilter, Next, PageRequest, SettleOutcome, Settlement, TaskFilter};
use jobcore::task::{Rank, Task, TaskState};

use super::promotions::{insert_gated, key, limit};
use super::starts::attempts;
use crate::conformance::fixture::{Fixture, job_id, settled_state, task_id};

/// Which gates a settlement opened.
#[track_caller]
fn opened(outcome: SettleOutcome) -> Vec<String> {
    match outcome {
        SettleOutcome::Settled { gates, .. } => gates.iter().map(ToString::to_string).collect(),
        other => panic!("the settlement should count: {other:?}"),
    }
}

pub(super) async fn live(f: &Fixture) -> usize {
    let page = f
        .store
        .list_tasks(&TaskFilter::default(), &PageRequest::first(100))
        .await;
    page.expect("list_tasks").items.len()
}

pub(super) async fn finished(f: &Fixture) -> Vec<Task> {
    let page = f
        .store
        .list_finished(&FinishedFilter::default(), &PageRequest::first(100))
        .await;
    page.expect("list_finished").items
}

pub(super) async fn a_final_task_moves_to_history(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.running("a", &node).await;
    let before = f.get("a").await;
    let settlement = Settlement {
        fence: fence.clone(),
        attempt: Some(AttemptEnd {
            exit_code: Some(3),
            error: "broke".into(),
            ..f.ended(AttemptStatus::Failed, f.at(4))
        }),
        next: Next::Final {
            state: TaskState::Failed,
            reason: Some("no retry left".into()),
        },
        checkpoint: None,
    };
    let outcome = f.settle_at(settlement, f.at(5)).await;
    assert_eq!(settled_state(&outcome), TaskState::Failed);
    let expected = before.finish(TaskState::Failed, Some("no retry left".into()), f.at(5));
    assert_eq!(f.get("a").await, expected);
    assert_eq!((live(f).await, finished(f).await), (0, vec![expected]));
    let attempt = Attempt {
        task_id: task_id("a"),
        job_id: job_id("greet"),
        attempt: 1,
        executor_id: node.executor_id,
        token: fence.token,
        status: AttemptStatus::Failed,
        start_time: f.start,
        end_time: Some(f.at(4)),
        exit_code: Some(3),
        output: "out".into(),
        error: "broke".into(),
    };
    assert_eq!(attempts(f, "a").await, [attempt]);
}

pub(super) async fn every_final_state_is_kept(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    for state in TaskState::ALL.into_iter().filter(|state| state.is_final()) {
        let fence = f.held(state.as_str(), &node).await;
        let settlement = Settlement {
            next: Next::Final { state, reason: None },
            ..f.succeeded(&fence, f.start)
        };
        assert_eq!(settled_state(&f.settle(settlement).await), state);
        assert_eq!(f.state(state.as_str()).await, state);
    }
}

pub(super) async fn a_wish_for_a_state_that_is_not_final_is_refused(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let (a, b) = (f.held("a", &node).await, f.held("b", &node).await);
    let wrong = Settlement {
        next: Next::Final {
            state: TaskState::Ready,
            reason: None,
        },
        ..f.succeeded(&b, f.start)
    };
    let error = f
        .store
        .settle(vec![f.succeeded(&a, f.start), wrong], f.start)
        .await;
    assert_eq!(
        error.expect_err("that can't be").kind(),
        jobcore::ErrorKind::InvalidInput
    );
    assert_eq!(
        f.states(&["a", "b"]).await,
        [TaskState::Leased; 2],
        "after an error nothing was changed"
    );
}

pub(super) async fn start_and_end_can_be_written_together(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.held("a", &node).await;
    f.succeed_at(&fence, f.at(2)).await;
    let attempts = attempts(f, "a").await;
    assert_eq!(attempts.len(), 1);
    assert_eq!(
        (attempts[0].status, attempts[0].end_time),
        (AttemptStatus::Success, Some(f.at(2)))
    );
    let task = f.get("a").await;
    assert_eq!((task.attempt, task.start_time), (1, Some(f.start)));
}

pub(super) async fn a_retry_waits_and_counts_as_a_failure(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.running("a", &node).await;
    let before = f.get("a").await;
    let outcome = f.settle(f.retry(&fence, f.at(30))).await;
    assert_eq!(settled_state(&outcome), TaskState::Scheduled);
    let expected = Task {
        state: TaskState::Scheduled,
        due_time: f.at(30),
        rank: Rank::new(f.at(30), 0),
        failures: 1,
        holder: None,
        start_time: None,
        ..before
    };
    assert_eq!(f.get("a").await, expected);
    assert_eq!(attempts(f, "a").await[0].status, AttemptStatus::Failed);
    f.promote(f.at(30)).await;
    assert_eq!(f.claim_one("a", &node).await.attempt, 2);
}

pub(super) async fn a_retry_that_is_due_is_ready_at_once(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.running("a", &node).await;
    assert_eq!(
        settled_state(&f.settle(f.retry(&fence, f.start)).await),
        TaskState::Ready
    );
    assert_eq!(f.claim_one("a", &node).await.attempt, 2);
}

pub(super) async fn a_snooze_is_no_failure(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.running("a", &node).await;
    let settlement = Settlement {
        attempt: Some(f.ended(AttemptStatus::Released, f.start)),
        next: Next::Again { due_time: f.at(30) },
        ..f.succeeded(&fence, f.start)
    };
    assert_eq!(settled_state(&f.settle(settlement).await), TaskState::Scheduled);
    let task = f.get("a").await;
    assert_eq!((task.failures, task.attempt, task.due_time), (0, 1, f.at(30)));
    assert_eq!(attempts(f, "a").await[0].status, AttemptStatus::Released);
}

pub(super) async fn an_attempt_that_never_began_does_not_count(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.held("a", &node).await;
    assert_eq!(
        settled_state(&f.settle(f.hand_back(&fence)).await),
        TaskState::Ready
    );
    assert_eq!(attempts(f, "a").await, []);
    let task = f.get("a").await;
    assert_eq!((task.attempt, task.failures, task.holder), (0, 0, None));
    let again = f.claim_one("a", &node).await;
    assert_eq!(again.attempt, 1);
    assert!(again.token > fence.token);
    let skipped = Settlement {
        next: Next::Final {
            state: TaskState::Skipped,
            reason: Some("its executor is disabled".into()),
        },
        ..f.hand_back(&again)
    };
    assert_eq!(settled_state(&f.settle(skipped).await), TaskState::Skipped);
    let task = f.get("a").await;
    assert_eq!((task.attempt, task.start_time), (0, None), "in history too");
}

pub(super) async fn a_recorded_start_given_back_is_released(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.running("a", &node).await;
    let outcome = f.settle_at(f.hand_back(&fence), f.at(3)).await;
    assert_eq!(settled_state(&outcome), TaskState::Ready);
    let attempts = attempts(f, "a").await;
    assert_eq!(attempts.len(), 1);
    assert_eq!(
        (attempts[0].status, attempts[0].end_time),
        (AttemptStatus::Released, Some(f.at(3)))
    );
    assert_eq!(f.get("a").await.attempt, 1);
}

pub(super) async fn a_settlement_can_bring_a_checkpoint(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.running("a", &node).await;
    let settlement = Settlement {
        checkpoint: Some(Json::parse("[7]").expect("JSON")),
        ..f.retry(&fence, f.start)
    };
    let _ = f.settle(settlement).await;
    let fence = f.claim_one("a", &node).await;
    assert_eq!(
        f.get("a").await.checkpoint.as_ref().map(Json::as_str),
        Some("[7]")
    );
    let _ = f.settle(f.hand_back(&fence)).await;
    let kept = f.get("a").await.checkpoint;
    assert_eq!(
        kept.as_ref().map(Json::as_str),
        Some("[7]"),
        "none leaves what is there"
    );
}

pub(super) async fn a_repetition_does_not_survive_a_cancel(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    for id in ["retry", "again"] {
        let fence = f.running(id, &node).await;
        f.cancel(&[id]).await;
        let settlement = if id == "retry" {
            f.retry(&fence, f.start)
        } else {
            f.hand_back(&fence)
        };
        assert_eq!(settled_state(&f.settle(settlement).await), TaskState::Cancelled);
        let task = f.get(id).await;
        assert_eq!(
            (task.state, task.reason.as_deref()),
            (TaskState::Cancelled, Some("not needed"))
        );
    }
}

pub(super) async fn a_success_counts_before_a_cancel(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.running("a", &node).await;
    f.cancel(&["a"]).await;
    f.succeed(&fence).await;
    assert_eq!(f.state("a").await, TaskState::Succeeded);
}

pub(super) async fn a_settlement_names_the_gates_it_opens(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    insert_gated(f, &["a", "b"], &limit(1)).await;
    f.promote(f.start).await;
    let fence = f.claim_one("a", &node).await;
    assert_eq!(
        opened(f.settle(f.succeeded(&fence, f.start)).await),
        [key().to_string()]
    );
    f.promote(f.start).await;
    let fence = f.claim_one("b", &node).await;
    assert_eq!(
        opened(f.settle(f.succeeded(&fence, f.start)).await),
        [""; 0],
        "nobody waits"
    );
}
