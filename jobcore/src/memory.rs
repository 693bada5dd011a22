//! In-memory backends: the executable specification of the traits, for tests and for what need not outlive its process.

mod coordinator;
mod store;
mod transport;

pub use coordinator::{MemoryCoordinator, MemorySession};
pub use store::MemoryStore;
pub use transport::{MemoryTransport, MemoryTransportConfig};
