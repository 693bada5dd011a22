//! Crash tests: real processes over one store, killed and frozen at random, its server too, and a checker over what they
//! left.
//!
//! - [`jobs`] are what is run: every kind of promise that a crash could break.
//! - [`journal`] is what the handlers themselves write down, outside the store.
//! - [`fleet`] starts, kills and freezes the processes (`crash-worker`).
//! - [`load`] submits work, [`run`] puts all of it together, [`store`] opens SQLite or MySQL by its address.
//! - [`history`] reads what the store recorded.
//! - [`checker`] proves from journal and history that nothing was lost, doubled or changed afterwards.

pub mod checker;
pub mod fleet;
pub mod history;
pub mod jobs;
pub mod journal;
pub mod load;
pub mod run;
pub mod store;

/// The README's code, which the documentation tests compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    #[test]
    fn the_readme_greets_in_fifteen_lines() {
        let readme = include_str!("../../README.md");
        let code = readme
            .split_once("```rust,no_run\n")
            .and_then(|(_, rest)| rest.split_once("```"));
        let lines = code.unwrap().0.lines().count();
        assert!(lines <= 15, "{lines} lines");
    }
}
