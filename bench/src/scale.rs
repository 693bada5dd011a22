//! `scale`: what a fire costs beside how many other schedules, and what they weigh.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde::Serialize;

use crate::backend::Backend;
use crate::failure::{Result, ensure};
use crate::report::{Report, rounded};
use crate::rules::{self, BUSY_PERIOD};
use crate::stage::{self, Stage};
use crate::usage;

/// How many fires a second there are, however many schedules.
const RATE: u64 = 200;

/// How long an engine settles down before it is measured.
pub(crate) const WARM_UP: Duration = Duration::from_secs(5);

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many schedules there are; repeat it, or separate the numbers by commas. Each number but a lone one gets a
    /// process of its own, so that none inherits another's memory
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000, 1_000_000],
        value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    schedules: Vec<u64>,

    /// For how long the cost is measured
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..=600))]
    seconds: u64,
}

#[derive(Serialize)]
struct Settings {
    fires: u64,
    fires_per_second: u64,
    seconds: u64,
}

#[derive(Serialize)]
struct Figures {
    schedules: u64,
    micros_per_fire: f64,
    rss_mb: Option<f64>,
}

/// Prints a line for each number of schedules.
pub(crate) async fn run(backend: &Backend, arguments: &Arguments) -> Result<()> {
    match arguments.schedules[..] {
        [schedules] => measure(backend, schedules, arguments.seconds).await,
        ref many => many
            .iter()
            .try_for_each(|&schedules| in_a_process_of_its_own(backend, schedules, arguments.seconds)),
    }
}

fn in_a_process_of_its_own(backend: &Backend, schedules: u64, seconds: u64) -> Result<()> {
    let status = backend
        .command("scale")?
        .args([
            "--schedules",
            &schedules.to_string(),
            "--seconds",
            &seconds.to_string(),
        ])
        .status()?;
    ensure(
        status.success(),
        &format!("the process for {schedules} schedules ended with {status}"),
    )
}

async fn measure(backend: &Backend, schedules: u64, seconds: u64) -> Result<()> {
    let report = Report::new("scale", backend.kind());
    report.progress(&format!("creating {schedules} schedules"));
    let stage = Stage::open(backend).await?;
    let fires = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&fires);
    let engine = stage
        .engine(
            |_| {},
            move |_| {
                counted.fetch_add(1, Relaxed);
                std::future::ready(())
            },
        )
        .await?;
    // The quiet ones first: the busy ones would fire while the others are created.
    let busy = RATE * BUSY_PERIOD;
    let now = stage.clock.now();
    let quiet = (busy..schedules).map(|n| stage::job(format!("quiet-{n}"), Some(rules::quiet(n, now)?)));
    stage::create_jobs(&engine, quiet).await?;
    let busy = (0..busy).map(|n| stage::job(format!("busy-{n}"), Some(rules::busy(n)?)));
    stage::create_jobs(&engine, busy).await?;
    report.progress(&format!("{RATE} fires a second for {seconds} s"));
    tokio::time::sleep(WARM_UP).await;
    let (fires_before, used_before) = (fires.load(Relaxed), usage::processor_time()?);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (fires, used) = (
        fires.load(Relaxed) - fires_before,
        usage::processor_time()? - used_before,
    );
    let figures = Figures {
        schedules,
        micros_per_fire: rounded(used.as_secs_f64() * 1e6 / fires as f64),
        rss_mb: usage::resident_mb().map(rounded),
    };
    stage::end(engine).await;
    let expected = RATE * seconds;
    ensure(
        fires.abs_diff(expected) <= RATE,
        &format!("{fires} fires instead of {expected}"),
    )?;
    let settings = Settings {
        fires,
        fires_per_second: RATE,
        seconds,
    };
    report.print(&settings, &figures)
}
