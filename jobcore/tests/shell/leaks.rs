//! Nothing is left: no descriptor in the command, no process in the executor.

use std::time::Duration;

use futures_util::future::join_all;
use jobcore::clock::Clock;
use jobcore::shell::{ShellCommand, ShellEnd};

use crate::support::{Mark, PATIENCE, Place, is_helper, own_children};

/// Lists the descriptors of the shell itself.
const LIST: &str = "cd /proc/$$/fd && echo *";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_see_only_their_three_descriptors() {
    // What this test process got without close-on-exec from whoever started it isn't ours.
    let plain = std::process::Command::new("/bin/sh")
        .args(["-c", LIST])
        .output()
        .unwrap()
        .stdout;
    let plain = String::from_utf8(plain).unwrap();
    let places: Vec<Place> = (0..16).map(|_| Place::new()).collect();
    for _ in 0..5 {
        let command = ShellCommand::new(LIST);
        for report in join_all(places.iter().map(|place| place.run(&command))).await {
            assert_eq!(report.stdout.text, plain);
        }
    }
}

#[test]
#[ignore = "runs in a process of its own, which its namesake without `helper` starts"]
fn helper_runs_a_thousand_commands() {
    if !is_helper() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (place, clock) = (Place::new(), jobcore::clock::SystemClock::new());
        let command = ShellCommand::new("exit 5");
        assert_eq!(place.run(&command).await.end, ShellEnd::Exited(5));
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let (before, start) = (descriptors(), clock.now());
        for _ in 0..200 {
            assert_eq!(place.run(&command).await.end, ShellEnd::Exited(5));
        }
        let alone = clock.now().since(start);
        for _ in 0..100 {
            let runs = (0..8).map(|_| place.run_until(&command, Duration::from_secs(60)));
            assert!(
                join_all(runs)
                    .await
                    .iter()
                    .all(|report| report.end == ShellEnd::Exited(5))
            );
        }
        let together = clock.now().since(start) - alone;
        let dropped = ShellCommand::new("sleep 1000");
        for _ in 0..50 {
            assert!(
                tokio::time::timeout(Duration::from_millis(2), place.run(&dropped))
                    .await
                    .is_err()
            );
        }
        // What was dropped is tidied up in the background.
        let tidied = async {
            while !(own_children().is_empty() && place.directories().is_empty() && descriptors() == before) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let tidied = tokio::time::timeout(PATIENCE, tidied).await;
        assert!(
            tidied.is_ok(),
            "{:?} {:?} {}",
            own_children(),
            place.directories(),
            descriptors() - before
        );
        eprintln!(
            "one at a time {:?} a command; 8 at a time with a deadline {:?}",
            alone / 200,
            together / 800
        );
    });
}

#[tokio::test]
async fn a_thousand_commands_leave_nothing() {
    let mark = Mark::new();
    let status = mark
        .process("leaks::helper_runs_a_thousand_commands")
        .status()
        .unwrap();
    assert!(status.success());
    mark.wait_until_gone(&[]).await;
}
