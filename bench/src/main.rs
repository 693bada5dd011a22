//! `jobcore-bench`: what jobcore costs, and beside it what nobody can avoid.
//!
//! One JSON object a line on standard output for each result, progress on standard error. Each command has a file with
//! its name; `floor/` has the bare loops that the engine is compared with, `flush.rs` the bare commit.

mod backend;
mod clock;
mod distribution;
mod enqueue;
mod failure;
mod floor;
mod flush;
mod help;
mod idle;
mod lag;
mod latency;
mod mysql;
mod node;
mod nodes;
mod observed;
mod place;
mod report;
mod rules;
mod scale;
mod stage;
mod throughput;
mod usage;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use backend::{Backend, Kind};
use failure::Result;

/// What jobcore costs, and beside it what nobody can avoid.
#[derive(Debug, Parser)]
#[command(name = "jobcore-bench", version, arg_required_else_help = true, after_help = help::LINES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Tasks a second through their whole life, history kept
    #[command(after_help = help::THROUGHPUT)]
    Throughput {
        #[command(flatten)]
        on: On,
        #[command(flatten)]
        arguments: throughput::Arguments,
    },
    /// From the submit of a task to the start of its handler
    #[command(after_help = help::LATENCY)]
    Latency {
        #[command(flatten)]
        on: On,
        #[command(flatten)]
        arguments: latency::Arguments,
    },
    /// From the nominal instant of a fire to the start of its handler
    #[command(after_help = help::LAG)]
    Lag {
        #[command(flatten)]
        on: On,
        #[command(flatten)]
        arguments: lag::Arguments,
    },
    /// What a fire costs beside a thousand to a million schedules, and what they weigh
    #[command(after_help = help::SCALE)]
    Scale {
        #[command(flatten)]
        on: On,
        #[command(flatten)]
        arguments: scale::Arguments,
    },
    /// What an engine uses that has many schedules and nothing to do
    #[command(after_help = help::IDLE)]
    Idle {
        #[command(flatten)]
        on: On,
        #[command(flatten)]
        arguments: idle::Arguments,
    },
    /// Only the floor: for those who want to lower it
    #[command(after_help = help::FLOOR)]
    Floor {
        #[command(flatten)]
        on: On,
        #[command(flatten)]
        arguments: floor::Arguments,
    },
    /// A process of `throughput --nodes`
    #[command(name = node::COMMAND, hide = true)]
    Node {
        #[command(flatten)]
        on: On,
        #[command(flatten)]
        arguments: node::Arguments,
    },
}

/// What to measure on.
#[derive(Debug, clap::Args)]
struct On {
    /// The store
    #[arg(long, value_enum)]
    store: Kind,

    /// Where SQLite's files go, in a folder that is deleted at the end: choose the disk that you want to know about. Not
    /// /tmp where that is memory
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    dir: PathBuf,

    /// The server for MySQL's databases, each of which is dropped at the end: the user must be allowed to create them
    #[arg(long, value_name = "URL", env = mysql::URL, hide_env_values = true)]
    mysql_url: Option<String>,
}

impl On {
    fn backend(self) -> Backend {
        Backend::new(self.store, self.dir, self.mysql_url)
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jobcore-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    match command {
        Command::Throughput { on, arguments } => throughput::run(&on.backend(), &arguments).await,
        Command::Latency { on, arguments } => latency::run(&on.backend(), &arguments).await,
        Command::Lag { on, arguments } => lag::run(&on.backend(), &arguments).await,
        Command::Scale { on, arguments } => scale::run(&on.backend(), &arguments).await,
        Command::Idle { on, arguments } => idle::run(&on.backend(), &arguments).await,
        Command::Floor { on, arguments } => floor::run(&on.backend(), &arguments).await,
        Command::Node { on, arguments } => node::run(&on.backend(), &arguments).await,
    }
}
