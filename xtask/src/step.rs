//! The steps of `cargo xtask test`, one table: their order, names, and what they check.

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
    /// Does it.
    pub(crate) run: fn() -> Outcome,
}

/// All steps, in the order in which they run: what fails fast comes first.
///
/// Three builds serve them all, so that a cold run stays short: check (clippy and docs), dev (unit and doc tests, with
/// assertions on), release (testkit, simulation, crash tests and examples).
pub(crate) const STEPS: &[Step] = &[
    Step {
        name: "format",
        about: "the code is formatted as rustfmt.toml says",
        run: format,
    },
    Step {
        name: "clippy",
        about: "clippy has no warning about any target of the workspace",
        run: clippy,
    },
    Step {
        name: "docs",
        about: "the documentation builds without a warning, links included",
        run: docs,
    },
    Step {
        name: "unit",
        about: "unit, conformance and comparison tests of the library, the stores, examples and tools",
        run: unit,
    },
    Step {
        name: "doc-tests",
        about: "the examples in the documentation compile and run",
        run: doc_tests,
    },
    Step {
        name: "testkit",
        about: "the testkit's own tests: in-memory backends, faults, and guards whose absence the simulator notices",
        run: testkit,
    },
    Step {
        name: "simulation",
        about: "simulated clusters keep every invariant: a fixed range of seeds, then a fresh one",
        run: simulation::run,
    },
    Step {
        name: "crash",
        about: "real processes, killed and frozen at random, lose and double nothing",
        run: crash,
    },
    Step {
        name: "examples",
        about: "the examples run and print what the README says",
        run: examples::run,
    },
];

fn format() -> Outcome {
    toolchain::ensure("rustfmt", "fmt")?;
    cargo::run(&["fmt", "--all", "--check"], &[])
        .map_err(|reason| format!("{reason}; `cargo fmt --all` mends it"))
}

fn clippy() -> Outcome {
    toolchain::ensure("clippy", "clippy")?;
    cargo::run(
        &[
            "clippy",
            "--locked",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
        &[],
    )
}

fn docs() -> Outcome {
    cargo::run(
        &["doc", "--locked", "--no-deps", "--workspace"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )
}

fn unit() -> Outcome {
    let what_needs_no_optimisation = [
        "test",
        "--no-fail-fast",
        "--locked",
        "--workspace",
        "--exclude",
        "jobcore-testkit",
        "--exclude",
        "jobcore-tests",
        "--lib",
        "--bins",
        "--tests",
        "--examples",
    ];
    cargo::test(&what_needs_no_optimisation)
}

/// Simulated clusters and chaos tests are many times slower without optimisation.
fn testkit() -> Outcome {
    release_tests("jobcore-testkit")
}

fn crash() -> Outcome {
    release_tests("jobcore-tests")
}

fn release_tests(package: &str) -> Outcome {
    cargo::test(&[
        "test",
        "--no-fail-fast",
        "--locked",
        "--release",
        "--package",
        package,
        "--lib",
        "--bins",
        "--tests",
    ])
}

fn doc_tests() -> Outcome {
    cargo::test(&["test", "--no-fail-fast", "--locked", "--workspace", "--doc"])
}
