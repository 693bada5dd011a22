//! Fills a store with the workload's tasks through the scheduler's API, and measures how fast that goes.

use std::sync::Arc;

use jobcore::Engine;
use jobcore::scheduler::{Scheduler as _, Trigger, Triggered};

use crate::clock::Stopwatch;
use crate::failure::{Result, ensure};
use crate::workload;

/// How many callers enqueue single tasks at the same time.
pub(crate) const ONE_CALLERS: usize = 8;

/// How many callers enqueue batches at the same time.
pub(crate) const BATCH_CALLERS: usize = 2;

/// How many tasks a batch has.
pub(crate) const BATCH: usize = 1_000;

/// How fast tasks were accepted, durably.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Enqueued {
    pub(crate) one_per_second: f64,
    pub(crate) batch_per_second: f64,
}

/// Enqueues the workload's first `tasks` tasks, of which the first `singles` one by one.
pub(crate) async fn enqueue(engine: &Arc<Engine>, tasks: usize, singles: usize) -> Result<Enqueued> {
    Ok(Enqueued {
        one_per_second: in_chunks(engine, 0..singles, 1, ONE_CALLERS).await?,
        batch_per_second: in_chunks(engine, singles..tasks, BATCH, BATCH_CALLERS).await?,
    })
}

/// Each caller sends every `callers`th chunk, the next one when the last was answered; answers with tasks a second.
async fn in_chunks(
    engine: &Arc<Engine>,
    numbers: std::ops::Range<usize>,
    chunk: usize,
    callers: usize,
) -> Result<f64> {
    let count = numbers.len();
    let watch = Stopwatch::start();
    let calls = (0..callers).map(|caller| {
        let (engine, numbers) = (Arc::clone(engine), numbers.clone());
        tokio::spawn(async move {
            let starts = numbers.clone().step_by(chunk).skip(caller).step_by(callers);
            for start in starts {
                trigger(&engine, start..(start + chunk).min(numbers.end)).await?;
            }
            Result::Ok(())
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await??;
    }
    Ok(count as f64 / watch.elapsed().as_secs_f64())
}

/// Enqueues these tasks in one call.
pub(crate) async fn trigger(engine: &Engine, numbers: std::ops::Range<usize>) -> Result<()> {
    let triggers = numbers.map(|n| {
        Ok(Trigger::new(workload::job_id(n))
            .task_id(workload::task_id(n).as_str().try_into()?)
            .priority(workload::priority(n)))
    });
    let triggered = engine.trigger(triggers.collect::<Result<Vec<_>>>()?).await?;
    let all_made = triggered.iter().all(|one| matches!(one, Triggered::Made { .. }));
    ensure(all_made, "a task that nobody made before was said to exist")
}
