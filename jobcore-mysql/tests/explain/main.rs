//! Calls look at what they are about, and at little besides, however much else the tables hold: measured by the server's
//! counters, not by what its optimizer guesses.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic like the tests")]

mod cost;
mod filled;
mod hot;
mod site;
#[path = "../support/mod.rs"]
mod support;

use cost::Cost;
use filled::fill;
use hot::{Report, make_calls};
use jobcore::task::NewTask;
use site::Site;
use sqlx::{Executor as _, MySqlConnection};
use std::time::Duration;

/// What must not be looked at.
const MANY: usize = 20_000;

fn judge(report: &Report) {
    for (call, cost) in &report.costs {
        println!("{call}: {cost:?}");
    }
    assert!(report.faults.is_empty(), "{:#?}", report.faults);
}

#[tokio::test]
async fn calls_read_in_proportion_to_their_batch() {
    let Some(mut site) = Site::begin().await else {
        return;
    };
    let filled = fill(&site.client).await;
    judge(&make_calls(&mut site, &filled).await);
}

#[tokio::test]
async fn calls_pass_by_the_backlog_of_another_lane() {
    let Some(mut site) = Site::begin().await else {
        return;
    };
    let client = site.client.clone();
    client.put(vec![client.new_job("backlog", None)]).await;
    let backlog = client.tasks("backlog", MANY).into_iter().map(|task| NewTask {
        due_time: client.now - Duration::from_secs(3_600),
        ..task
    });
    client.insert(backlog.collect()).await;
    let filled = fill(&client).await;
    judge(&make_calls(&mut site, &filled).await);
}

/// A session that sees the database as it is now, so that the server keeps what is deleted from now on.
async fn snapshot(site: &Site) -> MySqlConnection {
    let mut sql = site.database.connect().await;
    let begin =
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; START TRANSACTION WITH CONSISTENT SNAPSHOT";
    sql.execute(begin).await.unwrap();
    sql
}

/// Claims and settles many tasks of the lane `ready`, in whose place their rows stay.
async fn settle_many(site: &Site, filled: &filled::Filled) {
    let client = &site.client;
    let tasks = (0..MANY).map(|n| NewTask {
        due_time: client.now - Duration::from_secs(3_600),
        ..client.task("ready", &format!("many-{n:06}"))
    });
    client.insert(tasks.collect()).await;
    for _ in 0..MANY / 1_000 {
        client
            .succeed(&client.take(&filled.holder, "ready", 1_000).await)
            .await;
    }
}

#[tokio::test]
async fn calls_pass_by_what_was_settled_under_a_snapshot() {
    let Some(mut site) = Site::begin().await else {
        return;
    };
    let filled = fill(&site.client).await;
    let _snapshot = snapshot(&site).await;
    settle_many(&site, &filled).await;
    judge(&make_calls(&mut site, &filled).await);
}

#[tokio::test]
async fn claims_dont_step_over_deleted_rows_each_time() {
    let Some(mut site) = Site::begin().await else {
        return;
    };
    let filled = fill(&site.client).await;
    let _snapshot = snapshot(&site).await;
    settle_many(&site, &filled).await;
    let Site { client, meter, .. } = &mut site;
    let mut costs: Vec<Cost> = Vec::new();
    for _ in 0..20 {
        let (_, cost) = meter.cost(client.take(&filled.holder, "ready", 1)).await;
        costs.push(cost);
    }
    costs.sort_by_key(|cost| cost.pages);
    println!("{costs:#?}");
    assert!(costs[10].pages < 100, "{costs:?}");
}
