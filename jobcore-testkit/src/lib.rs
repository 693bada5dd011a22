//! Proof for jobcore and for what others build on it: conformance suites, faults on purpose, and comparison.
//!
//! - [`conformance`] says, case by case, what a backend must do, and runs the cases against any backend.
//! - [`compare`] makes random calls on a store and on the in-memory one, and finds where they differ.
//! - [`faulty`] makes a backend fail in every way in which a real one can.
//! - [`harness`] carries out an application's own jobs in its tests, on a clock that the test moves.
//! - [`clock`] has a clock that a test sets.
//! - [`simulation`] runs a whole cluster in a world that a seed decides, and checks its invariants at every step.

pub mod clock;
pub mod compare;
pub mod conformance;
pub mod faulty;
pub mod harness;
pub mod simulation;
