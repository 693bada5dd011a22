//! Random operations can't tell the store from the in-memory one.

use std::sync::Arc;

use jobcore_sqlite::SqliteConfig;
use jobcore_testkit::clock::ManualClock;
use jobcore_testkit::compare;
use jobcore_testkit::conformance::StoreUnderTest;

async fn fresh() -> StoreUnderTest {
    let clock = Arc::new(ManualClock::default());
    let config = SqliteConfig::in_memory().clock(Arc::clone(&clock) as _);
    let store = config.open().await.expect("an empty store");
    StoreUnderTest::new(Arc::new(store)).with_clock(clock)
}

#[tokio::test]
async fn random_operations() {
    let compared = compare::run(0..10, 150, fresh).await;
    compared.unwrap_or_else(|difference| panic!("{difference}"));
}
