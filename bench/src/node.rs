//! A process of `throughput --nodes`: an engine over a store that others share.
//!
//! It is told on standard input when to begin (a line) and when to end (the end of the input), and tells on standard
//! output, a JSON line each, what it did.

use std::sync::Arc;

use jobcore::id::ExecutorId;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::backend::Backend;
use crate::failure::Result;
use crate::stage::{self, Stage};
use crate::workload::Runs;

/// The name of the command.
pub(crate) const COMMAND: &str = "node";

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The executor's id
    #[arg(long)]
    executor: String,

    /// How many tasks all nodes carry out together
    #[arg(long)]
    tasks: usize,

    /// How many attempts the engine carries out at once
    #[arg(long)]
    capacity: Option<u32>,
}

/// What a node tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Told {
    /// The store is open.
    Ready,
    /// How many tasks it has settled so far.
    Settled(u64),
    /// It ends.
    Ended(Account),
}

/// What a node did in all.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Account {
    /// When it first claimed something, in microseconds since 1970; `i64::MAX` if never.
    pub(crate) first_claim: i64,
    /// When its last settle was durable; `i64::MIN` if never.
    pub(crate) last_settle: i64,
    /// How often each task ran here.
    pub(crate) runs: Vec<u8>,
}

/// Works until it is told to end.
pub(crate) async fn run(backend: &Backend, arguments: &Arguments) -> Result<()> {
    let stage = Stage::join(backend).await?;
    let executor_id = ExecutorId::new(arguments.executor.clone())?;
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    tell(&Told::Ready)?;
    if orders.next_line().await?.is_none() {
        return Ok(());
    }
    let runs = Arc::new(Runs::new(arguments.tasks));
    let counted = Arc::clone(&runs);
    let engine = stage
        .engine(
            |config| {
                config.executor_id = Some(executor_id);
                config.capacity = arguments.capacity.unwrap_or(config.capacity);
            },
            move |cx| {
                counted.add(cx.task_id());
                std::future::ready(())
            },
        )
        .await?;
    let mut settled = stage.store.settled();
    loop {
        tokio::select! {
            changed = settled.changed() => {
                changed?;
                tell(&Told::Settled(*settled.borrow_and_update()))?;
            }
            order = orders.next_line() => if order?.is_none() { break },
        }
    }
    stage::end(engine).await;
    tell(&Told::Ended(Account {
        first_claim: stage.store.first_claim().as_micros(),
        last_settle: stage.store.last_settle().as_micros(),
        runs: runs.counts(),
    }))
}

fn tell(what: &Told) -> Result<()> {
    println!("{}", serde_json::to_string(what)?);
    Ok(())
}
