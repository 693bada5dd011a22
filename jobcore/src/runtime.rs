//! The async shell: loops that carry out what the pure engine decides.
//!
//! ```text
//!             fire ──▶ tasks ──▶ promote ──▶ claim ──▶ crew (attempts) ──▶ settle
//!                                   ▲                        │                │
//!                                   └── retries, gates ◀─────┴────────────────┘
//!   heartbeat keeps the leases; recover takes orphans back; journal writes logs and progress; retention cleans up
//! ```
//!
//! No loop ends on an error: it is retried with growing, jittered pauses, counted, and shown in the status.

mod attempt;
mod choice;
mod claim;
mod crew;
mod drain;
mod engine;
mod enqueue;
mod fire;
mod health;
mod heartbeat;
mod journal;
mod leases;
mod looks;
mod node;
mod promote;
mod recover;
mod remote;
mod retention;
mod scheduler;
mod settle;
mod start;
mod wake;

pub use engine::{Engine, EngineBuilder};
pub use enqueue::{JobPlan, TriggerPlan, WakeUp, Written};
pub use remote::{ExecutorNode, ExecutorNodeBuilder, NodeState};
