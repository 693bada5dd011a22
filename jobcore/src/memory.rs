//! In-memory backends: the executable specification of the traits, for tests and for what need not outlive its process.

mod coordinator;
mod transport;

pub use coordinator::{MemoryCoordinator, MemorySession};
pub use transport::{MemoryTransport, MemoryTransportConfig};
