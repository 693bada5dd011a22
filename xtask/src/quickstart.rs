//! The quickstart, as a newcomer would try it: started, killed in the middle of a command, started again, stopped.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::cargo;
use crate::clock::Stopwatch;
use crate::process::Process;

/// How long a line may take to come: the rarest job runs every 20 seconds, and a lease lasts 4.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs it twice on a fresh file.
pub(crate) fn run() -> Result<(), String> {
    cargo::run(
        &["build", "--locked", "--release", "--package", "quickstart"],
        &[],
    )?;
    let folder = fresh_folder()?;
    let mut first = Quickstart::start(&folder)?;
    first.until_all(&[
        "tick",
        "failed: the network is down",
        "succeeded \"the network is back\"",
        "says hello",
    ])?;
    // In the middle of a command, so that there is something to recover.
    first.until_all(&["log: copying part 1"])?;
    println!("$ kill -9 {}", first.child.id());
    drop(first);
    let mut second = Quickstart::start(&folder)?;
    second.until_all(&["recovery: taken back from", "succeeded"])?;
    second.interrupt()
}

fn fresh_folder() -> Result<PathBuf, String> {
    let folder = cargo::programs()?.join("quickstart-check");
    // What an earlier run left would be recovered; that there was none isn't worth a word.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).map_err(|error| format!("making {}: {error}", folder.display()))?;
    Ok(folder)
}

/// A process that runs, and the lines that it prints. Killed when dropped.
struct Quickstart {
    child: Process,
    lines: Receiver<String>,
}

impl Quickstart {
    fn start(folder: &Path) -> Result<Self, String> {
        // What was built, not `cargo run`: a build that begins again in silence would count as the quickstart's.
        let program = cargo::programs()?.with_file_name("release").join("quickstart");
        println!("$ {}", program.display());
        let mut command = Command::new(program);
        let mut child = Process::start(command.current_dir(folder).stdout(Stdio::piped()))
            .map_err(|error| format!("quickstart didn't start: {error}"))?;
        let stdout = child.stdout.take().ok_or("quickstart has no output")?;
        let (sender, lines) = channel();
        // Ends with the process, or when nobody listens any more.
        std::thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.into_iter().try_for_each(|line| sender.send(line))
        });
        Ok(Self { child, lines })
    }

    /// Waits until it has printed, from now on, a line with each of these texts, in any order.
    fn until_all(&mut self, texts: &[&str]) -> Result<(), String> {
        let watch = Stopwatch::start();
        let mut missing = texts.to_vec();
        while let Some(text) = missing.first() {
            match self.lines.recv_timeout(PATIENCE.saturating_sub(watch.elapsed())) {
                Ok(line) => {
                    println!("{line}");
                    missing.retain(|text| !line.contains(text));
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("quickstart didn't print {text:?} in {PATIENCE:?}"));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("quickstart ended before it printed {text:?}"));
                }
            }
        }
        Ok(())
    }

    /// Ctrl-C: it drains and ends by itself.
    fn interrupt(mut self) -> Result<(), String> {
        let pid = i32::try_from(self.child.id()).map_err(|_| "the process number is no number")?;
        println!("$ kill -INT {pid}");
        kill(Pid::from_raw(pid), Signal::SIGINT)
            .map_err(|error| format!("interrupting quickstart: {error}"))?;
        self.until_all(&["Draining"])?;
        let watch = Stopwatch::start();
        loop {
            match self.lines.recv_timeout(PATIENCE.saturating_sub(watch.elapsed())) {
                Ok(line) => println!("{line}"),
                // Its output ends when it does.
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    return Err(format!("quickstart didn't end within {PATIENCE:?} of Ctrl-C"));
                }
            }
        }
        match self.child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("quickstart ended with {status} on Ctrl-C")),
            Err(error) => Err(format!("waiting for quickstart: {error}")),
        }
    }
}
