//! A server's process: ready when it says so, and gone with the process that started it, however that ends.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;
use std::{fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a server may take to start or to stop: many times what it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Dropped after the server was killed, so that it kills what the server left.
    _guard: Guard,
    /// A message when it is ready; closed when nobody has its output open any more, which is when it has ended.
    news: Receiver<()>,
}

impl Server {
    /// Starts it, and waits until it prints a line that contains `ready`. What it prints is appended to the file `log`.
    ///
    /// # Errors
    /// The operating system's; with the end of its log, that it ended or wasn't ready in time.
    pub(crate) fn start(command: Command, log: &Path, ready: &'static str) -> io::Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let server = Self::spawn(command, log, ready)
            .map_err(|error| io::Error::new(error.kind(), format!("starting {name}: {error}")))?;
        let what = match server.news.recv_timeout(PATIENCE) {
            Ok(()) => return Ok(server),
            Err(RecvTimeoutError::Disconnected) => "ended before it was ready".to_owned(),
            Err(RecvTimeoutError::Timeout) => format!("wasn't ready in {PATIENCE:?}"),
        };
        let end = end_of(log).unwrap_or_else(|error| error.to_string());
        Err(io::Error::other(format!(
            "{name} {what}; the end of its log:\n{end}"
        )))
    }

    fn spawn(mut command: Command, log: &Path, ready: &'static str) -> io::Result<Self> {
        let log = fs::File::options().create(true).append(true).open(log)?;
        let (output, input) = io::pipe()?;
        let guard = Guard::start()?;
        command
            .stdin(Stdio::null())
            .stdout(input.try_clone()?)
            .stderr(input)
            .process_group(guard.group()?);
        let child = command.spawn()?;
        // It has the pipe open as well, which then wouldn't end with the server.
        drop(command);
        let (sender, news) = channel();
        thread::spawn(move || copy(output, log, ready, sender));
        Ok(Self {
            child,
            _guard: guard,
            news,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As `kill -9` does.
    ///
    /// # Errors
    /// The operating system's.
    pub(crate) fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Lets it end in order.
    ///
    /// # Errors
    /// The operating system's; `TimedOut` if it didn't in a minute, and was killed.
    pub(crate) fn stop(mut self) -> io::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).map_err(io::Error::other)?);
        kill(pid, Signal::SIGTERM)?;
        match self.news.recv_timeout(PATIENCE) {
            Err(RecvTimeoutError::Timeout) => {
                let message = format!("process {pid} didn't end in {PATIENCE:?} and was killed");
                Err(io::Error::new(io::ErrorKind::TimedOut, message))
            }
            _ => self.child.wait().map(|_| ()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Copies what is printed until its end, and tells the first time that a line says `ready`.
fn copy(output: impl Read, mut log: fs::File, ready: &str, news: Sender<()>) {
    let mut told = false;
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        // A disk that is full must not end the reading: the server would wait for it.
        let _ = log.write_all(&line).and_then(|()| log.write_all(b"\n"));
        if !told && String::from_utf8_lossy(&line).contains(ready) {
            told = true;
            // Nobody listens any more if it came too late.
            let _ = news.send(());
        }
    }
}

/// The last lines of a log, for people.
fn end_of(log: &Path) -> io::Result<String> {
    let all = fs::read(log)?;
    let all = String::from_utf8_lossy(&all);
    let lines: Vec<&str> = all.lines().collect();
    Ok(lines[lines.len().saturating_sub(20)..].join("\n"))
}

/// Kills the server, and whatever it started, when this process ends, also by `kill -9`.
///
/// A shell that leads the process group in which the server is. It reads from a pipe that closes with this process, and
/// then kills its own group. Groups of their own also keep the terminal's Ctrl-C away.
#[derive(Debug)]
struct Guard(Child);

impl Guard {
    fn start() -> io::Result<Self> {
        let script = r#"read -r _; kill -s KILL -- "-$$""#;
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]).stdin(Stdio::piped());
        // Else who reads the output of this process to its end would wait for the shell as well.
        shell.stdout(Stdio::null()).stderr(Stdio::null());
        shell.process_group(0).spawn().map(Self)
    }

    fn group(&self) -> io::Result<i32> {
        i32::try_from(self.0.id()).map_err(io::Error::other)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It has killed itself as the last of its group.
        let _ = self.0.wait();
    }
}
