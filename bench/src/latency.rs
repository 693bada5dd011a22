//! `latency`: from the submit of a task to the start of its handler.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use jobcore::Engine;
use jobcore::clock::Clock;
use jobcore::executor::TaskContext;
use jobcore::id::TaskId;
use jobcore::job::Delivery;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::backend::{Backend, Kind};
use crate::distribution::Distribution;
use crate::failure::{Result, ensure};
use crate::flush::Flush;
use crate::report::{Report, rounded};
use crate::stage::{self, Stage};
use crate::workload::{self, JOBS};
use crate::{enqueue, throughput};

/// How often tasks are submitted under `half`: together what is due by the rate.
const TICK: Duration = Duration::from_millis(5);

/// How many submits of `half` may be under way: more than that, and the store can't keep up.
const SUBMITS: usize = 256;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many tasks are submitted one at a time for `idle`
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    samples: u64,

    /// For how long tasks are submitted for `half`
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// Tasks a second for `half`; half of what a short run of `throughput` gives unless told
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,
}

#[derive(Serialize)]
struct Settings {
    tasks: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    submit_interval_ms: Option<f64>,
}

#[derive(Serialize)]
struct Figures {
    load: &'static str,
    submit_to_start_p50_ms: f64,
    submit_to_start_p99_ms: f64,
    flush_p50_ms: f64,
    flush_p99_ms: f64,
}

/// Prints a line for `idle` and one for `half`.
pub(crate) async fn run(backend: &Backend, arguments: &Arguments) -> Result<()> {
    let report = Report::new("latency", backend.kind());
    let samples = arguments.samples as usize;
    report.progress(&format!("idle: {samples} tasks, one at a time"));
    let mut flush = Flush::measured(backend).await?;
    let idle = idle(backend, samples).await?;
    flush.measure().await?;
    let settings = Settings {
        tasks: samples,
        tasks_per_second: None,
        submit_interval_ms: None,
    };
    report.print(&settings, &Figures::new("idle", &idle, &flush))?;

    let rate = match arguments.rate {
        Some(rate) => rate as f64,
        None => half_of_throughput(backend, &report).await?,
    };
    report.progress(&format!(
        "half: {rate:.0} tasks a second for {} s",
        arguments.seconds
    ));
    let mut flush = Flush::measured(backend).await?;
    let half = half(backend, rate, Duration::from_secs(arguments.seconds)).await?;
    flush.measure().await?;
    let settings = Settings {
        tasks: half.count() as usize,
        tasks_per_second: Some(rate.round()),
        submit_interval_ms: Some(TICK.as_secs_f64() * 1_000.0),
    };
    report.print(&settings, &Figures::new("half", &half, &flush))
}

async fn half_of_throughput(backend: &Backend, report: &Report) -> Result<f64> {
    let tasks = match backend.kind() {
        Kind::Memory => 300_000,
        Kind::Sqlite | Kind::Mysql => 60_000,
    };
    report.progress(&format!(
        "throughput with {tasks} tasks, to know what half of it is"
    ));
    let measured = throughput::measure(backend, tasks, Delivery::AtLeastOnce, None).await?;
    Ok(measured.tasks_per_second / 2.0)
}

/// One task at a time, each after the end of the last and a pause in which the engine goes to rest.
async fn idle(backend: &Backend, samples: usize) -> Result<Distribution> {
    let stage = Stage::open(backend).await?;
    let (started, mut starts) = mpsc::unbounded_channel();
    let clock = Arc::clone(&stage.clock);
    let engine = stage
        .engine(
            |_| {},
            move |_| {
                // The receiver outlives the engine, and a full channel is impossible.
                let _ = started.send(clock.now());
                std::future::ready(())
            },
        )
        .await?;
    create_jobs(&engine).await?;
    let mut measured = Distribution::new();
    for n in 0..samples {
        let submitted = stage.clock.now();
        enqueue::trigger(&engine, n..n + 1).await?;
        let start = starts.recv().await.ok_or("the handler is gone")?;
        measured.add(start.since(submitted));
        stage.until_finished(n as u64 + 1).await?;
        tokio::time::sleep(TICK).await;
    }
    stage::end(engine).await;
    Ok(measured)
}

/// Submits at a fixed rate whatever becomes of it; a submit that is late counts from when it should have been.
async fn half(backend: &Backend, rate: f64, duration: Duration) -> Result<Distribution> {
    let tasks = (rate * duration.as_secs_f64()) as usize;
    let stage = Stage::open(backend).await?;
    let times = Arc::new(Times::new(tasks, Arc::clone(&stage.clock)));
    let noted = Arc::clone(&times);
    let engine = stage
        .engine(
            |_| {},
            move |cx: TaskContext| {
                noted.started(cx.task_id());
                std::future::ready(())
            },
        )
        .await?;
    create_jobs(&engine).await?;
    let engine = Arc::new(engine);
    submit(&engine, &times, rate, tasks).await?;
    stage.until_finished(tasks as u64).await?;
    let engine = Arc::into_inner(engine).ok_or("a submit still holds the engine")?;
    stage::end(engine).await;
    times.distribution()
}

async fn submit(engine: &Arc<Engine>, times: &Arc<Times>, rate: f64, tasks: usize) -> Result<()> {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let begin = times.clock.now();
    let mut under_way = tokio::task::JoinSet::new();
    let (mut sent, mut tick) = (0, 0);
    while sent < tasks {
        ticks.tick().await;
        let nominal = begin + TICK * tick;
        tick += 1;
        let due = (rate * TICK.as_secs_f64() * f64::from(tick)) as usize;
        let numbers = sent..due.min(tasks);
        sent = numbers.end;
        times.submitted(numbers.clone(), nominal.as_micros());
        ensure(
            under_way.len() < SUBMITS,
            "the store can't keep up with half of its throughput",
        )?;
        let engine = Arc::clone(engine);
        under_way.spawn(async move { enqueue::trigger(&engine, numbers).await });
        while let Some(done) = under_way.try_join_next() {
            done??;
        }
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    Ok(())
}

async fn create_jobs(engine: &Engine) -> Result<()> {
    let jobs = (0..JOBS).map(|n| stage::job(workload::job_id(n).to_string(), None));
    stage::create_jobs(engine, jobs).await
}

/// When each task was, or should have been, submitted, and when its handler started; in microseconds.
struct Times {
    submits: Vec<AtomicI64>,
    starts: Vec<AtomicI64>,
    clock: Arc<dyn Clock>,
}

impl Times {
    fn new(tasks: usize, clock: Arc<dyn Clock>) -> Self {
        let empty = || (0..tasks).map(|_| AtomicI64::new(0)).collect();
        Self {
            submits: empty(),
            starts: empty(),
            clock,
        }
    }

    fn submitted(&self, numbers: Range<usize>, time: i64) {
        self.submits[numbers]
            .iter()
            .for_each(|submit| submit.store(time, Relaxed));
    }

    fn started(&self, task_id: &TaskId) {
        if let Some(start) = workload::number(task_id).and_then(|n| self.starts.get(n)) {
            start.store(self.clock.now().as_micros(), Relaxed);
        }
    }

    fn distribution(&self) -> Result<Distribution> {
        let mut measured = Distribution::new();
        for (submit, start) in self.submits.iter().zip(&self.starts) {
            let start = start.load(Relaxed);
            ensure(start > 0, "a task became final and never started")?;
            let waited = start - submit.load(Relaxed);
            measured.add(Duration::from_micros(u64::try_from(waited).unwrap_or(0)));
        }
        Ok(measured)
    }
}

impl Figures {
    fn new(load: &'static str, measured: &Distribution, flush: &Flush) -> Self {
        Self {
            load,
            submit_to_start_p50_ms: rounded(measured.p50_ms()),
            submit_to_start_p99_ms: rounded(measured.p99_ms()),
            flush_p50_ms: rounded(flush.p50_ms()),
            flush_p99_ms: rounded(flush.p99_ms()),
        }
    }
}
