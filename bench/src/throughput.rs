//! `throughput`: tasks a second through their whole life, history kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use jobcore::job::Delivery;
use jobcore::store::{FinishedFilter, HistoryStore as _, PageRequest};
use jobcore::task::TaskState;
use serde::Serialize;

use crate::backend::{Backend, Kind};
use crate::enqueue::{self, Enqueued};
use crate::failure::Result;
use crate::floor;
use crate::nodes;
use crate::report::Report;
use crate::stage::{self, Stage};
use crate::workload::{self, JOBS, PRIORITIES, Runs};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many tasks go through; 200,000, and 1,000,000 in memory, unless told
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1_000..=50_000_000))]
    tasks: Option<u64>,

    /// How many attempts the engine carries out at once; what the engine does by default unless told
    #[arg(long, value_name = "N")]
    capacity: Option<u32>,

    /// Measures instead how fast this many processes work one store's tasks off together, and how fast one does
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    nodes: Option<u16>,
}

#[derive(Serialize)]
struct Settings {
    tasks: usize,
    jobs: usize,
    priorities: usize,
    capacity: u32,
    claim_batch: usize,
    settle_batch: usize,
    enqueue_one_tasks: usize,
    enqueue_one_callers: usize,
    enqueue_batch: usize,
    enqueue_batch_callers: usize,
    floor_batch: usize,
}

#[derive(Serialize)]
struct Figures {
    durable_start: bool,
    tasks_per_second: f64,
    floor_per_second: f64,
    enqueue_one_per_second: f64,
    enqueue_batch_per_second: f64,
    start_rows: u64,
    duplicates: u64,
    lost: u64,
}

/// Prints a line without and one with durable starts; or one for several nodes.
pub(crate) async fn run(backend: &Backend, arguments: &Arguments) -> Result<()> {
    let report = Report::new("throughput", backend.kind());
    let tasks = arguments
        .tasks
        .map_or_else(|| default_tasks(backend.kind()), |tasks| tasks as usize);
    if let Some(nodes) = arguments.nodes {
        return nodes::run(backend, usize::from(nodes), tasks, arguments.capacity).await;
    }
    report.progress(&format!("the floor with {tasks} tasks"));
    let before = floor::measure(backend, tasks).await?;
    report.progress(&format!("{tasks} tasks"));
    let plain = measure(backend, tasks, Delivery::AtLeastOnce, arguments.capacity).await?;
    report.progress(&format!("{tasks} tasks with durable starts"));
    let durable = measure(backend, tasks, Delivery::AtMostOnce, arguments.capacity).await?;
    report.progress("the floor again: the faster run counts");
    let floor_per_second = before.max(floor::measure(backend, tasks).await?);
    for (durable_start, measured) in [(false, plain), (true, durable)] {
        let settings = measured.settings(tasks);
        report.print(&settings, &measured.figures(durable_start, floor_per_second))?;
    }
    Ok(())
}

const fn default_tasks(kind: Kind) -> usize {
    match kind {
        Kind::Memory => 1_000_000,
        Kind::Sqlite | Kind::Mysql => 200_000,
    }
}

/// What one run of the engine gave.
pub(crate) struct Measured {
    pub(crate) tasks_per_second: f64,
    enqueued: Enqueued,
    singles: usize,
    start_rows: u64,
    verdict: Verdict,
    capacity: u32,
    claim_batch: usize,
    settle_batch: usize,
}

/// Enqueues `tasks` tasks, then lets an engine carry them all out.
pub(crate) async fn measure(
    backend: &Backend,
    tasks: usize,
    delivery: Delivery,
    capacity: Option<u32>,
) -> Result<Measured> {
    let stage = Stage::open(backend).await?;
    let singles = (tasks / 20).max(1);
    let enqueued = fill(&stage, tasks, singles, delivery).await?;
    let runs = Arc::new(Runs::new(tasks));
    let counted = Arc::clone(&runs);
    let (mut carried_out, mut claim_batch, mut settle_batch) = (0, 0, 0);
    let engine = stage
        .engine(
            |config| {
                config.capacity = capacity.unwrap_or(config.capacity);
                (carried_out, claim_batch, settle_batch) =
                    (config.capacity, config.claim_batch, config.settle_batch);
            },
            move |cx| {
                counted.add(cx.task_id());
                std::future::ready(())
            },
        )
        .await?;
    stage.until_finished(tasks as u64).await?;
    let took = stage.store.last_settle().since(stage.store.first_claim());
    let verdict = judge(&stage, &runs, tasks).await?;
    stage::end(engine).await;
    Ok(Measured {
        tasks_per_second: tasks as f64 / took.as_secs_f64(),
        enqueued,
        singles,
        start_rows: stage.store.start_rows(),
        verdict,
        capacity: carried_out,
        claim_batch,
        settle_batch,
    })
}

/// Enqueues `tasks` tasks, of which the first `singles` one by one.
pub(crate) async fn fill(
    stage: &Stage,
    tasks: usize,
    singles: usize,
    delivery: Delivery,
) -> Result<Enqueued> {
    let scheduler = Arc::new(stage.scheduler().await?);
    let jobs = (0..JOBS).map(|n| {
        let mut job = stage::job(workload::job_id(n).to_string(), None)?;
        job.definition.delivery = delivery;
        Ok(job)
    });
    stage::create_jobs(&scheduler, jobs).await?;
    let enqueued = enqueue::enqueue(&scheduler, tasks, singles).await?;
    let scheduler = Arc::into_inner(scheduler).ok_or("a caller still holds the scheduler")?;
    stage::end(scheduler).await;
    Ok(enqueued)
}

/// What the history and the handlers say of the tasks.
pub(crate) struct Verdict {
    /// Tasks that never ran, or that the history doesn't have as succeeded.
    pub(crate) lost: u64,
    /// Runs beyond one for each task, and rows of the history beyond one.
    pub(crate) duplicates: u64,
    /// How many tasks each executor settled.
    pub(crate) settled_by: BTreeMap<String, u64>,
}

/// Looks for every task in the history.
pub(crate) async fn judge(stage: &Stage, runs: &Runs, tasks: usize) -> Result<Verdict> {
    let kept = Runs::new(tasks);
    let mut settled_by = BTreeMap::new();
    let filter = FinishedFilter {
        states: vec![TaskState::Succeeded],
        ..FinishedFilter::default()
    };
    let mut page = PageRequest::first(1_000);
    loop {
        let read = stage.store.list_finished(&filter, &page).await?;
        for task in &read.items {
            kept.add(&task.task_id);
            let holder = task.holder.as_ref().map(|holder| holder.executor_id.to_string());
            *settled_by.entry(holder.unwrap_or_default()).or_default() += 1;
        }
        match read.next {
            Some(cursor) => page.cursor = Some(cursor),
            None => break,
        }
    }
    let lost = |n: &usize| !runs.ran(*n) || !kept.ran(*n);
    Ok(Verdict {
        lost: (0..tasks).filter(lost).count() as u64,
        duplicates: runs.duplicates() + kept.duplicates(),
        settled_by,
    })
}

impl Measured {
    fn settings(&self, tasks: usize) -> Settings {
        Settings {
            tasks,
            jobs: JOBS,
            priorities: PRIORITIES,
            capacity: self.capacity,
            claim_batch: self.claim_batch,
            settle_batch: self.settle_batch,
            enqueue_one_tasks: self.singles,
            enqueue_one_callers: enqueue::ONE_CALLERS,
            enqueue_batch: enqueue::BATCH,
            enqueue_batch_callers: enqueue::BATCH_CALLERS,
            floor_batch: floor::BATCH,
        }
    }

    fn figures(&self, durable_start: bool, floor_per_second: f64) -> Figures {
        Figures {
            durable_start,
            tasks_per_second: self.tasks_per_second.round(),
            floor_per_second: floor_per_second.round(),
            enqueue_one_per_second: self.enqueued.one_per_second.round(),
            enqueue_batch_per_second: self.enqueued.batch_per_second.round(),
            start_rows: self.start_rows,
            duplicates: self.verdict.duplicates,
            lost: self.verdict.lost,
        }
    }
}
