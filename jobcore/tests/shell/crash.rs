//! No command outlives its executor: killed at any moment, or frozen beyond its lease.
#![expect(clippy::unwrap_used, reason = "all of this is tests")]

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use futures_util::future::join_all;
use jobcore::clock::Clock;
use jobcore::shell::ShellCommand;
use nix::sys::signal::Signal;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::sync::watch;
use uuid::Uuid;

use crate::support::{Helper, Mark, PATIENCE, Place, is_helper};

/// The lease of the frozen helper.
const TERM: Duration = Duration::from_secs(2);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
#[ignore = "runs in a process of its own that is killed"]
fn helper_runs_commands_until_it_is_killed() {
    if !is_helper() {
        return;
    }
    // Short ones, so that there is always one about to start or end, and deaf ones with children.
    let commands = [
        "exit 0",
        "sleep 0.02",
        "trap '' TERM HUP; sleep 1000 & (trap '' INT; sleep 1000) & sleep 0.03; exit 1",
        "trap '' TERM HUP; sh -c 'sleep 1000; true' & while :; do sleep 0.01; done",
    ];
    runtime().block_on(join_all(commands.into_iter().cycle().take(8).map(async |line| {
        let place = Place::new();
        let command = ShellCommand::new(line);
        loop {
            place.run_until(&command, PATIENCE).await;
        }
    })));
}

#[tokio::test]
async fn nothing_survives_an_executor_that_is_killed_at_any_moment() {
    let seed = Uuid::new_v4().as_u64_pair().0;
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut alive_at_the_end = 0;
    for _ in 0..60 {
        let mark = Mark::new();
        let mut helper = Helper::start(&mut mark.process("crash::helper_runs_commands_until_it_is_killed"));
        tokio::time::sleep(Duration::from_micros(random.random_range(0..120_000))).await;
        helper.signal(Signal::SIGKILL);
        alive_at_the_end += mark.bearers().len();
        helper.0.wait().unwrap();
        mark.wait_until_gone(&[]).await;
    }
    assert!(
        alive_at_the_end > 60,
        "hardly anything was running when the helpers were killed"
    );
}

#[test]
#[ignore = "runs in a process of its own that is frozen"]
fn helper_renews_a_lease_until_it_is_frozen() {
    if !is_helper() {
        return;
    }
    runtime().block_on(async {
        let place = Place::new();
        let (lease, holds) = watch::channel(place.clock.now() + TERM);
        let renew = async {
            loop {
                tokio::time::sleep(TERM / 8).await;
                lease.send_replace(place.clock.now() + TERM);
            }
        };
        let command = ShellCommand::new("trap '' TERM; (sleep 1000 & wait) & while :; do sleep 0.1; done");
        tokio::select! {
            report = place.run_leased(&command, holds) => println!("end {:?}", report.end),
            () = renew => {}
            () = async {
                tokio::time::sleep(2 * TERM).await;
                println!("renewed");
                std::future::pending().await
            } => {}
        }
    });
}

#[test]
#[ignore = "runs in a process of its own that is frozen"]
fn helper_has_a_deadline_when_it_is_frozen() {
    if !is_helper() {
        return;
    }
    runtime().block_on(async {
        let place = Place::new();
        let mut command = ShellCommand::new("trap '' TERM; (sleep 1000 & wait) & echo begun; sleep 1000");
        command.options.grace = Duration::ZERO;
        let (report, ()) = tokio::join!(place.run_until(&command, TERM), async {
            place.output.wait_for("begun").await;
            println!("begun");
        });
        println!("end {:?}", report.end);
    });
}

/// Freezes a helper after its line `ready`, and sees its command die.
async fn freeze(name: &str, ready: &str, end: &str) {
    let mark = Mark::new();
    let mut helper = Helper::start(mark.process(name).stdout(Stdio::piped()));
    let mut lines = BufReader::new(helper.0.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    assert!(
        lines.any(|line| line.ends_with(ready)),
        "the command lives as long as it may"
    );
    helper.signal(Signal::SIGSTOP);
    assert!(
        mark.bearers().len() > 3,
        "watcher, command and children are alive"
    );
    tokio::time::timeout(2 * TERM, mark.wait_until_gone(&[helper.0.id()]))
        .await
        .expect("dead in time");
    helper.signal(Signal::SIGCONT);
    assert!(lines.any(|line| line.ends_with(end)), "the executor knows why");
    assert!(helper.0.wait().unwrap().success());
}

#[tokio::test]
async fn the_command_of_a_frozen_executor_dies_with_its_lease() {
    freeze(
        "crash::helper_renews_a_lease_until_it_is_frozen",
        "renewed",
        "end Stopped(LeaseLost)",
    )
    .await;
}

#[tokio::test]
async fn the_command_of_a_frozen_executor_dies_at_its_deadline() {
    freeze(
        "crash::helper_has_a_deadline_when_it_is_frozen",
        "begun",
        "end Stopped(TimedOut)",
    )
    .await;
}
