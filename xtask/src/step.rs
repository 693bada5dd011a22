//! The steps of `cargo xtask test`, one table: their order, names, and what they check.

use std::time::Duration;

use crate::services::{MARIADB, Service};
use crate::{cargo, examples, simulation, toolchain};

/// What a step says when it passed (a few words for the summary, may be empty), or why it failed.
pub(crate) type Outcome = Result<String, String>;

/// One check.
#[derive(Debug)]
pub(crate) struct Step {
    /// Its name for `--only` and `--skip`.
    pub(crate) name: &'static str,
    /// What it checks, for people.
    pub(crate) about: &'static str,
    /// How long it may take before it is killed: several times what it takes on two cores from a fresh clone, so that
    /// only a hang reaches it.
    pub(crate) limit: Duration,
    /// What its tests talk to, which is started before.
    pub(crate) needs: &'static [&'static Service],
    /// Does it.
    pub(crate) run: fn() -> Outcome,
}

/// All steps, in the order in which they run: what fails fast comes first.
///
/// Two builds serve all but the quickstart, so that a run on a fresh clone stays short: check (clippy and docs) and dev
/// (everything that runs, with its assertions on). They stay two only as long as every command selects the whole
/// workspace: another selection of packages means other features of their dependencies, which are then built again.
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "format",
        about: "the code is formatted as rustfmt.toml says",
        limit: minutes(2),
        needs: &[],
        run: format,
    },
    Step {
        name: "clippy",
        about: "clippy has no warning about any target of the workspace",
        limit: minutes(15),
        needs: &[],
        run: clippy,
    },
    Step {
        name: "docs",
        about: "the documentation builds without a warning, links included",
        limit: minutes(10),
        needs: &[],
        run: docs,
    },
    Step {
        name: "unit",
        about: "unit tests of every crate, tool and example",
        limit: minutes(20),
        needs: &[],
        run: unit,
    },
    Step {
        name: "integration",
        about: "conformance and comparison of the stores, the engine whole, faults, guards that the simulator misses",
        limit: minutes(20),
        needs: &[&MARIADB],
        run: integration,
    },
    Step {
        name: "doc-tests",
        about: "the examples in the documentation and the README compile and run",
        limit: minutes(10),
        needs: &[],
        run: doc_tests,
    },
    Step {
        name: "simulation",
        about: "simulated clusters keep every invariant: a fixed range of seeds, then a fresh one",
        limit: minutes(15),
        needs: &[],
        run: simulation::run,
    },
    Step {
        name: "crash",
        about: "real processes, killed and frozen at random, lose and double nothing",
        limit: minutes(15),
        needs: &[&MARIADB],
        run: crash,
    },
    Step {
        name: "examples",
        about: "the examples run and print what the README says",
        limit: minutes(20),
        needs: &[],
        run: examples::run,
    },
];

const fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

fn format() -> Outcome {
    toolchain::ensure("rustfmt", "fmt")?;
    cargo::run(&["fmt", "--all", "--check"], &[])
        .map_err(|reason| format!("{reason}; `cargo fmt --all` mends it"))
}

fn clippy() -> Outcome {
    toolchain::ensure("clippy", "clippy")?;
    let all = ["clippy", "--locked", "--workspace", "--all-targets"];
    cargo::run(&[&all[..], &["--", "-D", "warnings"]].concat(), &[])
}

fn docs() -> Outcome {
    let all = ["doc", "--locked", "--no-deps", "--workspace"];
    cargo::run(&all, &[("RUSTDOCFLAGS", "-D warnings")])
}

fn unit() -> Outcome {
    tests(&["--lib", "--bins", "--examples"])
}

/// All but those of the package `jobcore-tests`, which are the crash tests.
fn integration() -> Outcome {
    tests(&["--exclude", "jobcore-tests", "--test", "*"])
}

fn crash() -> Outcome {
    tests(&["--test", "crash", "--test", "mysql"])
}

fn doc_tests() -> Outcome {
    tests(&["--doc"])
}

/// Tests of the workspace, all of those chosen, also after one has failed.
fn tests(which: &[&str]) -> Outcome {
    let all = ["test", "--no-fail-fast", "--locked", "--workspace"];
    cargo::test(&[&all[..], which].concat())
}
