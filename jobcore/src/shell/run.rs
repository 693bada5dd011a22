//! One command from its start to the end of the last process of its group.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use parking_lot::Mutex;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::bounds::{Bounds, StopReason};
use super::capture::{Capture, Captured};
use super::command::ShellCommand;
use super::directory::WorkRoot;
use super::environment::environment;
use super::output::{OutputSink, pump};
use super::watcher::{Group, Pulse, Watcher};
use crate::attempt::LogStream;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::time::Timestamp;

/// How long output is still read once the group has been killed. All that its members wrote is in the pipes by then;
/// only a process that has left the group can hold a pipe open for longer, and a sink that doesn't take it.
pub(super) const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// A command to run, and all that bounds it.
pub struct ShellRequest<'a> {
    /// What to run. It should have been [validated](ShellCommand::validate).
    pub command: &'a ShellCommand,
    /// What the command is told in its environment, such as `JOBCORE_TASK_ID`. Wins over the job's own variables.
    pub task_env: &'a BTreeMap<String, String>,
    /// Where its private directory is made, if it doesn't name a directory.
    pub work_root: &'a WorkRoot,
    /// Tells the time for `deadline` and `lease`.
    pub clock: &'a dyn Clock,
    /// When the command is stopped for taking too long.
    pub deadline: Option<Timestamp>,
    /// Until when the lease holds, renewed from time to time; the command is dead when it ends. `None`: the command
    /// may go on without a lease.
    pub lease: Option<watch::Receiver<Timestamp>>,
    /// Stops the command.
    pub cancellation: &'a CancellationToken,
    /// Gets the output as it comes.
    pub sink: &'a dyn OutputSink,
}

impl std::fmt::Debug for ShellRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShellRequest")
            .field("command", self.command)
            .finish_non_exhaustive()
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShellEnd {
    /// It ended by itself with this exit code. 126 and 127 come from the shell: not executable, not found.
    Exited(i32),
    /// It was killed by this signal, which wasn't ours: its own doing, a resource limit, or the kernel short of memory.
    Killed(i32),
    /// It was stopped for this reason, whatever its exit status was.
    Stopped(StopReason),
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShellReport {
    /// How it ended.
    pub end: ShellEnd,
    /// Its standard output, capped.
    pub stdout: Captured,
    /// Its standard error, capped.
    pub stderr: Captured,
    /// Whether both streams were read to their end. They aren't when a process that left the group holds on to them,
    /// or when the sink blocks for longer than 5 s after the end of the command.
    pub output_complete: bool,
}

impl ShellReport {
    fn not_started(reason: StopReason) -> Self {
        let nothing = Captured::default();
        Self {
            end: ShellEnd::Stopped(reason),
            stdout: nothing.clone(),
            stderr: nothing,
            output_complete: true,
        }
    }
}

/// Runs a command and returns when it and its process group have ended.
///
/// **Contract**: the command runs in a process group of its own, with `/dev/null` as its input. It ends when its
/// `/bin/sh` ends; what it has left behind in its group is then killed at once. To stop it, the group gets SIGTERM,
/// and SIGKILL as soon as the shell and all who hold its output have ended, or else after
/// [`grace`](super::ShellOptions::grace). However this process ends, the group is killed; see
/// [the module](super) for what can't be caught. **Cancellation**: dropping the future kills the group at once.
///
/// # Errors
/// `InvalidInput` if the working directory isn't there or the command is too long for the system, `Unavailable` if
/// the system lacks processes, memory or files. After the command has started there are none.
pub async fn run(request: ShellRequest<'_>) -> Result<ShellReport> {
    let options = &request.command.options;
    let bounds = Bounds {
        clock: request.clock,
        deadline: request.deadline,
        lease: request.lease.clone(),
        grace: options.grace,
        cancellation: request.cancellation,
        order: Mutex::default(),
    };
    if let Some(reason) = bounds.passed() {
        return Ok(ShellReport::not_started(reason));
    }
    let directory = request.work_root.directory(options.working_dir.as_deref())?;
    let mut watcher = Watcher::start().await?;
    // Before the command starts: from here on it can't outlive its lease, however frozen we are.
    bounds.give(&mut watcher.orders).await;
    let leader = spawn(&request, directory.path(), &watcher)?;
    let report = attend(&request, &bounds, watcher, leader).await;
    directory.remove().await;
    Ok(report)
}

/// Starts the command as a member of the watcher's group.
fn spawn(request: &ShellRequest<'_>, directory: &Path, watcher: &Watcher) -> Result<Child> {
    let group = watcher.group.id().expect("invariant: the watcher is reaped last");
    let options = &request.command.options;
    let mut command = Command::new("/bin/sh");
    let script = options.limits.script();
    if options.limits.nice == 0 {
        // On the same line, so that messages of the shell name the right one.
        command.args(["-c", &format!("{script} {}", request.command.command)]);
    } else {
        let script = format!(r#"{script} exec nice -n {} /bin/sh -c "$1""#, options.limits.nice);
        command.args(["-c", &script, "sh", &request.command.command]);
    }
    command
        .env_clear()
        .envs(environment(options.inherit_env, &options.env, request.task_env))
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(group)
        .spawn()
        .map_err(|error| not_started(error, directory))
}

fn not_started(error: std::io::Error, directory: &Path) -> Error {
    let error_kind = error.kind();
    let failed = if !directory.is_dir() {
        Error::invalid(
            "options.working_dir",
            format_args!("`{}` is no directory here", directory.display()),
        )
    } else if error_kind == std::io::ErrorKind::ArgumentListTooLong {
        Error::invalid(
            "command",
            "together with its environment it is too long for this system",
        )
    } else {
        Error::new(ErrorKind::Unavailable, "the command can't be started")
    };
    failed.backend("shell").source(error)
}

/// Sees a started command through to its end.
async fn attend(
    request: &ShellRequest<'_>,
    bounds: &Bounds<'_>,
    watcher: Watcher,
    mut leader: Child,
) -> ShellReport {
    let Watcher {
        group,
        mut orders,
        mut pulse,
    } = watcher;
    let cap = request.command.options.output_cap_bytes;
    let (mut stdout, mut stderr) = (Capture::new(cap), Capture::new(cap));
    let output_end = CancellationToken::new();
    let out = leader.stdout.take().expect("invariant: stdout is a pipe");
    let err = leader.stderr.take().expect("invariant: stderr is a pipe");
    let background = async {
        tokio::join!(
            pump(out, LogStream::Stdout, request.sink, &mut stdout),
            pump(err, LogStream::Stderr, request.sink, &mut stderr),
        );
        output_end.cancel();
    };
    let (end, output_complete) = tokio::select! {
        ended = see_through(bounds, &group, &mut pulse, &mut leader, &output_end) => ended,
        ((), never) = async { tokio::join!(background, bounds.keep_giving(&mut orders)) } => match never {},
    };
    group.end().await;
    ShellReport {
        end,
        stdout: stdout.finish(),
        stderr: stderr.finish(),
        output_complete,
    }
}

/// Waits for the end of the command or stops it, kills what is left, and lets the output come to its end.
async fn see_through(
    bounds: &Bounds<'_>,
    group: &Group,
    pulse: &mut Pulse,
    leader: &mut Child,
    output_end: &CancellationToken,
) -> (ShellEnd, bool) {
    let stopped = tokio::select! {
        // An end that came first counts, also when we were frozen meanwhile.
        biased;
        _ = leader.wait() => None,
        // Without its watcher the command would be free to outlive us.
        () = pulse.end() => None,
        reason = bounds.over() => Some(reason),
    };
    if stopped.is_some() {
        group.signal(Signal::SIGTERM);
        // A stopped process would get the other signal only when it is continued.
        group.signal(Signal::SIGCONT);
        tokio::select! {
            () = async { _ = leader.wait().await; output_end.cancelled().await } => {}
            () = pulse.end() => {}
            () = bounds.grace_over() => {}
        }
    }
    group.signal(Signal::SIGKILL);
    let status = leader.wait().await;
    let output_complete = timeout(DRAIN_PATIENCE, output_end.cancelled()).await.is_ok();
    (how_it_ended(stopped, status, bounds), output_complete)
}

fn how_it_ended(
    stopped: Option<StopReason>,
    status: std::io::Result<ExitStatus>,
    bounds: &Bounds<'_>,
) -> ShellEnd {
    if let Some(reason) = stopped {
        return ShellEnd::Stopped(reason);
    }
    // Waiting for one's own child fails only if someone else in this process reaps it; then the status is lost.
    let signal = status
        .as_ref()
        .map_or(Some(Signal::SIGKILL as i32), ExitStatusExt::signal);
    match (signal, bounds.passed()) {
        // The watcher did it while we were frozen.
        (Some(signal), Some(reason)) if signal == Signal::SIGKILL as i32 => ShellEnd::Stopped(reason),
        (Some(signal), _) => ShellEnd::Killed(signal),
        (None, _) => ShellEnd::Exited(status.ok().and_then(|status| status.code()).unwrap_or_default()),
    }
}
