//! Remote executors end to end: the in-memory store and transport, on paused time.

#![expect(clippy::unwrap_used, reason = "a failure should end the test")]

mod faults;
mod placement;
mod support;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jobcore::job::OnLeaseLost;
use jobcore::retry::RetryPolicy;
use jobcore::scheduler::Cancel;
use jobcore::store::{AttemptFilter, HistoryStore, PageRequest, ReadLogs};
use jobcore::task::TaskState;
use jobcore::{JobBuilder, NodeState, Scheduler};

use support::{World, reaches};

fn work(seconds: f32) -> JobBuilder {
    JobBuilder::handler("work").arguments(seconds)
}

#[tokio::test(start_paused = true)]
async fn many_tasks_are_shared_and_each_is_carried_out_once() {
    let world = World::new();
    let (one, _two) = (world.scheduler("s1").await, world.scheduler("s2").await);
    let nodes = ["e1", "e2", "e3"].map(|id| world.executor(id));
    let ids = world.trigger(&one, work(0.05), 300).await;
    for id in &ids {
        world.until_state(id, TaskState::Succeeded).await;
        assert_eq!(world.diary.runs_of(id).len(), 1);
    }
    assert_eq!(
        world.diary.by_executor().len(),
        3,
        "all take part: {:?}",
        world.diary.by_executor()
    );
    drop(nodes);
}

#[tokio::test(start_paused = true)]
async fn the_tasks_of_an_executor_that_died_are_carried_out_elsewhere() {
    let world = World::new();
    let (one, _two) = (world.scheduler("s1").await, world.scheduler("s2").await);
    let (doomed, _end) = world.executor("e1");
    reaches(&doomed, NodeState::Online).await;
    let ids = world.trigger(&one, work(2.0), 8).await;
    world.until(&ids[0], "held", |task| task.holder.is_some()).await;
    let _heirs = ["e2", "e3"].map(|id| world.executor(id));
    tokio::time::sleep(Duration::from_secs(1)).await;
    doomed.abort();
    drop(doomed);
    for id in &ids {
        let task = world.until_state(id, TaskState::Succeeded).await;
        assert_eq!(task.failures, 0, "a lost executor uses no retry");
    }
}

#[tokio::test(start_paused = true)]
async fn the_death_of_a_scheduler_changes_nothing() {
    let world = World::new();
    let (one, two) = (world.scheduler("s1").await, world.scheduler("s2").await);
    let (_node, _end) = world.executor("e1");
    let ids = world.trigger(&one, work(1.0), 20).await;
    world.until_state(&ids[0], TaskState::Succeeded).await;
    one.abort();
    drop(one);
    for id in &ids {
        world.until_state(id, TaskState::Succeeded).await;
        assert_eq!(world.diary.runs_of(id).len(), 1);
    }
    drop(two);
}

#[tokio::test(start_paused = true)]
async fn what_runs_outlives_the_absence_of_all_schedulers() {
    let world = World::new();
    let one = world.scheduler("s1").await;
    let (node, _end) = world.executor("e1");
    let ids = world.trigger(&one, work(20.0), 2).await;
    world.until_state(&ids[0], TaskState::Running).await;
    one.abort();
    drop(one);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let _two = world.scheduler("s2").await;
    for id in &ids {
        world.until_state(id, TaskState::Succeeded).await;
        assert_eq!(world.diary.runs_of(id), ["e1"], "it wasn't repeated");
    }
    assert_eq!(*node.state().borrow(), NodeState::Online);
}

#[tokio::test(start_paused = true)]
async fn a_running_attempt_is_cancelled_at_once() {
    let world = World::new();
    let one = world.scheduler("s1").await;
    let (_node, _end) = world.executor("e1");
    let ids = world.trigger(&one, JobBuilder::handler("wait"), 1).await;
    world.until_state(&ids[0], TaskState::Running).await;
    let before = tokio::time::Instant::now();
    one.cancel(Cancel::task(ids[0].clone(), "enough")).await.unwrap();
    world.until_state(&ids[0], TaskState::Cancelled).await;
    assert_eq!(world.diary.cancelled.load(Ordering::Relaxed), 1);
    assert!(
        before.elapsed() < Duration::from_millis(500),
        "after {:?}",
        before.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_that_waits_at_an_executor_is_cancelled_without_an_attempt() {
    let world = World::new();
    let one = world.scheduler("s1").await;
    let (_node, _end) = world.executor_with("e1", |config| config.capacity = 1);
    let ids = world.trigger(&one, JobBuilder::handler("wait"), 1).await;
    world.until_state(&ids[0], TaskState::Running).await;
    let waiting = world.trigger(&one, work(1.0), 1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    one.cancel(Cancel::task(waiting[0].clone(), "enough"))
        .await
        .unwrap();
    world.until_state(&waiting[0], TaskState::Cancelled).await;
    assert!(world.diary.runs_of(&waiting[0]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn at_most_once_starts_durably_and_is_not_repeated() {
    let world = World::new();
    let one = world.scheduler("s1").await;
    let (node, _end) = world.executor("e1");
    reaches(&node, NodeState::Online).await;
    let done = world
        .trigger(&one, work(0.01).id("quick").at_most_once(), 5)
        .await;
    for id in &done {
        world.until_state(id, TaskState::Succeeded).await;
        assert_eq!(world.diary.runs_of(id).len(), 1);
    }
    let lost = world
        .trigger(&one, work(100.0).id("slow").at_most_once(), 1)
        .await;
    world.until_state(&lost[0], TaskState::Running).await;
    assert_eq!(world.diary.runs_of(&lost[0]).len(), 1);
    node.abort();
    let (_heir, _end) = world.executor("e2");
    world.until_state(&lost[0], TaskState::Failed).await;
    assert_eq!(world.diary.runs_of(&lost[0]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_drain_hands_back_what_does_not_end_in_time() {
    let world = World::new();
    let one = world.scheduler("s1").await;
    let (node, _end) = world.executor_with("e1", |config| config.capacity = 1);
    reaches(&node, NodeState::Online).await;
    let ids = world.trigger(&one, work(60.0), 1).await;
    world.until_state(&ids[0], TaskState::Running).await;
    let more = world.trigger(&one, work(0.1).id("more"), 3).await;
    let before = tokio::time::Instant::now();
    node.drain(Duration::from_secs(2)).await;
    assert!(
        before.elapsed() < Duration::from_secs(10),
        "after {:?}",
        before.elapsed()
    );
    assert_eq!(*node.state().borrow(), NodeState::Stopped);
    node.stopped().await;
    let (_heir, _end) = world.executor("e2");
    for id in ids.iter().chain(&more) {
        let task = world.until_state(id, TaskState::Succeeded).await;
        assert_eq!(task.failures, 0);
    }
    let executors = one
        .list_executors(&jobcore::store::ExecutorFilter::default())
        .await
        .unwrap();
    let gone = executors
        .iter()
        .find(|executor| executor.executor_id.as_str() == "e1")
        .unwrap();
    assert_eq!(gone.status, jobcore::store::ExecutorStatus::Offline);
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_repeat_what_began_at_most_once() {
    let world = World::new();
    let one = world.scheduler("s1").await;
    let (node, _end) = world.executor("e1");
    reaches(&node, NodeState::Online).await;
    let ids = world.trigger(&one, work(60.0).at_most_once(), 1).await;
    world.until_state(&ids[0], TaskState::Running).await;
    let (_heir, _end) = world.executor("e2");
    node.drain(Duration::from_secs(2)).await;
    world.until_state(&ids[0], TaskState::Failed).await;
    assert_eq!(world.diary.runs_of(&ids[0]).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_newer_process_under_the_same_id_stops_the_older_one() {
    let world = World::new();
    let _one = world.scheduler("s1").await;
    let (old, _end) = world.executor("e1");
    reaches(&old, NodeState::Online).await;
    let (new, _end) = world.executor("e1");
    reaches(&new, NodeState::Online).await;
    reaches(&old, NodeState::Superseded).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(*new.state().borrow(), NodeState::Online, "the newer one stays");
}

#[tokio::test(start_paused = true)]
async fn checkpoints_progress_and_logs_reach_the_store() {
    let world = World::new();
    let one = world.scheduler("s1").await;
    let (_node, _end) = world.executor("e1");
    let job = JobBuilder::handler("steps").retry(RetryPolicy::fixed(1, Duration::ZERO));
    let ids = world.trigger(&one, job, 1).await;
    world.until_state(&ids[0], TaskState::Succeeded).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let filter = AttemptFilter {
        task_id: Some(ids[0].clone()),
        ..AttemptFilter::default()
    };
    let attempts = world
        .store
        .list_attempts(&filter, &PageRequest::first(9))
        .await
        .unwrap()
        .items;
    assert_eq!(
        (attempts.len(), attempts[0].output.as_str()),
        (2, "1"),
        "the second began where the first saved"
    );
    let texts = async |attempt| {
        let read = ReadLogs {
            task_id: ids[0].clone(),
            attempt,
            first_sequence: 0,
            limit: 9,
        };
        let chunks = world.store().read_logs(&read).await.unwrap();
        chunks.into_iter().map(|chunk| chunk.text).collect::<Vec<_>>()
    };
    assert_eq!(
        (texts(1).await, texts(2).await),
        (vec!["from step 0".to_owned()], vec!["from step 1".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_must_not_outlive_its_lease_is_stopped() {
    let world = World::new();
    let one = world.scheduler("s1").await;
    let (_node, end) = world.executor("e1");
    let ids = world
        .trigger(
            &one,
            JobBuilder::handler("wait").on_lease_lost(OnLeaseLost::Stop),
            1,
        )
        .await;
    world.until_state(&ids[0], TaskState::Running).await;
    end.cut(true);
    let before = tokio::time::Instant::now();
    while world.diary.cancelled.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        before.elapsed() < Duration::from_secs(4),
        "before the lease ends: after {:?}",
        before.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn parts_of_the_work_go_to_whoever_is_there() {
    let world = World::new();
    let one = world.scheduler("s1").await;
    let ids: BTreeSet<_> = world.trigger(&one, work(0.1), 10).await.into_iter().collect();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (_node, _end) = world.executor("e1");
    for id in &ids {
        world.until_state(id, TaskState::Succeeded).await;
    }
}
