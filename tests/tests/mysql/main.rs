//! Several processes over one MySQL server: they are killed and frozen, it is killed, restarted and away; then everything
//! must be in order.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic like the tests")]

mod takeover;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jobcore::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use jobcore_services::mariadb::{MariaDb, Options};
use jobcore_tests::checker::{check, summary};
use jobcore_tests::history::History;
use jobcore_tests::run::Run;

/// How often the server is killed under load.
const KILLS: u32 = 20;

/// How long it is away once.
const OUTAGE: Duration = Duration::from_secs(30);

fn worker() -> PathBuf {
    env!("CARGO_BIN_EXE_crash-worker").into()
}

/// A server of the test's own, since it is harmed.
fn server() -> Option<MariaDb> {
    if !MariaDb::is_installed() {
        jobcore_services::skip("no MariaDB is installed; `cargo xtask services` installs one");
        return None;
    }
    Some(MariaDb::start(Options::new(env!("CARGO_TARGET_TMPDIR"))).unwrap())
}

async fn begin(server: &MariaDb, folder: &Path) -> Run {
    let seed = SystemEntropy.next_u64();
    Run::begin(&worker(), &server.url(), folder, seed).await.unwrap()
}

async fn sleep(time: Duration) {
    let clock = SystemClock::new();
    clock.sleep_until(clock.now() + time).await;
}

fn judge(history: &History) {
    println!("{}", summary(history));
    assert!(!history.finished.is_empty(), "nothing was carried out");
    let violations = check(history);
    assert!(violations.is_empty(), "{violations:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_killed_and_frozen_lose_and_double_nothing() {
    let Some(server) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut run = begin(&server, folder.path()).await;
    run.harm_workers(30).await.unwrap();
    judge(&run.finish().await.unwrap());
}

/// No worker may end, since none is restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_again_and_again_loses_and_doubles_nothing() {
    let Some(mut server) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut run = begin(&server, folder.path()).await;
    for _ in 0..KILLS {
        let pause = run.chance(Duration::from_millis(200), Duration::from_secs(3));
        let kill = async {
            sleep(pause).await;
            tokio::task::block_in_place(|| {
                server.kill().unwrap();
                server.restart().unwrap();
            });
        };
        run.during(kill).await.unwrap();
    }
    judge(&run.finish().await.unwrap());
}

/// Attempts that run meanwhile go on, and nobody else begins them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_neither_ends_nor_doubles_what_runs() {
    let Some(mut server) = server() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut run = begin(&server, folder.path()).await;
    let long = run
        .trigger_long(3, OUTAGE + Duration::from_secs(10))
        .await
        .unwrap();
    let away = async {
        server.kill().unwrap();
        sleep(OUTAGE).await;
        tokio::task::block_in_place(|| server.restart()).unwrap();
    };
    run.during(away).await.unwrap();
    let history = run.finish().await.unwrap();
    judge(&history);
    for task_id in long {
        let begun = history.journal.iter().filter(|began| began.task_id == task_id);
        assert_eq!(begun.count(), 1, "{task_id} was begun by somebody else, too");
    }
}
