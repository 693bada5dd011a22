//! What the transport loses, repeats or delays costs time, never a task.

use std::sync::atomic::Ordering;
use std::time::Duration;

use jobcore::NodeState;
use jobcore::task::TaskState;

use crate::support::{World, reaches};
use crate::work;

#[tokio::test(start_paused = true)]
async fn repeated_messages_have_no_effect() {
    let world = World::new();
    world.faults.twice.store(true, Ordering::Relaxed);
    let (one, _two) = (world.scheduler("s1").await, world.scheduler("s2").await);
    let _nodes = ["e1", "e2"].map(|id| world.executor(id));
    let ids = world.trigger(&one, work(0.1), 50).await;
    let confirmed = world
        .trigger(&one, work(0.1).id("confirmed").at_most_once(), 50)
        .await;
    for id in ids.iter().chain(&confirmed) {
        let task = world.until_state(id, TaskState::Succeeded).await;
        assert_eq!((world.diary.runs_of(id).len(), task.attempt), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_repetition_that_meets_a_drain_hands_nothing_back() {
    let world = World::new();
    let one = world.scheduler("s1").await;
    let (node, _end) = world.executor("e1");
    reaches(&node, NodeState::Online).await;
    world.faults.repeat_dispatches.store(1, Ordering::Relaxed);
    let ids = world.trigger(&one, work(8.0).at_most_once(), 1).await;
    world.until_state(&ids[0], TaskState::Running).await;
    // The message comes again while the node waits for the attempt to end.
    node.drain(Duration::from_secs(20)).await;
    let task = world.until_state(&ids[0], TaskState::Succeeded).await;
    assert_eq!((world.diary.runs_of(&ids[0]).len(), task.attempt), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lost_dispatch_is_taken_back_and_sent_anew() {
    let world = World::new();
    let one = world.scheduler("s1").await;
    let (node, _end) = world.executor("e1");
    reaches(&node, NodeState::Online).await;
    world.faults.lose_dispatches.store(1, Ordering::Relaxed);
    let before = tokio::time::Instant::now();
    let ids = world.trigger(&one, work(0.1), 3).await;
    for id in &ids {
        let task = world.until_state(id, TaskState::Succeeded).await;
        assert_eq!((world.diary.runs_of(id).len(), task.orphanings), (1, 0));
    }
    assert!(
        before.elapsed() > Duration::from_secs(5),
        "only after it can't arrive any more"
    );
    assert!(
        before.elapsed() < Duration::from_secs(12),
        "after {:?}",
        before.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn lost_answers_are_made_good() {
    let world = World::new();
    let one = world.scheduler("s1").await;
    let (node, _end) = world.executor("e1");
    reaches(&node, NodeState::Online).await;
    world.faults.lose_controls.store(6, Ordering::Relaxed);
    let ids = world.trigger(&one, work(0.1).at_most_once(), 3).await;
    for id in &ids {
        world.until_state(id, TaskState::Succeeded).await;
        assert_eq!(world.diary.runs_of(id).len(), 1);
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    node.drain(Duration::from_secs(1)).await;
    assert_eq!(*node.state().borrow(), NodeState::Stopped);
}

#[tokio::test(start_paused = true)]
async fn an_executor_that_was_cut_off_joins_again_and_its_late_result_does_not_count() {
    let world = World::new();
    let one = world.scheduler("s1").await;
    let (node, end) = world.executor("e1");
    let ids = world.trigger(&one, work(30.0), 1).await;
    world.until_state(&ids[0], TaskState::Running).await;
    let (_heir, _heirs_end) = world.executor("e2");
    end.cut(true);
    world
        .until(&ids[0], "taken over", |task| {
            task.token.0 > 1 && task.state == TaskState::Running
        })
        .await;
    assert_eq!(world.diary.runs_of(&ids[0]), ["e1", "e2"]);
    end.cut(false);
    reaches(&node, NodeState::Online).await;
    let before = node.holder();
    let task = world.until_state(&ids[0], TaskState::Succeeded).await;
    assert_eq!(
        task.holder
            .map_or("e2".to_owned(), |holder| holder.executor_id.to_string()),
        "e2"
    );
    world.until(&ids[0], "over", |task| task.state.is_final()).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(node.holder().unwrap().incarnation.0 >= 2, "{before:?}");
    let more = world.trigger(&one, work(0.1).id("more"), 8).await;
    for id in &more {
        world.until_state(id, TaskState::Succeeded).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_cut_costs_nothing() {
    let world = World::new();
    let one = world.scheduler("s1").await;
    let (node, end) = world.executor("e1");
    let ids = world.trigger(&one, work(1.0), 4).await;
    world.until_state(&ids[0], TaskState::Running).await;
    end.cut(true);
    tokio::time::sleep(Duration::from_secs(2)).await;
    end.cut(false);
    for id in &ids {
        world.until_state(id, TaskState::Succeeded).await;
        assert_eq!(world.diary.runs_of(id).len(), 1);
    }
    assert_eq!(node.holder().unwrap().incarnation.0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_too_late_starts_nothing() {
    let world = World::new();
    let one = world.scheduler("s1").await;
    let (node, _end) = world.executor("e1");
    reaches(&node, NodeState::Online).await;
    world.faults.delay_dispatches.store(1, Ordering::Relaxed);
    let ids = world.trigger(&one, work(0.1), 3).await;
    for id in &ids {
        world.until_state(id, TaskState::Succeeded).await;
    }
    tokio::time::sleep(Duration::from_secs(30)).await;
    for id in &ids {
        assert_eq!(world.diary.runs_of(id).len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_scheduler_that_hears_nothing_declares_nobody_dead() {
    let world = World::new();
    let one = world.scheduler("s1").await;
    let (node, _end) = world.executor("e1");
    let ids = world.trigger(&one, work(60.0), 1).await;
    world.until_state(&ids[0], TaskState::Running).await;
    world.faults.deaf.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(30)).await;
    world.faults.deaf.store(false, Ordering::Relaxed);
    world.until_state(&ids[0], TaskState::Succeeded).await;
    assert_eq!(world.diary.runs_of(&ids[0]), ["e1"]);
    assert_eq!(node.holder().unwrap().incarnation.0, 1);
}
