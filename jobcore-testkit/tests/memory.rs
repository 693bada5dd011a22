//! The in-memory store keeps every promise of the store's traits.

use std::sync::Arc;

use jobcore::memory::MemoryStore;
use jobcore_testkit::clock::ManualClock;
use jobcore_testkit::conformance::StoreUnderTest;

async fn fresh() -> StoreUnderTest {
    let clock = Arc::new(ManualClock::default());
    StoreUnderTest::new(Arc::new(MemoryStore::new(clock.clone()))).with_clock(clock)
}

jobcore_testkit::store_conformance!(fresh());
