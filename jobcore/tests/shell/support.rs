//! What the tests share: a place to run commands, and a look at the system's processes.
#![expect(clippy::unwrap_used, reason = "all of this is tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use jobcore::Timestamp;
use jobcore::attempt::LogStream;
use jobcore::clock::{Clock, SystemClock};
use jobcore::shell::{OutputSink, ShellCommand, ShellReport, ShellRequest, WorkRoot, run};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long anything is waited for before a test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Remembers all output, and tells when there is more.
#[derive(Default)]
pub(crate) struct Memory {
    chunks: Mutex<Vec<(LogStream, String)>>,
    more: Notify,
}

#[async_trait::async_trait]
impl OutputSink for Memory {
    async fn write(&self, stream: LogStream, text: &str) {
        self.chunks.lock().unwrap().push((stream, text.to_owned()));
        self.more.notify_one();
    }
}

impl Memory {
    /// All of one stream so far.
    pub(crate) fn text(&self, stream: LogStream) -> String {
        self.chunks
            .lock()
            .unwrap()
            .iter()
            .filter(|chunk| chunk.0 == stream)
            .map(|chunk| &*chunk.1)
            .collect()
    }

    /// Returns once standard output contains `word`.
    pub(crate) async fn wait_for(&self, word: &str) {
        let contains = async {
            while !self.text(LogStream::Stdout).contains(word) {
                self.more.notified().await;
            }
        };
        tokio::time::timeout(PATIENCE, contains)
            .await
            .expect("the command says it in time");
    }
}

/// A place to run commands one after the other.
pub(crate) struct Place {
    pub(crate) base: tempfile::TempDir,
    pub(crate) work_root: WorkRoot,
    pub(crate) clock: SystemClock,
    pub(crate) cancellation: CancellationToken,
    pub(crate) output: Memory,
    pub(crate) task_env: BTreeMap<String, String>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        Self {
            work_root: WorkRoot::create_in(base.path()).unwrap(),
            base,
            clock: SystemClock::new(),
            cancellation: CancellationToken::new(),
            output: Memory::default(),
            task_env: BTreeMap::new(),
        }
    }

    pub(crate) fn request<'a>(&'a self, command: &'a ShellCommand) -> ShellRequest<'a> {
        command.validate().unwrap();
        ShellRequest {
            command,
            task_env: &self.task_env,
            work_root: &self.work_root,
            clock: &self.clock,
            deadline: None,
            lease: None,
            cancellation: &self.cancellation,
            sink: &self.output,
        }
    }

    pub(crate) async fn run(&self, command: &ShellCommand) -> ShellReport {
        tokio::time::timeout(PATIENCE, run(self.request(command)))
            .await
            .expect("it ends in time")
            .unwrap()
    }

    pub(crate) async fn run_until(&self, command: &ShellCommand, time: Duration) -> ShellReport {
        let request = ShellRequest {
            deadline: Some(self.clock.now() + time),
            ..self.request(command)
        };
        tokio::time::timeout(PATIENCE, run(request))
            .await
            .expect("it ends in time")
            .unwrap()
    }

    pub(crate) async fn run_leased(
        &self,
        command: &ShellCommand,
        lease: watch::Receiver<Timestamp>,
    ) -> ShellReport {
        let request = ShellRequest {
            lease: Some(lease),
            ..self.request(command)
        };
        tokio::time::timeout(PATIENCE, run(request))
            .await
            .expect("it ends in time")
            .unwrap()
    }

    /// The private directories that exist now.
    pub(crate) fn directories(&self) -> Vec<PathBuf> {
        let root = fs::read_dir(self.base.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect()
    }
}

/// A string in the environment of a process and of all that descend from it, watchers included.
pub(crate) struct Mark(String);

impl Mark {
    pub(crate) fn new() -> Self {
        Self(format!("/mark/{}", Uuid::new_v4()))
    }

    /// A command that runs the test `name`, one that is ignored otherwise, in another process that bears the mark.
    pub(crate) fn process(&self, name: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", name, "--ignored", "--nocapture", "--test-threads=1"])
            .env(
                "PATH",
                format!("{}:{}", std::env::var("PATH").unwrap_or_default(), self.0),
            )
            .env("JOBCORE_TEST_HELPER", &self.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit());
        command
    }

    /// The living processes that bear the mark. Dead ones that nobody has waited for yet don't count.
    pub(crate) fn bearers(&self) -> Vec<u32> {
        let bears = |path: &Path| {
            let environ = fs::read(path.join("environ")).unwrap_or_default();
            environ
                .windows(self.0.len())
                .any(|window| window == self.0.as_bytes())
        };
        processes()
            .filter(|path| bears(path))
            .filter_map(|path| pid(&path))
            .collect()
    }

    /// Returns once nobody but `except` bears the mark.
    pub(crate) async fn wait_until_gone(&self, except: &[u32]) {
        // Nothing tells when a process ends that isn't our child, so this looks again and again.
        let gone = async {
            while self.bearers().iter().any(|pid| !except.contains(pid)) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, gone).await.is_err() {
            let left = self.bearers().into_iter().map(describe).collect::<Vec<_>>();
            panic!("processes are left: {left:#?}");
        }
    }
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A running helper, which doesn't outlive its test.
pub(crate) struct Helper(pub(crate) Child);

impl Helper {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Does nothing to one that was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether this process was started by [`Mark::process`].
pub(crate) fn is_helper() -> bool {
    std::env::var_os("JOBCORE_TEST_HELPER").is_some()
}

/// The processes whose parent is this one, dead ones included.
pub(crate) fn own_children() -> Vec<String> {
    let own = format!("PPid:\t{}\n", std::process::id());
    let is_ours = |path: &Path| {
        fs::read_to_string(path.join("status"))
            .unwrap_or_default()
            .contains(&own)
    };
    processes()
        .filter(|path| is_ours(path))
        .filter_map(|path| pid(&path))
        .map(describe)
        .collect()
}

fn processes() -> impl Iterator<Item = PathBuf> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| pid(path).is_some())
}

fn pid(path: &Path) -> Option<u32> {
    path.file_name()?.to_str()?.parse().ok()
}

fn describe(pid: u32) -> String {
    let read = |name| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
    format!("{} {}", read("stat"), read("cmdline").replace('\0', " "))
}
