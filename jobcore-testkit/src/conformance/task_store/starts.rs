//! Starts, checkpoints and progress.

use jobcore::attempt::{Attempt, AttemptStatus};
use jobcore::json::Json;
use jobcore::lease::Fence;
use jobcore::store::{AttemptFilter, PageRequest, SaveOutcome, SaveProgress, Start, StartOutcome};
use jobcore::task::{Progress, TaskState};

use super::repetitions::stale;
use crate::conformance::fixture::{Fixture, job_id, one, task_id};

/// The attempts of a task, newest first.
pub(super) async fn attempts(f: &Fixture, id: &str) -> Vec<Attempt> {
    let filter = AttemptFilter {
        task_id: Some(task_id(id)),
        ..AttemptFilter::default()
    };
    let page = f.store.list_attempts(&filter, &PageRequest::first(100)).await;
    page.expect("list_attempts").items
}

async fn save(f: &Fixture, fence: &Fence, checkpoint: Option<&str>, percent: Option<f32>) -> SaveOutcome {
    let update = SaveProgress {
        fence: fence.clone(),
        checkpoint: checkpoint.map(|text| Json::parse(text).expect("JSON")),
        progress: percent.map(|percent| Progress {
            percent,
            message: "on its way".into(),
        }),
    };
    one(f.store.save(vec![update]).await.expect("save"))
}

pub(super) async fn a_started_attempt_is_on_record(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.held("a", &node).await;
    assert_eq!(attempts(f, "a").await, [], "nothing began yet");
    f.start_one(&fence).await;
    let task = f.get("a").await;
    assert_eq!(
        (task.state, task.start_time, task.attempt),
        (TaskState::Running, Some(f.start), 1)
    );
    let expected = Attempt {
        task_id: task_id("a"),
        job_id: job_id("greet"),
        attempt: 1,
        executor_id: node.executor_id,
        token: fence.token,
        status: AttemptStatus::Running,
        start_time: f.start,
        end_time: None,
        exit_code: None,
        output: String::new(),
        error: String::new(),
    };
    assert_eq!(attempts(f, "a").await, [expected]);
}

pub(super) async fn a_start_can_be_repeated(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.running("a", &node).await;
    let (task, before) = (f.get("a").await, attempts(f, "a").await);
    let again = Start {
        fence,
        start_time: f.at(9),
    };
    assert_eq!(
        f.store.start(vec![again]).await.expect("start"),
        [StartOutcome::Started]
    );
    assert_eq!((f.get("a").await, attempts(f, "a").await), (task, before));
}

pub(super) async fn a_task_to_be_cancelled_is_not_started(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.held("a", &node).await;
    f.cancel(&["a"]).await;
    assert_eq!(f.try_start(&fence).await, StartOutcome::CancelRequested);
    assert_eq!(f.state("a").await, TaskState::Leased);
    assert_eq!(attempts(f, "a").await, []);
}

pub(super) async fn a_stale_fence_starts_nothing(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.held("a", &node).await;
    let before = f.get("a").await;
    for stale in stale(&fence) {
        assert_eq!(f.try_start(&stale).await, StartOutcome::Fenced, "{stale:?}");
    }
    assert_eq!((f.get("a").await, attempts(f, "a").await), (before, vec![]));
    f.succeed(&fence).await;
    assert_eq!(f.try_start(&fence).await, StartOutcome::Fenced, "final is final");
    assert_eq!(f.state("a").await, TaskState::Succeeded);
}

pub(super) async fn starts_are_answered_in_order_and_independently(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let (a, b, c) = (
        f.held("a", &node).await,
        f.held("b", &node).await,
        f.held("c", &node).await,
    );
    f.cancel(&["b"]).await;
    let [first_stale, ..] = stale(&c);
    let starts = [c, first_stale, b, a].map(|fence| Start {
        fence,
        start_time: f.start,
    });
    let expected = [
        StartOutcome::Started,
        StartOutcome::Fenced,
        StartOutcome::CancelRequested,
        StartOutcome::Started,
    ];
    assert_eq!(f.store.start(starts.to_vec()).await.expect("start"), expected);
    let states = f.states(&["a", "b", "c"]).await;
    assert_eq!(
        states,
        [TaskState::Running, TaskState::Leased, TaskState::Running]
    );
}

pub(super) async fn the_fence_alone_decides_a_start(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.held("a", &node).await;
    f.kill(&[&node]).await;
    assert_eq!(
        f.try_start(&fence).await,
        StartOutcome::Started,
        "nobody took it back yet"
    );
}

pub(super) async fn progress_and_checkpoint_are_saved(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.held("a", &node).await;
    assert_eq!(
        save(f, &fence, Some("[1]"), None).await,
        SaveOutcome::Saved,
        "before its start is on record"
    );
    f.start_one(&fence).await;
    assert_eq!(save(f, &fence, None, Some(12.5)).await, SaveOutcome::Saved);
    let task = f.get("a").await;
    assert_eq!(
        task.checkpoint.as_ref().map(Json::as_str),
        Some("[1]"),
        "what isn't named stays"
    );
    assert_eq!(
        task.progress.as_ref().map(|progress| progress.percent),
        Some(12.5)
    );
    assert_eq!(save(f, &fence, Some("[2]"), None).await, SaveOutcome::Saved);
    let task = f.get("a").await;
    assert_eq!(task.checkpoint.as_ref().map(Json::as_str), Some("[2]"));
    assert_eq!(
        task.progress.map(|progress| progress.message),
        Some("on its way".into())
    );
}

pub(super) async fn a_checkpoint_reaches_the_next_attempt(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.running("a", &node).await;
    assert_eq!(save(f, &fence, Some("[1]"), Some(50.0)).await, SaveOutcome::Saved);
    let _ = f.settle(f.retry(&fence, f.start)).await;
    let task = f.claim(&node, 1).await.tasks.remove(0).task;
    assert_eq!(task.checkpoint.as_ref().map(Json::as_str), Some("[1]"));
    assert_eq!(task.progress, None, "progress is the attempt's own");
}

pub(super) async fn a_stale_fence_saves_nothing(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.running("a", &node).await;
    let before = f.get("a").await;
    for stale in stale(&fence) {
        assert_eq!(
            save(f, &stale, Some("[9]"), Some(9.0)).await,
            SaveOutcome::Fenced,
            "{stale:?}"
        );
    }
    assert_eq!(f.get("a").await, before);
}
