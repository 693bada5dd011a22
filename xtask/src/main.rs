//! The project's own commands: `cargo xtask test` runs every check that a change has to pass.

mod cargo;
mod clock;
mod examples;
mod process;
mod quickstart;
mod run;
mod services;
mod simulation;
mod step;
mod toolchain;

use std::process::ExitCode;
use std::sync::mpsc::channel;

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
    /// Needs the Rust toolchain and nothing else. What is missing is installed: rustfmt and clippy by rustup, the services
    /// that tests talk to by apt-get (as root or by `sudo -n`). Services are started on a fresh data folder below the
    /// target folder and a free port of loopback, and are stopped at the end. Tests can skip nothing.
    ///
    /// Stops at the first step that fails, unless told to keep going. A step that takes longer than its limit is killed
    /// with everything that it started, and has failed. The last line says how many steps passed and failed; the exit
    /// status is 0 only if none failed.
    #[command(after_long_help = LONG_HELP)]
    Test(TestArguments),

    /// Starts the services that tests talk to, as `test` does, and stops them at Ctrl-C.
    ///
    /// Prints the environment variables by which tests find them, for example for `cargo test` in another shell.
    Services {
        /// Only these; without a name, all: mariadb.
        names: Vec<String>,
    },
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
    match Arguments::parse().command {
        Command::Test(arguments) => test(&arguments),
        Command::Services { names } => serve(&names),
    }
}

fn test(arguments: &TestArguments) -> ExitCode {
    if arguments.list {
        run::list();
        return ExitCode::SUCCESS;
    }
    let steps = match run::selected(&arguments.only, &arguments.skip) {
        Ok(steps) => steps,
        Err(unknown) => return refused(&unknown),
    };
    let handled = on_interrupt(|| {
        services::stop();
        std::process::exit(130);
    });
    match handled {
        Ok(()) => run::all(&steps, arguments.keep_going),
        Err(reason) => refused(&reason),
    }
}

fn serve(names: &[String]) -> ExitCode {
    let (interrupt, interrupted) = channel();
    let handled = on_interrupt(move || {
        // Serving may have ended by itself meanwhile.
        let _ = interrupt.send(());
    });
    let served = handled
        .and_then(|()| services::selected(names))
        .and_then(|services| services::serve(&services, &interrupted));
    served.map_or_else(|reason| refused(&reason), |()| ExitCode::SUCCESS)
}

/// Does it at Ctrl-C, after what runs was killed: commands have process groups of their own, which the terminal's Ctrl-C
/// doesn't reach.
fn on_interrupt(mut then: impl FnMut() + Send + 'static) -> Result<(), String> {
    let handled = ctrlc::set_handler(move || {
        process::kill_all();
        then();
    });
    handled.map_err(|error| format!("Ctrl-C can't be handled: {error}"))
}

fn refused(reason: &str) -> ExitCode {
    eprintln!("{reason}");
    ExitCode::from(2)
}
