//! Installs packages where there is apt.

use std::process::{Command, Stdio};

use nix::unistd::geteuid;

use crate::process;

/// Installs them, and nothing that they only recommend. Removes nothing that is there.
///
/// # Errors
/// What to do by hand.
pub(super) fn install(packages: &[&str]) -> Result<(), String> {
    // What counts is whether they can be installed: some other source of packages may be out of reach.
    let _ = process::run(&mut apt_get(&["update"]));
    let install = ["install", "--yes", "--no-install-recommends", "--no-remove"];
    // Another one may be at work.
    let patiently = ["-o", "DPkg::Lock::Timeout=120"];
    let installed = process::run(&mut apt_get(&[&install[..], &patiently, packages].concat()));
    installed.map(|_| ()).map_err(|reason| {
        let packages = packages.join(" ");
        format!("it isn't there, and {reason}; install it by hand (Debian's packages are {packages})")
    })
}

/// As root, without a question.
fn apt_get(arguments: &[&str]) -> Command {
    let mut command = if geteuid().is_root() {
        Command::new("apt-get")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "apt-get"]);
        sudo
    };
    command.args(arguments).stdin(Stdio::null());
    command
}
