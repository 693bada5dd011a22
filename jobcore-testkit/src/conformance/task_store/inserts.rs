//! Inserting tasks: ids, unique keys, and where a new task waits.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use jobcore::gate::{GateKey, GatePolicy};
use jobcore::id::TaskId;
use jobcore::job::Delivery;
use jobcore::json::Json;
use jobcore::store::InsertOutcome;
use jobcore::task::{NewTask, Origin, Task, UniqueKey};

use crate::conformance::fixture::{Fixture, fences, job_id, lane, one, task_id};

async fn insert(f: &Fixture, tasks: Vec<NewTask>) -> Vec<InsertOutcome> {
    f.store.insert_tasks(tasks, f.start).await.expect("insert_tasks")
}

fn duplicate_of(id: &str) -> InsertOutcome {
    InsertOutcome::Duplicate { task_id: task_id(id) }
}

/// A task with a unique key that is kept for ten seconds from the start on.
fn keyed(f: &Fixture, id: &str, scope: &str, key: &str) -> NewTask {
    let unique_key = UniqueKey::new(scope, key).expect("a good key");
    NewTask {
        unique_key: Some(UniqueKey {
            keep: Duration::from_secs(10),
            ..unique_key
        }),
        ..f.task(id)
    }
}

pub(super) async fn an_inserted_task_waits_where_it_should(f: &Fixture) {
    f.job().await;
    let later = NewTask {
        due_time: f.at(10),
        job_id: job_id("greet"),
        scheduled_for: Some(f.at(10)),
        part: 2,
        parts: 3,
        origin: Origin::Event,
        arguments: Some(Json::parse(r#"{"to":"Zoë"}"#).expect("JSON")),
        priority: -7,
        lane: lane("other"),
        delivery: Delivery::AtMostOnce,
        create_time: f.at(-1),
        ..f.task("later")
    };
    let policy = GatePolicy {
        max_live: Some(1),
        ..GatePolicy::default()
    };
    let gated = NewTask {
        due_time: f.at(10),
        ..f.gated("gated", &GateKey::of_key("k"), &policy)
    };
    let tasks = vec![f.task("now"), later, gated];
    f.insert(tasks.clone()).await;
    for new in tasks {
        let id = new.task_id.to_string();
        assert_eq!(f.get(&id).await, Task::from_new(new, f.start));
    }
}

pub(super) async fn an_id_is_inserted_once(f: &Fixture) {
    f.insert_some(&["a"]).await;
    let before = f.get("a").await;
    let other = NewTask {
        priority: 9,
        ..f.task("a")
    };
    assert_eq!(insert(f, vec![other]).await, [duplicate_of("a")]);
    assert_eq!(f.get("a").await, before);
}

pub(super) async fn an_id_in_history_is_not_inserted_again(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.finished(f.task("a"), &node, f.start).await;
    let before = f.get("a").await;
    assert_eq!(insert(f, vec![f.task("a")]).await, [duplicate_of("a")]);
    assert_eq!(f.get("a").await, before);
}

pub(super) async fn an_id_twice_in_a_batch_is_inserted_once(f: &Fixture) {
    let second = NewTask {
        priority: 9,
        ..f.task("a")
    };
    let outcomes = insert(f, vec![f.task("a"), second]).await;
    assert_eq!(outcomes, [InsertOutcome::Inserted, duplicate_of("a")]);
    assert_eq!(f.get("a").await.priority, 0);
}

pub(super) async fn an_occurrence_is_inserted_once_whatever_its_id(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let occurrence = |id: &str, part| NewTask {
        scheduled_for: Some(f.at(-1)),
        part,
        parts: 2,
        ..f.task(id)
    };
    let outcomes = insert(
        f,
        vec![occurrence("a", 0), occurrence("b", 0), occurrence("c", 1)],
    )
    .await;
    assert_eq!(
        outcomes,
        [
            InsertOutcome::Inserted,
            duplicate_of("a"),
            InsertOutcome::Inserted
        ]
    );
    let lease = f.claim(&node, 1).await;
    f.succeed(&fences(&lease)[0]).await;
    assert_eq!(insert(f, vec![occurrence("d", 0)]).await, [duplicate_of("a")]);
    let other_job = NewTask {
        job_id: job_id("other"),
        ..occurrence("e", 0)
    };
    assert_eq!(insert(f, vec![other_job]).await, [InsertOutcome::Inserted]);
}

pub(super) async fn inserts_are_answered_in_order_and_independently(f: &Fixture) {
    f.insert_some(&["b"]).await;
    let outcomes = insert(f, vec![f.task("c"), f.task("b"), f.task("a")]).await;
    assert_eq!(
        outcomes,
        [
            InsertOutcome::Inserted,
            duplicate_of("b"),
            InsertOutcome::Inserted
        ]
    );
    assert!(f.find("a").await.is_some() && f.find("c").await.is_some());
}

pub(super) async fn an_insert_can_be_repeated(f: &Fixture) {
    let batch = vec![keyed(f, "a", "s", "a"), keyed(f, "b", "s", "b"), f.task("c")];
    assert_eq!(insert(f, batch.clone()).await, vec![InsertOutcome::Inserted; 3]);
    let again = insert(f, batch).await;
    assert_eq!(again, [duplicate_of("a"), duplicate_of("b"), duplicate_of("c")]);
}

pub(super) async fn a_unique_key_names_its_first_task(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let batch = vec![keyed(f, "a", "s", "k"), keyed(f, "b", "s", "k")];
    assert_eq!(
        insert(f, batch).await,
        [InsertOutcome::Inserted, duplicate_of("a")]
    );
    assert_eq!(
        insert(f, vec![keyed(f, "c", "s", "k")]).await,
        [duplicate_of("a")]
    );
    let fence = f.claim_one("a", &node).await;
    f.succeed(&fence).await;
    assert_eq!(
        insert(f, vec![keyed(f, "d", "s", "k")]).await,
        [duplicate_of("a")]
    );
    for id in ["b", "c", "d"] {
        assert_eq!(f.find(id).await, None);
    }
}

pub(super) async fn a_unique_key_counts_within_its_scope(f: &Fixture) {
    let batch = vec![
        keyed(f, "a", "s1", "k"),
        keyed(f, "b", "s2", "k"),
        keyed(f, "c", "s1", "K"),
    ];
    assert_eq!(insert(f, batch).await, vec![InsertOutcome::Inserted; 3]);
}

pub(super) async fn an_expired_unique_key_holds_while_its_task_lives(f: &Fixture) {
    f.insert(vec![keyed(f, "a", "s", "k")]).await;
    let late = f
        .store
        .insert_tasks(vec![keyed(f, "b", "s", "k")], f.at(60))
        .await;
    assert_eq!(late.expect("insert_tasks"), [duplicate_of("a")]);
}

pub(super) async fn an_expired_unique_key_of_a_final_task_is_free(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.finished(keyed(f, "a", "s", "k"), &node, f.at(1)).await;
    let insert_at = async |id: &str, second| {
        let outcomes = f
            .store
            .insert_tasks(vec![keyed(f, id, "s", "k")], f.at(second))
            .await;
        one(outcomes.expect("insert_tasks"))
    };
    assert_eq!(insert_at("b", 9).await, duplicate_of("a"));
    assert_eq!(insert_at("b", 11).await, InsertOutcome::Inserted);
    assert_eq!(insert_at("c", 12).await, duplicate_of("b"));
}

async fn race(f: &Fixture, tasks: impl Iterator<Item = NewTask>) -> Vec<InsertOutcome> {
    let inserts = tasks.map(|task| {
        let (store, now) = (Arc::clone(&f.store), f.start);
        tokio::spawn(async move { one(store.insert_tasks(vec![task], now).await.expect("insert_tasks")) })
    });
    let outcomes = join_all(inserts).await;
    outcomes
        .into_iter()
        .map(|outcome| outcome.expect("no insert panics"))
        .collect()
}

pub(super) async fn one_of_many_concurrent_inserts_of_a_unique_key_wins(f: &Fixture) {
    let outcomes = race(f, (0..16).map(|n| keyed(f, &format!("t{n}"), "s", "k"))).await;
    let winner = outcomes
        .iter()
        .position(|outcome| *outcome == InsertOutcome::Inserted);
    let winner = format!("t{}", winner.expect("one wins"));
    let named = outcomes
        .iter()
        .filter(|outcome| **outcome == duplicate_of(&winner));
    assert_eq!(named.count(), 15, "{outcomes:?}");
}

pub(super) async fn one_of_many_concurrent_inserts_of_an_id_wins(f: &Fixture) {
    let outcomes = race(f, (0..16).map(|_| f.task("a"))).await;
    let won = outcomes
        .iter()
        .filter(|outcome| **outcome == InsertOutcome::Inserted);
    assert_eq!(won.count(), 1, "{outcomes:?}");
}

pub(super) async fn a_dropped_insert_is_whole_or_absent(f: &Fixture) {
    for polls in 0..8 {
        let ids: Vec<TaskId> = (0..50).map(|n| task_id(&format!("t{polls}-{n}"))).collect();
        let tasks = ids.iter().map(|id| f.task(id.as_str())).collect();
        poll_some(f.store.insert_tasks(tasks, f.start), polls).await;
        let found = f.store.get_tasks(&ids).await.expect("get_tasks");
        let count = found.iter().flatten().count();
        assert!(count == 0 || count == 50, "{count} of 50 after {polls} polls");
    }
}

/// Polls a future so many times, letting others run in between, and drops it.
async fn poll_some(future: impl Future, polls: usize) {
    let mut future = pin!(future);
    for _ in 0..polls {
        if poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await {
            return;
        }
        tokio::task::yield_now().await;
    }
}
