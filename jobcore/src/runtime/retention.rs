//! Housekeeping: deletes old history in small steps, and measures the queues.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::crew::Crew;
use super::node::Node;
use crate::error::Result;
use crate::lane::Lane;
use crate::store::Purge;
use crate::telemetry;

/// How often old history is looked for.
const PURGE_EVERY: Duration = Duration::from_secs(60);

/// How many tasks one purge deletes, so that nothing waits long for it.
const PURGE_BATCH: usize = 500;

/// How often the queues are measured.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// Deletes old history; runs until the node drains.
pub(crate) async fn purge(node: Arc<Node>) {
    while turn(&node, PURGE_EVERY).await {
        let purged = purge_once(&node).await;
        report(&node, "retention", purged).await;
    }
}

/// Measures the queues and the crew; runs until the node drains.
pub(crate) async fn measure(node: Arc<Node>, crew: Arc<Crew>) {
    let mut shown = BTreeSet::new();
    while turn(&node, MEASURE_EVERY).await {
        metrics::gauge!(telemetry::RUNNING).set(crew.load().0 as f64);
        let measured = measure_once(&node, &mut shown).await;
        report(&node, "measure", measured).await;
    }
}

/// Waits for the next turn; `false` once the node drains.
async fn turn(node: &Node, every: Duration) -> bool {
    let next = node.now() + every;
    tokio::select! {
        biased;
        () = node.draining.cancelled() => false,
        () = node.sleep_until(next) => true,
    }
}

async fn report(node: &Node, part: &'static str, result: Result<()>) {
    match result {
        Ok(()) => node.health.works(part),
        Err(error) => node.back_off(part, &error).await,
    }
}

async fn purge_once(node: &Node) -> Result<()> {
    let Some(retention) = node.config.retention else {
        return Ok(());
    };
    let now = node.now();
    let purge = Purge {
        before: now - retention,
        limit: PURGE_BATCH,
        now,
    };
    loop {
        let purged = node.store.purge(&purge).await?;
        metrics::counter!(telemetry::PURGED).increment(purged.tasks as u64);
        if !purged.more || node.draining.is_cancelled() {
            return Ok(());
        }
        // Others get their turn between two steps.
        node.sleep_until(node.now() + Duration::from_millis(10)).await;
    }
}

/// Shows the queues; those in `shown` that are empty by now as such, since a gauge keeps its last value.
async fn measure_once(node: &Node, shown: &mut BTreeSet<(Lane, &'static str)>) -> Result<()> {
    let now = node.now();
    let counts = node.store.task_counts().await?;
    let mut gone = std::mem::take(shown);
    for count in counts {
        let queue = (count.lane, count.state.as_str());
        show(
            &queue,
            count.count as f64,
            now.since(count.oldest_due_time).as_secs_f64(),
        );
        gone.remove(&queue);
        shown.insert(queue);
    }
    for queue in &gone {
        show(queue, 0.0, 0.0);
    }
    Ok(())
}

fn show((lane, state): &(Lane, &'static str), tasks: f64, oldest: f64) {
    let labels = [("lane", lane.to_string()), ("state", (*state).to_owned())];
    metrics::gauge!(telemetry::TASKS, &labels).set(tasks);
    metrics::gauge!(telemetry::OLDEST_TASK, &labels).set(oldest);
}
