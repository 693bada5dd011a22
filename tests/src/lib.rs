//! Crash tests: real processes over one SQLite file, killed and frozen at random, and a checker over what they left.
//!
//! - [`jobs`] are what is run: every kind of promise that a crash could break.
//! - [`journal`] is what the handlers themselves write down, outside the store.
//! - [`fleet`] starts, kills and freezes the processes (`crash-worker`).
//! - [`history`] reads what the store recorded.
//! - [`checker`] proves from journal and history that nothing was lost, doubled or changed afterwards.

pub mod checker;
pub mod fleet;
pub mod history;
pub mod jobs;
pub mod journal;

/// The README's code, which the documentation tests compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
