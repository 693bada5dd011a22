//! The commands that a step starts: each leads a process group, so that it can be ended with all that it started.

use std::io::{self, BufRead as _, BufReader};
use std::ops::{Deref, DerefMut};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::step::Outcome;

/// The groups that run, of the whole program: a step that is late and Ctrl-C end them from other threads.
static GROUPS: Mutex<Groups> = Mutex::new(Groups {
    running: Vec::new(),
    closed: false,
});

struct Groups {
    running: Vec<Pid>,
    closed: bool,
}

fn groups() -> MutexGuard<'static, Groups> {
    // Every change is one assignment or push, so a panic elsewhere leaves it whole.
    GROUPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets commands start again after [`kill_all`].
pub(crate) fn open() {
    groups().closed = false;
}

/// Kills every group that runs, and lets nothing start until [`open`].
pub(crate) fn kill_all() {
    let mut groups = groups();
    groups.closed = true;
    for group in &groups.running {
        kill(*group);
    }
}

fn kill(group: Pid) {
    // The group may have ended already, which is what is wanted.
    let _ = killpg(group, Signal::SIGKILL);
}

/// A command that runs. Its group is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    group: Pid,
}

impl Process {
    /// Starts a command as the leader of its own process group.
    ///
    /// # Errors
    /// That of starting it, or that the step was ended.
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let mut groups = groups();
        if groups.closed {
            return Err(io::Error::other("the step was ended"));
        }
        let child = command.process_group(0).spawn()?;
        let group = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        groups.running.push(group);
        Ok(Self { child, group })
    }
}

impl Deref for Process {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.child
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        kill(self.group);
        // It was waited for already, or has just been killed.
        let _ = self.child.wait();
        groups().running.retain(|group| *group != self.group);
    }
}

/// Shows a command and runs it to its end.
///
/// # Errors
/// A sentence, if it didn't succeed.
pub(crate) fn run(command: &mut Command) -> Outcome {
    println!("$ {}", shown(command));
    end(Process::start(command), command)?;
    Ok(String::new())
}

/// Like [`run`]; answers with what it printed on standard output, which is shown as well.
pub(crate) fn output(command: &mut Command) -> Outcome {
    println!("$ {}", shown(command));
    let mut process = Process::start(command.stdout(Stdio::piped()));
    let mut printed = String::new();
    if let Some(stdout) = process.as_mut().ok().and_then(|process| process.stdout.take()) {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|error| format!("reading what {} printed: {error}", name(command)))?;
            println!("{line}");
            printed.push_str(&line);
            printed.push('\n');
        }
    }
    end(process, command)?;
    Ok(printed)
}

/// Waits for the end of what was started, and judges it.
fn end(process: io::Result<Process>, command: &Command) -> Result<(), String> {
    match process.and_then(|mut process| process.wait()) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{}` ended with {status}", name(command))),
        Err(error) => Err(format!("running `{}`: {error}", name(command))),
    }
}

/// The program, and what it was asked to do: the first of its arguments.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name();
    let words = program.into_iter().chain(command.get_args().next());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The command as one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = if program.ends_with("cargo") {
        Path::new("cargo")
    } else {
        program
    };
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    let variables = variables
        .map(|(name, value)| format!("{}={}", name.to_string_lossy(), quoted(&value.to_string_lossy())));
    let words = [program.as_os_str()].into_iter().chain(command.get_args());
    let words = words.map(|word| quoted(&word.to_string_lossy()));
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

/// As a shell would need it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let mut command = Command::new("/toolchain/bin/cargo");
        command
            .args(["test", "--test", "*"])
            .env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(
            shown(&command),
            "RUSTDOCFLAGS='-D warnings' cargo test --test '*'"
        );
        assert_eq!(name(&command), "cargo test");
    }

    #[test]
    fn what_a_shell_would_change_is_quoted() {
        assert_eq!(quoted("--from=2026"), "--from=2026");
        assert_eq!(quoted("30 2 * * *"), "'30 2 * * *'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
