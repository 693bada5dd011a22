//! `idle`: what an engine uses that has many schedules and nothing to do.

use std::time::Duration;

use serde::Serialize;

use crate::backend::Backend;
use crate::clock::Stopwatch;
use crate::failure::Result;
use crate::report::{Report, rounded};
use crate::rules;
use crate::scale::WARM_UP;
use crate::stage::{self, Stage};
use crate::usage;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many schedules there are, none of which comes due
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    schedules: u64,

    /// For how long the engine is watched
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=3_600))]
    seconds: u64,
}

#[derive(Serialize)]
struct Settings {
    seconds: u64,
}

#[derive(Serialize)]
struct Figures {
    schedules: u64,
    cpu_percent: f64,
    rss_mb: Option<f64>,
}

/// Prints one line.
pub(crate) async fn run(backend: &Backend, arguments: &Arguments) -> Result<()> {
    let report = Report::new("idle", backend.kind());
    let schedules = arguments.schedules;
    report.progress(&format!("creating {schedules} schedules"));
    let stage = Stage::open(backend).await?;
    let engine = stage.engine(|_| {}, |_| std::future::ready(())).await?;
    let now = stage.clock.now();
    let jobs = (0..schedules).map(|n| stage::job(format!("quiet-{n}"), Some(rules::quiet(n, now)?)));
    stage::create_jobs(&engine, jobs).await?;
    report.progress(&format!("doing nothing for {} s", arguments.seconds));
    tokio::time::sleep(WARM_UP).await;
    let (watch, used_before) = (Stopwatch::start(), usage::processor_time()?);
    tokio::time::sleep(Duration::from_secs(arguments.seconds)).await;
    let (took, used) = (watch.elapsed(), usage::processor_time()? - used_before);
    let figures = Figures {
        schedules,
        cpu_percent: rounded(used.as_secs_f64() / took.as_secs_f64() * 100.0),
        rss_mb: usage::resident_mb().map(rounded),
    };
    stage::end(engine).await;
    let settings = Settings {
        seconds: arguments.seconds,
    };
    report.print(&settings, &figures)
}
