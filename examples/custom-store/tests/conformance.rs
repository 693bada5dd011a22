//! All that a third-party store needs for its proof.

use std::sync::Arc;

use custom_store::FileStore;
use jobcore_testkit::clock::ManualClock;
use jobcore_testkit::compare;
use jobcore_testkit::conformance::StoreUnderTest;

async fn fresh() -> StoreUnderTest {
    let clock = Arc::new(ManualClock::default());
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = FileStore::open(directory.path().join("jobs.json"), Arc::clone(&clock) as _);
    StoreUnderTest::new(Arc::new(store.expect("an empty store")))
        .with_clock(clock)
        .keeping(directory)
}

// One test for each case.
jobcore_testkit::store_conformance!(fresh());

// Random calls, which must not tell it from the in-memory store.
#[tokio::test]
async fn random_operations() {
    let compared = compare::run(0..4, 250, fresh).await;
    compared.unwrap_or_else(|difference| panic!("{difference}"));
}
