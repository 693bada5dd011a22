//! Tables with thousands of rows, as a store has them that is in use.

use std::time::Duration;

use jobcore::Timestamp;
use jobcore::gate::{Gate, GateKey, GatePolicy};
use jobcore::lease::{Holder, Lease};
use jobcore::overlap::OverlapPolicy;
use jobcore::store::{PromoteRequest, TaskStore as _};
use jobcore::task::{NewTask, UniqueKey};

use super::support::client::Client;

/// How many rows each table has, roughly.
pub(crate) const ROWS: usize = 3_000;

/// How many of them a call is about.
pub(crate) const BATCH: usize = 100;

const HOUR: Duration = Duration::from_secs(3_600);

/// What the filled tables hold and calls refer to.
pub(crate) struct Filled {
    /// An executor with many leases, of one task each.
    pub(crate) holder: Holder,
    pub(crate) leases: Vec<Lease>,
}

/// Fills the tables: thousands of jobs and of tasks that are ready, that wait for their time or at a gate, or are final;
/// [`BATCH`] of those that wait are due.
pub(crate) async fn fill(client: &Client) -> Filled {
    let handlers = ["ready", "later", "gated", "queued", "fired", "done", "held"];
    client
        .put(handlers.map(|id| client.new_job(id, None)).into())
        .await;
    let jobs = (0..ROWS).map(|n| client.new_job(&format!("job-{n:06}"), Some(due_after(n))));
    client.put(jobs.collect()).await;
    let holder = client.join("node").await;
    for n in 0..200 {
        let _: Holder = client.join(&format!("other-{n}")).await;
    }
    finish_some(client, &holder).await;
    client.insert(client.tasks("held", BATCH)).await;
    let mut leases = Vec::new();
    for _ in 0..BATCH {
        leases.push(client.take(&holder, "held", 1).await);
    }
    client.insert(keyed(client)).await;
    let later = client.tasks("later", ROWS).into_iter().enumerate();
    let later = later.map(|(n, task)| NewTask {
        due_time: client.now + due_after(n),
        ..task
    });
    client.insert(later.collect()).await;
    fill_gates(client).await;
    client.insert(client.tasks("ready", ROWS)).await;
    Filled { holder, leases }
}

/// The first [`BATCH`] in the second that follows the start, the others in an hour and later.
pub(crate) fn due_after(n: usize) -> Duration {
    let moment = Duration::from_micros(n as u64 + 1);
    if n < BATCH { moment } else { HOUR + moment }
}

/// Tasks of fires, with unique keys, that are final.
async fn finish_some(client: &Client, holder: &Holder) {
    client.insert(client.tasks("done", ROWS)).await;
    for _ in 0..ROWS / 1_000 {
        client.succeed(&client.take(holder, "done", 1_000).await).await;
    }
}

/// Live tasks, of fires, with unique keys.
fn keyed(client: &Client) -> Vec<NewTask> {
    let tasks = client.tasks("fired", ROWS).into_iter().enumerate();
    let tasks = tasks.map(|(n, task)| NewTask {
        scheduled_for: Some(client.now + due_after(n)),
        unique_key: Some(UniqueKey::new("scope", format!("key-{n:06}")).unwrap()),
        ..task
    });
    tasks.collect()
}

/// How many tasks may be live behind [`limited`].
pub(crate) const LIMIT: usize = 50;

/// The gate of the tasks of `gated`: some at a time, by rank.
pub(crate) fn limited() -> Gate {
    gate("limited", OverlapPolicy::Allow, Some(50))
}

/// The gate of the tasks of `queued`: one after the other, by due time.
fn queue() -> Gate {
    gate("queue", OverlapPolicy::QueueAll, None)
}

fn gate(key: &str, overlap: OverlapPolicy, max_live: Option<u32>) -> Gate {
    let policy = GatePolicy {
        overlap,
        max_live,
        rate: None,
    };
    Gate {
        key: GateKey::of_key(key),
        policy,
    }
}

async fn fill_gates(client: &Client) {
    for (job, gate) in [("gated", limited()), ("queued", queue())] {
        let tasks = client.tasks(job, ROWS).into_iter();
        let tasks = tasks.map(|task| NewTask {
            gates: vec![gate.clone()],
            ..task
        });
        client.insert(tasks.collect()).await;
    }
    let promoted = client.promote(sweep(client.now)).await.unwrap();
    assert_eq!(promoted.ready, LIMIT + 1);
}

/// A promotion of [`BATCH`] tasks at the most.
pub(crate) fn sweep(now: Timestamp) -> PromoteRequest {
    PromoteRequest {
        now,
        gates: None,
        limit: BATCH,
    }
}
