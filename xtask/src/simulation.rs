//! The simulator, over seeds that every run tries and seeds that no run has tried before.

use crate::step::Outcome;
use crate::{cargo, clock};

/// Seeds that every run tries: what failed once stays covered.
const FIXED: u64 = 2_000;

/// How many fresh seeds a run tries.
const FRESH: u64 = 200;

/// Runs both ranges. A violation prints its seed and the command that replays it.
pub(crate) fn run() -> Outcome {
    let first = clock::unix_seconds();
    range(0, FIXED)?;
    range(first, first + FRESH)?;
    Ok(format!("{} seeds, fresh ones from {first}", FIXED + FRESH))
}

fn range(first: u64, end: u64) -> Result<(), String> {
    let seeds = format!("{first}..{end}");
    let arguments = [
        "run",
        "--locked",
        "--quiet",
        "--release",
        "--package",
        "jobcore-testkit",
        "--bin",
        "simulate",
        "--",
        "--seeds",
        &seeds,
    ];
    cargo::run(&arguments, &[]).map(drop)
}
