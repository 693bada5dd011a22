//! Several processes over one SQLite file, under load, killed and frozen at random; then everything must be in order.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic like the tests")]

use std::path::Path;

use jobcore::clock::{Entropy, SystemEntropy};
use jobcore_tests::checker::{check, summary};
use jobcore_tests::run::Run;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_killed_and_frozen_lose_and_double_nothing() {
    let seed = number("JOBCORE_CRASH_SEED").unwrap_or_else(|| SystemEntropy.next_u64());
    let seconds = number("JOBCORE_CRASH_SECONDS").unwrap_or(40);
    let replay = format!(
        "JOBCORE_CRASH_SEED={seed} JOBCORE_CRASH_SECONDS={seconds} \
         cargo test -p jobcore-tests --test crash -- --nocapture"
    );
    println!("the same chances again (the timing is the machine's): {replay}");
    let folder = tempfile::tempdir().unwrap();
    let worker = Path::new(env!("CARGO_BIN_EXE_crash-worker"));
    let file = folder.path().join("jobs.db");
    let mut run = Run::begin(worker, file.to_str().unwrap(), folder.path(), seed)
        .await
        .unwrap();
    run.harm_workers(seconds).await.unwrap();
    let history = run.finish().await.unwrap();
    println!("{}", summary(&history));
    let violations = check(&history);
    if !violations.is_empty() {
        let kept = folder.keep();
        panic!("{violations:#?}\nthe store and the journal are in {kept:?}\n{replay}");
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    )
}
