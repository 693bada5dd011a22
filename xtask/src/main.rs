//! The project's own commands: `cargo xtask test` runs every check that a change has to pass.

mod cargo;
mod clock;
mod examples;
mod process;
mod quickstart;
mod run;
mod simulation;
mod step;
mod toolchain;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs every check that a change has to pass, in the order in which they are cheap.
    ///
    /// Needs the Rust toolchain and nothing else; rustfmt and clippy are installed by rustup if they are missing. Stops
    /// at the first step that fails, unless told to keep going. A step that takes longer than its limit is killed with
    /// everything that it started, and has failed. The last line says how many steps passed and failed; the exit status
    /// is 0 only if none failed.
    #[command(after_long_help = LONG_HELP)]
    Test(TestArguments),
}

const LONG_HELP: &str = "\
Examples:
  cargo xtask test                      everything, as the CI does
  cargo xtask test --list               what the steps are called and what they check
  cargo xtask test --only clippy        one step
  cargo xtask test --only unit,docs     several
  cargo xtask test --skip crash         all but some
  cargo xtask test --keep-going         all steps, also after one has failed

What a step runs is printed below its heading, so that it can be repeated by hand with other arguments.";

/// What to run.
#[derive(Debug, clap::Args)]
struct TestArguments {
    /// Only these steps; repeat it, or separate the names by commas.
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    only: Vec<String>,

    /// All but these steps.
    #[arg(long, value_name = "STEP", value_delimiter = ',', conflicts_with = "only")]
    skip: Vec<String>,

    /// Runs the other steps, too, when one has failed.
    #[arg(long)]
    keep_going: bool,

    /// Prints the names of the steps and what they check, and runs nothing.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let Command::Test(arguments) = Arguments::parse().command;
    if arguments.list {
        run::list();
        return ExitCode::SUCCESS;
    }
    // The commands have process groups of their own, which the terminal's Ctrl-C doesn't reach.
    let handled = ctrlc::set_handler(|| {
        process::kill_all();
        std::process::exit(130);
    });
    if let Err(error) = handled {
        eprintln!("Ctrl-C can't be handled: {error}");
        return ExitCode::from(2);
    }
    match run::selected(&arguments.only, &arguments.skip) {
        Ok(steps) => run::all(&steps, arguments.keep_going),
        Err(unknown) => {
            eprintln!("{unknown}");
            ExitCode::from(2)
        }
    }
}
