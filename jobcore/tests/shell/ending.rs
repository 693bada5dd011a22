//! How commands end, and that all of their group ends with them.

use std::time::Duration;

use jobcore::clock::Clock;
use jobcore::shell::{ShellCommand, ShellEnd, StopReason, run};
use jobcore::{ErrorKind, Timestamp};
use tokio::sync::watch;

use crate::support::{Mark, PATIENCE, Place};

/// A command whose processes bear a mark.
fn marked(command: &str, mark: &Mark) -> ShellCommand {
    let mut command = ShellCommand::new(command);
    command.options.env.insert("MARK".into(), mark.to_string());
    command.options.grace = PATIENCE;
    command
}

/// A shell and a child, both deaf to SIGTERM, that say when they are.
const DEAF: &str = "trap '' TERM; (sleep 1000 & echo begun; wait; sleep 1000) & wait; sleep 1000";

#[tokio::test]
async fn the_exit_code_is_reported() {
    let place = Place::new();
    for (command, end) in [
        ("exit 0", ShellEnd::Exited(0)),
        ("exit 7", ShellEnd::Exited(7)),
        ("/no/such/program", ShellEnd::Exited(127)),
        ("kill -USR1 $$", ShellEnd::Killed(10)),
        ("kill -KILL 0", ShellEnd::Killed(9)),
    ] {
        assert_eq!(place.run(&ShellCommand::new(command)).await.end, end, "{command}");
    }
}

#[tokio::test]
async fn the_watcher_is_deaf_to_signals_that_the_command_sends_to_its_group() {
    let place = Place::new();
    for signal in [
        "HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "PIPE", "TSTP",
    ] {
        let command = format!("trap '' {signal}; kill -{signal} 0; echo survived; exit 3");
        let report = place.run_until(&ShellCommand::new(command), PATIENCE).await;
        assert_eq!(
            (report.end, report.stdout.text.as_str()),
            (ShellEnd::Exited(3), "survived\n"),
            "{signal}"
        );
    }
}

#[tokio::test]
async fn what_is_left_behind_in_the_group_is_killed() {
    let (place, mark) = (Place::new(), Mark::new());
    let report = place
        .run(&marked("trap '' TERM; sleep 1000 & echo $!", &mark))
        .await;
    assert_eq!(report.end, ShellEnd::Exited(0));
    assert!(report.output_complete);
    mark.wait_until_gone(&[]).await;
}

#[tokio::test]
async fn cancelling_kills_a_deaf_command_with_its_children_after_the_grace() {
    let (place, mark) = (Place::new(), Mark::new());
    let mut command = marked(DEAF, &mark);
    command.options.grace = Duration::from_millis(300);
    let start = place.clock.now();
    let cancel = async {
        place.output.wait_for("begun").await;
        place.cancellation.cancel();
    };
    let (report, ()) = tokio::join!(place.run(&command), cancel);
    assert_eq!(report.end, ShellEnd::Stopped(StopReason::Cancelled));
    assert!(place.clock.now().since(start) >= command.options.grace);
    mark.wait_until_gone(&[]).await;
}

#[tokio::test]
async fn a_program_behind_the_shell_gets_the_grace_as_well() {
    let place = Place::new();
    // The outer shell dies of SIGTERM at once; the inner one tidies up for a while.
    let command =
        r#"sh -c 'trap "sleep 0.3; echo tidied; exit" TERM; echo begun; while :; do sleep 0.05; done'; true"#;
    let cancel = async {
        place.output.wait_for("begun").await;
        place.cancellation.cancel();
    };
    let command = ShellCommand::new(command);
    let (report, ()) = tokio::join!(place.run(&command), cancel);
    assert_eq!(report.end, ShellEnd::Stopped(StopReason::Cancelled));
    assert_eq!(report.stdout.text, "begun\ntidied\n");
}

#[tokio::test]
async fn a_stopped_process_is_ended_too() {
    let place = Place::new();
    let cancel = async {
        place.output.wait_for("begun").await;
        place.cancellation.cancel();
    };
    let command = ShellCommand::new("echo begun; kill -STOP $$");
    let (report, ()) = tokio::join!(place.run(&command), cancel);
    assert_eq!(report.end, ShellEnd::Stopped(StopReason::Cancelled));
}

#[tokio::test]
async fn the_deadline_ends_a_command() {
    let (place, mark) = (Place::new(), Mark::new());
    let report = place
        .run_until(
            &marked("sleep 1000 & sleep 1000", &mark),
            Duration::from_millis(200),
        )
        .await;
    assert_eq!(report.end, ShellEnd::Stopped(StopReason::TimedOut));
    mark.wait_until_gone(&[]).await;
}

#[tokio::test]
async fn nothing_is_started_when_it_is_too_late() {
    let place = Place::new();
    let command = ShellCommand::new("echo started");
    let report = place.run_until(&command, Duration::ZERO).await;
    assert_eq!(report.end, ShellEnd::Stopped(StopReason::TimedOut));
    place.cancellation.cancel();
    assert_eq!(
        place.run(&command).await.end,
        ShellEnd::Stopped(StopReason::Cancelled)
    );
    let (_lease, ended) = watch::channel(Timestamp::EPOCH);
    assert_eq!(
        place.run_leased(&command, ended).await.end,
        ShellEnd::Stopped(StopReason::LeaseLost)
    );
    assert_eq!(place.output.text(jobcore::attempt::LogStream::Stdout), "");
}

#[tokio::test]
async fn a_renewed_lease_lets_the_command_finish() {
    let place = Place::new();
    let term = Duration::from_secs(2);
    let (lease, holds) = watch::channel(place.clock.now() + term);
    let renew = async {
        for _ in 0..16 {
            tokio::time::sleep(term / 10).await;
            let _ = lease.send(place.clock.now() + term);
        }
        std::future::pending::<()>().await;
    };
    let command = ShellCommand::new("sleep 2.8; echo done");
    let report = tokio::select! {
        report = place.run_leased(&command, holds) => report,
        () = renew => unreachable!(),
    };
    assert_eq!(
        (report.end, report.stdout.text.as_str()),
        (ShellEnd::Exited(0), "done\n")
    );
}

#[tokio::test]
async fn a_deaf_command_is_dead_before_its_lease_ends() {
    let (place, mark) = (Place::new(), Mark::new());
    let end = place.clock.now() + Duration::from_secs(1);
    let (_lease, holds) = watch::channel(end);
    let report = place.run_leased(&marked(DEAF, &mark), holds).await;
    assert_eq!(report.end, ShellEnd::Stopped(StopReason::LeaseLost));
    mark.wait_until_gone(&[]).await;
}

#[tokio::test]
async fn a_dropped_run_kills_the_group_and_removes_the_directory() {
    let (place, mark) = (Place::new(), Mark::new());
    let command = marked(DEAF, &mark);
    tokio::select! {
        _ = place.run(&command) => unreachable!(),
        () = place.output.wait_for("begun") => {}
    }
    mark.wait_until_gone(&[]).await;
    let removed = async {
        while !place.directories().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, removed)
        .await
        .expect("the directory is removed");
}

#[tokio::test]
async fn a_command_that_kills_its_watcher_is_killed() {
    let (place, mark) = (Place::new(), Mark::new());
    // The watcher leads the group, whose number is the fifth field here.
    let command = "trap '' TERM; read -r _ _ _ _ group _ </proc/self/stat; kill -KILL $group; sleep 1000";
    assert_eq!(place.run(&marked(command, &mark)).await.end, ShellEnd::Killed(9));
    mark.wait_until_gone(&[]).await;
}

#[tokio::test]
async fn a_missing_directory_is_bad_input() {
    let place = Place::new();
    let mut command = ShellCommand::new("pwd");
    command.options.working_dir = Some("/no/such/directory".into());
    let error = run(place.request(&command)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(
        error
            .to_string()
            .contains("options.working_dir: `/no/such/directory`"),
        "{error}"
    );
}
