//! Reading live tasks: by id, by filter, and in numbers.

use std::time::Duration;

use jobcore::store::{TaskCount, TaskFilter};
use jobcore::task::{NewTask, TaskState};

use super::promotions::{insert_gated, limit};
use crate::conformance::fixture::{Fixture, definition, executor_id, job_id, lane, pages, task_id};

async fn listed(f: &Fixture, filter: &TaskFilter, limit: usize) -> Vec<String> {
    let tasks = pages!(limit, |page| f.store.list_tasks(filter, &page));
    tasks.iter().map(|task| task.task_id.to_string()).collect()
}

pub(super) async fn tasks_are_got_in_the_order_of_the_request(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.finished(f.task("final"), &node, f.start).await;
    f.insert_some(&["live"]).await;
    let ids = ["live", "unknown", "final", "live"].map(task_id);
    let tasks = f.store.get_tasks(&ids).await.expect("get_tasks");
    let found: Vec<Option<&str>> = tasks
        .iter()
        .map(|task| task.as_ref().map(|task| task.task_id.as_str()))
        .collect();
    assert_eq!(found, [Some("live"), None, Some("final"), Some("live")]);
}

pub(super) async fn live_tasks_are_listed_by_id_page_by_page(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.finished(f.task("final"), &node, f.start).await;
    f.insert_some(&["d", "b", "B", "a", "c"]).await;
    for limit in [1, 2, 5, 100] {
        let ids = listed(f, &TaskFilter::default(), limit).await;
        assert_eq!(ids, ["B", "a", "b", "c", "d"], "in pages of {limit}");
    }
}

pub(super) async fn live_tasks_are_listed_by_what_they_are(f: &Fixture) {
    f.job().await;
    f.put("other", definition("other")).await;
    let (one, two) = (f.node("n1").await, f.node("n2").await);
    f.running("a", &one).await;
    f.held("b", &two).await;
    let foreign = NewTask {
        job_id: job_id("other"),
        ..f.task("c")
    };
    f.insert(vec![foreign, f.task("d")]).await;
    let all = TaskFilter::default();
    let job = TaskFilter {
        job_id: Some(job_id("greet")),
        ..all.clone()
    };
    assert_eq!(listed(f, &job, 2).await, ["a", "b", "d"]);
    let held = TaskFilter {
        states: vec![TaskState::Leased, TaskState::Running],
        ..all.clone()
    };
    assert_eq!(listed(f, &held, 1).await, ["a", "b"]);
    let executor = TaskFilter {
        executor_id: Some(executor_id("n2")),
        ..all.clone()
    };
    assert_eq!(listed(f, &executor, 2).await, ["b"]);
    let both = TaskFilter {
        states: vec![TaskState::Ready],
        ..job
    };
    assert_eq!(listed(f, &both, 2).await, ["d"]);
}

pub(super) async fn live_tasks_are_counted_by_lane_and_state(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.finished(f.task("final"), &node, f.start).await;
    f.running("running", &node).await;
    f.insert_some(&["b", "a"]).await;
    insert_gated(f, &["blocked"], &limit(1)).await;
    let elsewhere = NewTask {
        lane: lane("elsewhere"),
        due_time: f.at(60),
        ..f.task("elsewhere")
    };
    f.insert(vec![elsewhere]).await;
    let count = |handler: &str, state, count, oldest_due_time| TaskCount {
        lane: lane(handler),
        state,
        count,
        oldest_due_time,
    };
    let expected = [
        count("elsewhere", TaskState::Scheduled, 1, f.at(60)),
        count("greet", TaskState::Blocked, 1, f.at(-60)),
        count("greet", TaskState::Ready, 2, f.at(-60)),
        count("greet", TaskState::Running, 1, f.start),
    ];
    // They may be up to a second old.
    f.pass(Duration::from_millis(1_001)).await;
    assert_eq!(f.store.task_counts().await.expect("task_counts"), expected);
}
