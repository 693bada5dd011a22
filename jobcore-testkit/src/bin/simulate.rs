//! Runs seeds of the simulated cluster: `simulate --seeds 0..1000`, or one of them with its trace:
//! `simulate --seed 7 --verbose`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the command line"
)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser;
use jobcore_testkit::simulation::{Guard, Options, Report, run};

/// Runs seeds of the simulated cluster and checks its invariants after every step.
///
/// A seed is a world: engines and remote executors as they ship, over one store and one transport, on simulated time.
/// It decides what the jobs are and what goes wrong: processes freeze, die, come back and are doubled; calls and
/// messages are lost, late and repeated; the store is away; clocks jump. Then everything is mended, and what is due has
/// to end.
#[derive(Parser)]
#[command(after_help = AFTER_HELP, verbatim_doc_comment)]
struct Arguments {
    /// The seeds to run, `A..B`: from A up to, not including, B.
    #[arg(long, value_parser = range, default_value = "0..1000")]
    seeds: (u64, u64),
    /// Only this seed.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Print what happens.
    #[arg(long)]
    verbose: bool,
    /// Switch a guard off, and stop at the first violation; `list` names them, one a line.
    #[arg(long = "break", value_name = "GUARD")]
    broken: Option<String>,
    /// How many threads; as many as there are cores by default.
    #[arg(long)]
    threads: Option<usize>,
}

const AFTER_HELP: &str = "\
Output: one line of JSON on standard output:
  seeds         how many were run
  steps         calls of the store and events of attempts that were checked
  tasks         how many tasks the seeds had
  faults        what went wrong, by kind
  violations    how many seeds broke an invariant
  failed_seeds  the first twenty of them
  break         the guard that was switched off, or null
Each violation is told on standard error, with the command that replays its seed.
Exit status: 0 no violation, 1 a violation, 2 wrong usage.

Examples:
  simulate --seeds 0..10000               ten thousand worlds
  simulate --seed 7 --verbose             one of them, with all that happens in it
  simulate --break list                   the guards that can be switched off
  simulate --break stale-token            runs until the missing guard is noticed: exit status 1";

fn range(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("`{text}` is no range; write for example 0..1000");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let from: u64 = from.parse().map_err(|_| wrong())?;
    let to: u64 = to.parse().map_err(|_| wrong())?;
    if from < to { Ok((from, to)) } else { Err(wrong()) }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.broken.as_deref() == Some("list") {
        Guard::ALL.iter().for_each(|guard| println!("{guard}"));
        return ExitCode::SUCCESS;
    }
    let broken = match arguments.broken.as_deref().map(str::parse::<Guard>).transpose() {
        Ok(broken) => broken,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let options = Options {
        verbose: arguments.verbose,
        broken,
    };
    let seeds = arguments.seed.map_or(arguments.seeds, |seed| (seed, seed + 1));
    let threads = arguments
        .threads
        .or_else(|| std::thread::available_parallelism().ok().map(Into::into))
        .unwrap_or(1);
    let total = run_all(seeds, threads, &options);
    total.print(&options)
}

/// What came of all seeds together.
#[derive(Default)]
struct Total {
    seeds: u64,
    steps: u64,
    tasks: u64,
    faults: BTreeMap<&'static str, u64>,
    failed: BTreeMap<u64, Report>,
}

fn run_all((from, to): (u64, u64), threads: usize, options: &Options) -> Total {
    let next = AtomicU64::new(from);
    let total = Mutex::new(Total::default());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let found = |total: &Total| options.broken.is_some() && !total.failed.is_empty();
                    if seed >= to || found(&total.lock().expect("no seed panics")) {
                        return;
                    }
                    let report = run(seed, options);
                    total.lock().expect("no seed panics").add(report);
                }
            });
        }
    });
    total.into_inner().expect("no seed panics")
}

/// The head of a long text: the replay prints it whole.
fn shortened(text: &str) -> &str {
    &text[..text.floor_char_boundary(1_500)]
}

impl Total {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.steps += report.steps;
        self.tasks += report.tasks;
        for (kind, count) in &report.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        if !report.violations.is_empty() {
            self.failed.insert(report.seed, report);
        }
    }

    fn print(&self, options: &Options) -> ExitCode {
        let broken = options
            .broken
            .map_or(String::new(), |guard| format!(" --break {guard}"));
        for (seed, report) in &self.failed {
            for violation in &report.violations {
                eprintln!(
                    "seed {seed} after {:?}: {} was violated: {}",
                    violation.at,
                    violation.invariant,
                    shortened(&violation.found)
                );
            }
            eprintln!(
                "replay: cargo run --release -p jobcore-testkit --bin simulate -- --seed {seed} --verbose{broken}"
            );
        }
        let line = serde_json::json!({
            "seeds": self.seeds,
            "steps": self.steps,
            "tasks": self.tasks,
            "faults": self.faults,
            "violations": self.failed.len(),
            "failed_seeds": self.failed.keys().take(20).collect::<Vec<_>>(),
            "break": options.broken.map(Guard::as_str),
        });
        println!("{line}");
        if self.failed.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}
