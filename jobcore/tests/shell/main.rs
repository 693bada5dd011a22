//! The shell runner with real processes.

mod crash;
mod ending;
mod leaks;
mod limits;
mod output;
mod support;
