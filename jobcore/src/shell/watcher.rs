//! The process that sees to it that no command outlives its executor.
//!
//! A watcher is a `/bin/sh` with a fixed script, started before the command. It leads a process group, and the command
//! is started as a further member of it. Its standard input is a pipe whose only writing end is here.
//!
//! - When the pipe closes, because this process ended in whatever way, the watcher kills the group, itself included.
//! - Each line on the pipe is a number of seconds after which the group is killed; the newest line counts. So the
//!   command of a frozen executor ends with its lease.
//!
//! Why no step can leave a command behind:
//!
//! - The command is started only when the watcher has said that it ignores every signal that can be ignored. Between
//!   fork and exec the command's process still holds a copy of the writing end, and it joins the group before the
//!   exec closes that copy. So whenever the pipe closes, all that was started is in the group.
//! - The group's id can't come to mean another group: it is the watcher's process id, which stays taken while the
//!   watcher or any member lives, and which is kept from being used again by reaping the watcher last.
//! - The watcher kills the group that has its own process id. Were it not the leader, there would be no such group.
//! - Killing a group is atomic with regard to fork: a member's child is either killed too, or never made.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::environment::DEFAULT_PATH;
use crate::error::{Error, ErrorKind, Result};

/// The script. The timer is a subshell that is replaced, new before old, by each order; whatever ends its `sleep`,
/// it kills. The `sleep` of a replaced timer lives on until its time is over, and does nothing then.
const SCRIPT: &str = r#"
trap '' HUP INT QUIT TERM USR1 USR2 PIPE ALRM VTALRM XCPU XFSZ ABRT TRAP SYS URG TSTP TTIN TTOU
echo ready
timer=
while read -r seconds
do
  (trap 'kill -s KILL -- "-$$"' EXIT; sleep "$seconds"; exit) </dev/null >/dev/null &
  previous=$timer timer=$!
  [ -z "$previous" ] || kill -s KILL "$previous"
done
kill -s KILL -- "-$$"
"#;

/// The longest order; more than three years.
const LONGEST: Duration = Duration::from_secs(100_000_000);

/// A running watcher and the group that it leads.
#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) group: Group,
    pub(super) orders: Orders,
    pub(super) pulse: Pulse,
}

impl Watcher {
    /// Starts a watcher and waits until it is ready.
    ///
    /// **Cancellation**: a dropped future leaves no process behind.
    pub(super) async fn start() -> Result<Self> {
        // Where `sleep` is: the places of every Unix first, the executor's own for systems that have it elsewhere.
        let mut path = std::ffi::OsString::from(DEFAULT_PATH);
        if let Some(own) = std::env::var_os("PATH") {
            path.push(":");
            path.push(own);
        }
        let mut child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "jobcore-watcher"])
            .env_clear()
            .env("PATH", path)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(|error| unavailable("the watcher of a command can't be started").source(error))?;
        let (orders, pulse) = (child.stdin.take(), child.stdout.take());
        let mut watcher = Self {
            group: Group::led_by(child),
            orders: Orders(orders.expect("invariant: stdin is a pipe")),
            pulse: Pulse(pulse.expect("invariant: stdout is a pipe")),
        };
        watcher.pulse.ready().await?;
        Ok(watcher)
    }
}

fn unavailable(message: &str) -> Error {
    Error::new(ErrorKind::Unavailable, message).backend("shell")
}

/// The pipe to the watcher. Its closing is the order to kill.
#[derive(Debug)]
pub(super) struct Orders(ChildStdin);

impl Orders {
    /// Has the group killed in `time` from now, in place of what was ordered before.
    ///
    /// An error means that the watcher is gone, which its [`Pulse`] tells as well.
    pub(super) async fn kill_in(&mut self, time: Duration) -> std::io::Result<()> {
        let line = format!("{:.3}\n", time.min(LONGEST).as_secs_f64());
        self.0.write_all(line.as_bytes()).await
    }
}

/// The watcher's standard output, which is open as long as the watcher lives.
#[derive(Debug)]
pub(super) struct Pulse(ChildStdout);

impl Pulse {
    async fn ready(&mut self) -> Result<()> {
        let mut word = [0; 6];
        match self.0.read_exact(&mut word).await {
            Ok(_) if word == *b"ready\n" => Ok(()),
            Ok(_) => Err(unavailable(
                "the watcher of a command said something else than `ready`",
            )),
            Err(error) => {
                Err(unavailable("the watcher of a command ended before it was ready").source(error))
            }
        }
    }

    /// Returns when the watcher has ended.
    pub(super) async fn end(&mut self) {
        let mut rest = [0; 64];
        while matches!(self.0.read(&mut rest).await, Ok(length) if length > 0) {}
    }
}

/// The process group, which its watcher leads. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Group {
    watcher: Child,
}

impl Group {
    fn led_by(watcher: Child) -> Self {
        Self { watcher }
    }

    /// The group's id for those who join it; `None` after [`end`](Self::end).
    pub(super) fn id(&self) -> Option<i32> {
        // Also `None` as soon as the watcher is reaped, from when on the number may belong to someone else.
        self.watcher.id().and_then(|id| i32::try_from(id).ok())
    }

    /// Sends `signal` to every member.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(id) = self.id() {
            // An error would say that no member is left.
            let _ = killpg(Pid::from_raw(id), signal);
        }
    }

    /// Kills what is left of the group and reaps the watcher.
    pub(super) async fn end(mut self) {
        self.signal(Signal::SIGKILL);
        if let Err(error) = self.watcher.wait().await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the watcher of a command can't be reaped"
            );
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The watcher is reaped by the runtime after this, when its number no longer matters.
        self.signal(Signal::SIGKILL);
    }
}
