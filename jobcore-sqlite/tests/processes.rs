//! Several processes on one file, and processes that are killed while they write.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "the helpers of tests may panic like the tests"
)]

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use jobcore::id::TaskId;
use jobcore::store::*;
use jobcore_sqlite::SqliteStore;
use support::{add, check_integrity, claim, finished, join, put_job, settle};

/// What a process of this test's own program is told to do.
const ROLE: &str = "JOBCORE_SQLITE_ROLE";
const FILE: &str = "JOBCORE_SQLITE_FILE";
const NAME: &str = "JOBCORE_SQLITE_NAME";

/// How many tasks each of several processes inserts.
const TASKS: usize = 60;

/// Starts this test program again, as a process with a role.
fn start(role: &str, file: &Path, name: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process_with_a_role", "--nocapture"])
        .env(ROLE, role)
        .env(FILE, file)
        .env(NAME, name)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Where a process with a role begins; without one it has nothing to do.
#[test]
fn process_with_a_role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let file = PathBuf::from(std::env::var(FILE).unwrap());
    let name = std::env::var(NAME).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(file).await.unwrap();
        match role.as_str() {
            "share" => share(&store, &name).await,
            "write until killed" => write_until_killed(&store, &name).await,
            other => panic!("no role {other}"),
        }
        store.close().await;
    });
}

/// Inserts tasks, and carries out whatever there is.
async fn share(store: &SqliteStore, name: &str) {
    let holder = join(store, name).await;
    for number in 0..TASKS {
        add(store, &format!("{name}-{number}")).await;
        if let Some(lease) = claim(store, &holder, 3).await {
            settle(store, &lease).await;
        }
    }
}

/// Inserts, claims and settles, and says what the store reported as done.
async fn write_until_killed(store: &SqliteStore, name: &str) {
    let holder = join(store, name).await;
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "\n{line}").and_then(|()| out.flush()).unwrap();
    };
    for number in 0.. {
        let task_id = format!("{name}-{number}");
        add(store, &task_id).await;
        say(format!("inserted {task_id}"));
        if number % 3 == 0
            && let Some(lease) = claim(store, &holder, 2).await
        {
            settle(store, &lease).await;
            for claimed in &lease.tasks {
                say(format!("settled {}", claimed.task.task_id));
            }
        }
    }
}

#[tokio::test]
async fn several_processes_share_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jobs.db");
    let store = SqliteStore::open(&file).await.unwrap();
    put_job(&store).await;
    let mut others: Vec<Child> = ["a", "b"]
        .iter()
        .map(|name| start("share", &file, name))
        .collect();
    share(&store, "own").await;
    for other in &mut others {
        assert!(other.wait().unwrap().success(), "a process failed");
    }
    let holder = join(&store, "last").await;
    while let Some(lease) = claim(&store, &holder, MAX_BATCH).await {
        settle(&store, &lease).await;
    }
    let finished = finished(&store).await;
    let distinct: BTreeSet<&TaskId> = finished.iter().collect();
    assert_eq!((finished.len(), distinct.len()), (3 * TASKS, 3 * TASKS));
    store.close().await;
    check_integrity(&file).await;
}

#[tokio::test]
async fn what_was_reported_survives_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jobs.db");
    let store = SqliteStore::open(&file).await.unwrap();
    put_job(&store).await;
    store.close().await;
    for life in 0..5 {
        let mut process = start("write until killed", &file, &format!("life{life}"));
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut said: Vec<String> = Vec::new();
        for line in lines {
            let line = line.unwrap();
            let done = line.starts_with("inserted ") || line.starts_with("settled ");
            said.extend(done.then_some(line));
            if said.len() == 40 + 7 * life {
                // SIGKILL; what it said before that is read to the end.
                process.kill().unwrap();
            }
        }
        assert!(!process.wait().unwrap().success(), "it was killed");
        check_integrity(&file).await;
        check_said(&file, &said).await;
    }
}

/// Everything that was said to be done is there.
async fn check_said(file: &Path, said: &[String]) {
    let store = SqliteStore::open(file).await.unwrap();
    for line in said {
        let (what, task_id) = line.split_once(' ').unwrap();
        let task = store
            .get_tasks(&[TaskId::new(task_id).unwrap()])
            .await
            .unwrap()
            .remove(0);
        let task = task.unwrap_or_else(|| panic!("{line}: it is lost"));
        assert!(
            what == "inserted" || task.state.is_final(),
            "{line}: it is {}",
            task.state
        );
    }
    store.close().await;
}
