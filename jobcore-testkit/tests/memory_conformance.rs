//! The in-memory store is the executable specification: it passes every case.

use std::sync::Arc;

use jobcore::memory::MemoryStore;
use jobcore_testkit::clock::ManualClock;
use jobcore_testkit::conformance::StoreUnderTest;

async fn fresh() -> StoreUnderTest {
    let clock = Arc::new(ManualClock::default());
    StoreUnderTest::new(Arc::new(MemoryStore::new(Arc::clone(&clock) as _))).with_clock(clock)
}

jobcore_testkit::store_conformance!(fresh());
