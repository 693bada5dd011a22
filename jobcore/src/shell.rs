//! Shell commands that never outlive their executor, even if that is killed with SIGKILL.
//!
//! [`ShellExecutor`] carries out jobs of kind `shell` by [`run`], which an application may use by itself too: it takes
//! a [`ShellCommand`], runs it in a process group of its own, with limits, a private working directory and a clean
//! environment, streams its output, and stops it when it is cancelled, its deadline comes or its lease runs out.
//!
//! ```text
//!  this process ── orders: a pipe, closed by our end ──▶ watcher (/bin/sh, leads the group) ── kills the group
//!        │                                                        │ same process group
//!        └──── starts, reads its output, waits ─────▶ /bin/sh -c "ulimit …; COMMAND" ──▶ its children
//! ```
//!
//! # What is promised
//!
//! - When the command ends, what it left behind in its group is killed. A command that starts a daemon and exits
//!   doesn't leave a daemon.
//! - When this process ends in any way, the group is killed within milliseconds; when it is frozen, the group is
//!   killed as the lease ends, or the deadline is over by more than the grace.
//! - Memory is bounded: output that the log doesn't take stays in the pipe and stops the command.
//! - The command inherits no descriptor of ours but 0, 1 and 2. (It does inherit what the application opened without
//!   close-on-exec.)
//!
//! # What isn't
//!
//! - A process that leaves its group (`setsid`, job control as in `bash -i` or `set -m`, a daemon that detaches) is
//!   no longer caught; only a cgroup around the executor catches that. Likewise a command that kills or stops its own
//!   watcher on purpose: the executor notices a killed watcher at once and kills the group, but not when it is killed
//!   in the same moment.
//! - An application that forks without exec keeps copies of the pipes' ends, and so delays the watcher until that
//!   copy ends too.
//! - The timer of the watcher doesn't count the time for which the machine is suspended; the executor's clock does.
//! - Private directories of a killed executor stay until the next one starts on the same machine ([`WorkRoot`]).
//!
//! # What a command should know
//!
//! Its group isn't named after its own process id: `kill 0` reaches the group, `kill -- -$$` doesn't. Signals to the
//! group don't reach the watcher, except SIGKILL, which ends all of it. Linux is what this is made and tested for; it
//! needs `/bin/sh`, a `sleep` that takes fractions of a second, and `nice` on the command's `PATH` if it is used.

mod bounds;
mod capture;
mod command;
mod directory;
mod environment;
mod executor;
mod limits;
mod output;
mod run;
mod watcher;

pub use bounds::StopReason;
pub use capture::Captured;
pub use command::{
    MAX_COMMAND_BYTES, MAX_ENVIRONMENT_BYTES, MAX_GRACE, MAX_OUTPUT_CAP_BYTES, MAX_VALUE_BYTES, ShellCommand,
    ShellOptions,
};
pub use directory::WorkRoot;
pub use environment::InheritEnv;
pub use executor::ShellExecutor;
pub use limits::ShellLimits;
pub use output::{MAX_CHUNK_BYTES, OutputSink};
pub use run::{ShellEnd, ShellReport, ShellRequest, run};
