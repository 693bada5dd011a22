//! The in-memory coordinator keeps what the trait promises.

use std::sync::Arc;

use jobcore::clock::SystemClock;
use jobcore::memory::MemoryCoordinator;
use jobcore_testkit::conformance::coordinator::MemoryPlace;

async fn fresh() -> MemoryPlace {
    MemoryPlace::new(MemoryCoordinator::new(Arc::new(SystemClock::new())))
}

jobcore_testkit::coordinator_conformance!(fresh());
