//! Jobs that choose their executor.

use std::collections::BTreeMap;
use std::time::Duration;

use jobcore::NodeState;
use jobcore::placement::{Placement, Spread, Strategy};
use jobcore::task::TaskState;

use crate::support::{World, reaches};
use crate::work;

async fn placed(placement: Placement, count: usize) -> BTreeMap<String, usize> {
    let world = World::new();
    let (one, _two) = (world.scheduler("s1").await, world.scheduler("s2").await);
    let nodes = ["e1", "e2", "e3"].map(|id| {
        world.executor_with(id, |config| {
            config.capacity = if id == "e1" { 8 } else { 4 };
            config.labels.insert("name".into(), id.into());
        })
    });
    for (node, _) in &nodes {
        reaches(node, NodeState::Online).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ids = world.trigger(&one, work(0.5).placement(placement), count).await;
    for id in &ids {
        world.until_state(id, TaskState::Succeeded).await;
        assert_eq!(world.diary.runs_of(id).len(), 1);
    }
    world.diary.by_executor()
}

fn by(strategy: Strategy) -> Placement {
    Placement {
        strategy,
        ..Placement::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_consistent_hash_keeps_to_one_executor() {
    let counts = placed(by(Strategy::ConsistentHash), 12).await;
    assert_eq!(counts.len(), 1, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn round_robin_and_least_loaded_reach_all() {
    for strategy in [Strategy::RoundRobin, Strategy::LeastLoaded, Strategy::Weighted] {
        let counts = placed(by(strategy), 12).await;
        assert!(
            counts.len() == 3 && counts.values().all(|count| *count >= 2),
            "{strategy:?}: {counts:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_preferred_label_is_followed_while_there_is_room() {
    let mut wish = by(Strategy::Any);
    wish.preferred_labels.insert("name".into(), "e2".into());
    assert_eq!(placed(wish, 3).await, BTreeMap::from([("e2".to_owned(), 3)]));
}

#[tokio::test(start_paused = true)]
async fn a_required_spread_puts_tasks_apart() {
    let mut apart = by(Strategy::Any);
    apart.spread = Spread::Required;
    let counts = placed(apart, 3).await;
    assert_eq!(counts.len(), 3, "{counts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_needed_resource_is_reported_and_used_up() {
    let mut needs = by(Strategy::Any);
    needs.resources.insert("cpus".into(), 1);
    let counts = placed(needs, 6).await;
    assert_eq!(counts.values().sum::<usize>(), 6, "{counts:?}");
}
