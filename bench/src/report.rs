//! Prints results: one JSON object a line on standard output, progress on standard error.

use std::process::Command;

use serde::Serialize;

use crate::backend::Kind;
use crate::failure::Result;

/// What all results of a run say of it.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    bench: &'static str,
    store: &'static str,
    commit: String,
    cores: usize,
}

/// A line of the output.
#[derive(Serialize)]
struct Line<'a, S, R> {
    bench: &'a str,
    store: &'a str,
    commit: &'a str,
    cores: usize,
    settings: &'a S,
    #[serde(flatten)]
    result: &'a R,
}

impl Report {
    pub(crate) fn new(bench: &'static str, store: Kind) -> Self {
        Self {
            bench,
            store: store.as_str(),
            commit: commit(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Prints one result and the settings under which it was measured.
    pub(crate) fn print(&self, settings: &impl Serialize, result: &impl Serialize) -> Result<()> {
        let line = Line {
            bench: self.bench,
            store: self.store,
            commit: &self.commit,
            cores: self.cores,
            settings,
            result,
        };
        println!("{}", serde_json::to_string(&line)?);
        Ok(())
    }

    /// Says on standard error what is being done.
    pub(crate) fn progress(&self, what: &str) {
        eprintln!("{} on {}: {what}", self.bench, self.store);
    }
}

/// The commit of the source that this was built from, with `-dirty` if it was changed since; `unknown` where git or the
/// source is gone.
fn commit() -> String {
    let described = Command::new("git")
        .args(["describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    match described {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// Rounds to three digits behind the point: what a clock in microseconds can say of milliseconds.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}
