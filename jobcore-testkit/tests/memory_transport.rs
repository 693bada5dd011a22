//! The in-memory transport keeps what the traits promise.

use std::sync::Arc;

use jobcore::clock::SystemClock;
use jobcore::memory::MemoryTransport;

async fn fresh() -> MemoryTransport {
    MemoryTransport::new(Arc::new(SystemClock::new()))
}

jobcore_testkit::transport_conformance!(fresh());
