//! The pure engine: what to fire, pass, settle, recover and repeat, as functions of values.
//!
//! Nothing here waits, reads a clock or does I/O: time and randomness are arguments. Stores and the runtime carry out
//! what these functions return.

pub mod attempt;
pub mod claim;
pub mod fire;
pub mod gate;
pub mod liveness;
pub mod part;
pub mod placement;
pub mod record;
pub mod recover;
pub mod remote;
pub mod settle;
pub mod task;
