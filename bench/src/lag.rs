//! `lag`: how long after its nominal instant a fire's handler starts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jobcore::clock::Clock;
use jobcore::executor::TaskContext;
use jobcore::{Engine, Schedule, Timestamp};
use serde::Serialize;

use crate::backend::Backend;
use crate::distribution::Distribution;
use crate::failure::{Result, ensure};
use crate::flush::Flush;
use crate::report::{Report, rounded};
use crate::stage::{self, Stage};

/// How many fires a second `steady` has.
const RATE: u64 = 1_000;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many schedules `burst` has at one instant; repeat it, or separate the numbers by commas
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1_000, 10_000])]
    burst: Vec<u64>,

    /// For how long `steady` is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,

    /// How many schedules share the fires of `steady`: each fires every N/1,000 seconds, all evenly spread
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1_000..=1_000_000))]
    steady_schedules: u64,
}

#[derive(Serialize)]
struct Settings {
    fires: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fires_per_second: Option<u64>,
}

#[derive(Serialize)]
struct Figures {
    shape: &'static str,
    schedules: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    drained_ms: Option<f64>,
    lag_p50_ms: f64,
    lag_p99_ms: f64,
    flush_p50_ms: f64,
    flush_p99_ms: f64,
}

/// Prints a line for each burst and one for `steady`.
pub(crate) async fn run(backend: &Backend, arguments: &Arguments) -> Result<()> {
    let report = Report::new("lag", backend.kind());
    for &schedules in &arguments.burst {
        report.progress(&format!("burst: {schedules} schedules at one instant"));
        burst(backend, &report, schedules).await?;
    }
    let (schedules, seconds) = (arguments.steady_schedules, arguments.seconds);
    report.progress(&format!(
        "steady: {schedules} schedules, {RATE} fires a second, for {seconds} s"
    ));
    steady(backend, &report, schedules, seconds).await
}

async fn burst(backend: &Backend, report: &Report, schedules: u64) -> Result<()> {
    let mut flush = Flush::measured(backend).await?;
    let stage = Stage::open(backend).await?;
    let lags = Lags::new(&stage);
    let engine = lags.engine(&stage).await?;
    let fire_time = stage.clock.now() + Duration::from_millis(3_000 + schedules / 2);
    let jobs = (0..schedules).map(|n| stage::job(format!("once-{n}"), Some(Schedule::once(fire_time))));
    stage::create_jobs(&engine, jobs).await?;
    let at_rest = stage.clock.now() + Duration::from_secs(1) < fire_time;
    ensure(
        at_rest,
        "creating the schedules took too long: the engine wasn't at rest when they came due",
    )?;
    stage.until_finished(schedules).await?;
    let drained = stage.store.last_settle().since(fire_time);
    stage::end(engine).await;
    flush.measure().await?;
    let settings = Settings {
        fires: schedules,
        fires_per_second: None,
    };
    let drained_ms = Some(rounded(drained.as_secs_f64() * 1_000.0));
    report.print(&settings, &lags.figures("burst", schedules, drained_ms, &flush))
}

async fn steady(backend: &Backend, report: &Report, schedules: u64, seconds: u64) -> Result<()> {
    let mut flush = Flush::measured(backend).await?;
    let stage = Stage::open(backend).await?;
    let lags = Lags::new(&stage);
    let engine = lags.engine(&stage).await?;
    let begin = stage.clock.now() + Duration::from_millis(3_000 + schedules / 2);
    let interval = Duration::from_millis(schedules * 1_000 / RATE);
    let end = begin + Duration::from_secs(seconds);
    let jobs = (0..schedules).map(|n| {
        let first = begin + interval.mul_f64(n as f64 / schedules as f64);
        let schedule = Schedule::every(interval).starting(first).ending(end);
        stage::job(format!("every-{n}"), Some(schedule))
    });
    stage::create_jobs(&engine, jobs).await?;
    ensure(
        stage.clock.now() < begin,
        "creating the schedules took too long: the first ones were due",
    )?;
    stage.clock.sleep_until(end + Duration::from_secs(2)).await;
    let fires = lags.count();
    let expected = RATE * seconds;
    ensure(
        fires.abs_diff(expected) <= expected / 100,
        &format!("{fires} fires instead of {expected}"),
    )?;
    stage::end(engine).await;
    flush.measure().await?;
    let settings = Settings {
        fires,
        fires_per_second: Some(RATE),
    };
    report.print(&settings, &lags.figures("steady", schedules, None, &flush))
}

/// The lags that handlers saw.
struct Lags {
    measured: Arc<Mutex<Distribution>>,
    clock: Arc<dyn Clock>,
}

impl Lags {
    fn new(stage: &Stage) -> Self {
        Self {
            measured: Arc::new(Mutex::new(Distribution::new())),
            clock: Arc::clone(&stage.clock),
        }
    }

    /// An engine whose handler notes the lag of each start.
    async fn engine(&self, stage: &Stage) -> Result<Engine> {
        let (measured, clock) = (Arc::clone(&self.measured), Arc::clone(&self.clock));
        stage
            .engine(
                |_| {},
                move |cx: TaskContext| {
                    let nominal = cx.scheduled_for().unwrap_or(Timestamp::EPOCH);
                    let lag = clock.now().since(nominal);
                    measured.lock().unwrap_or_else(PoisonError::into_inner).add(lag);
                    std::future::ready(())
                },
            )
            .await
    }

    fn count(&self) -> u64 {
        self.measured
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .count()
    }

    fn figures(
        &self,
        shape: &'static str,
        schedules: u64,
        drained_ms: Option<f64>,
        flush: &Flush,
    ) -> Figures {
        let measured = self.measured.lock().unwrap_or_else(PoisonError::into_inner);
        Figures {
            shape,
            schedules,
            drained_ms,
            lag_p50_ms: rounded(measured.p50_ms()),
            lag_p99_ms: rounded(measured.p99_ms()),
            flush_p50_ms: rounded(flush.p50_ms()),
            flush_p99_ms: rounded(flush.p99_ms()),
        }
    }
}
