//! The floor of each backend: the same rows written by the best technique known, in a bare loop without an engine.
//!
//! What a task costs there nobody can avoid who keeps a live row, a lease and a history on that backend; the distance
//! to it is what jobcore itself costs. The floors share no code with the stores, and change only to get faster.

mod memory;
mod mysql;
mod sqlite;

use serde::Serialize;

use crate::backend::{Backend, Kind};
use crate::failure::Result;
use crate::flush::Flush;
use crate::mysql::Database;
use crate::report::{Report, rounded};

/// How many tasks are claimed, and settled, in one transaction.
pub(crate) const BATCH: usize = 1_000;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many tasks go through
    #[arg(long, value_name = "N", default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1_000..=9_000_000))]
    tasks: u64,
}

#[derive(Serialize)]
struct Settings {
    tasks: u64,
    floor_batch: usize,
}

#[derive(Serialize)]
struct Figures {
    floor_per_second: f64,
    flush_p50_ms: f64,
    flush_p99_ms: f64,
}

/// Prints one line.
pub(crate) async fn run(backend: &Backend, arguments: &Arguments) -> Result<()> {
    let report = Report::new("floor", backend.kind());
    let tasks = arguments.tasks;
    let mut flush = Flush::measured(backend).await?;
    report.progress(&format!("{tasks} tasks"));
    let floor_per_second = measure(backend, tasks as usize).await?.round();
    flush.measure().await?;
    let figures = Figures {
        floor_per_second,
        flush_p50_ms: rounded(flush.p50_ms()),
        flush_p99_ms: rounded(flush.p99_ms()),
    };
    let settings = Settings {
        tasks,
        floor_batch: BATCH,
    };
    report.print(&settings, &figures)
}

/// Runs `tasks` tasks through the backend's floor: tasks a second, from the first claim to the last durable settle.
pub(crate) async fn measure(backend: &Backend, tasks: usize) -> Result<f64> {
    match backend.kind() {
        Kind::Memory => Ok(memory::measure(tasks)),
        Kind::Sqlite => sqlite::measure(backend.temporary()?.path(), tasks).await,
        Kind::Mysql => mysql::measure(&Database::create(backend.mysql_url()).await?, tasks).await,
    }
}
