//! Installs the parts of the toolchain that a check needs.

use std::process::{Command, Stdio};

use crate::{cargo, process};

/// Makes sure that `cargo SUBCOMMAND` works, by adding rustup's `component` if it doesn't.
///
/// # Errors
/// What to do by hand.
pub(crate) fn ensure(component: &str, subcommand: &str) -> Result<(), String> {
    if works(subcommand) {
        return Ok(());
    }
    let added = process::run(Command::new("rustup").args(["component", "add", component])).is_ok();
    if added && works(subcommand) {
        Ok(())
    } else {
        Err(format!(
            "{component} is missing, and rustup can't add it: install it by hand"
        ))
    }
}

fn works(subcommand: &str) -> bool {
    cargo::command(&[subcommand, "--version"], &[])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
