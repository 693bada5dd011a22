//! The store keeps all promises of the traits, on a file and in memory.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic like the tests")]

use std::sync::Arc;

use jobcore_sqlite::SqliteConfig;
use jobcore_testkit::clock::ManualClock;
use jobcore_testkit::conformance::StoreUnderTest;

/// A store on a new file, with a clock that the case sets.
async fn on_a_file() -> StoreUnderTest {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    let config = SqliteConfig::file(directory.path().join("jobs.db"));
    let store = config.clock(Arc::clone(&clock) as _).open().await.unwrap();
    StoreUnderTest::new(Arc::new(store))
        .with_clock(clock)
        .keeping(directory)
}

async fn in_memory() -> StoreUnderTest {
    let clock = Arc::new(ManualClock::default());
    let store = SqliteConfig::in_memory()
        .clock(Arc::clone(&clock) as _)
        .open()
        .await
        .unwrap();
    StoreUnderTest::new(Arc::new(store)).with_clock(clock)
}

mod file {
    use super::*;
    jobcore_testkit::store_conformance!(on_a_file());
}

mod memory {
    use super::*;
    jobcore_testkit::store_conformance!(in_memory());
}
