//! The simulator, over seeds that every run tries and seeds that no run has tried before.

use std::path::Path;
use std::process::Command;

use crate::step::Outcome;
use crate::{cargo, clock, process};

/// Seeds that every run tries: what failed once stays covered.
const FIXED: u64 = 2_000;

/// How many fresh seeds a run tries.
const FRESH: u64 = 200;

/// Runs both ranges. A violation prints its seed and the command that replays it.
pub(crate) fn run() -> Outcome {
    let simulate = cargo::binary("simulate")?;
    let first = clock::unix_seconds();
    range(&simulate, 0, FIXED)?;
    range(&simulate, first, first + FRESH)?;
    Ok(format!("{} seeds, fresh ones from {first}", FIXED + FRESH))
}

fn range(simulate: &Path, first: u64, end: u64) -> Outcome {
    let seeds = format!("{first}..{end}");
    process::output(Command::new(simulate).args(["--seeds", &seeds]))
}
