//! The executors of the library keep what the trait promises.

#![expect(clippy::unwrap_used, reason = "a failure should end the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jobcore::handler::Handlers;
use jobcore::job::{Command, JobKind};
use jobcore::shell::ShellExecutor;
use jobcore::{HandlerError, TaskContext};
use jobcore_testkit::conformance::executor::{ExecutorCommands, ExecutorUnderTest};

/// Counts attempts that weren't dropped.
struct Alive(Arc<AtomicUsize>);

impl Alive {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn handlers() -> ExecutorUnderTest {
    let count = Arc::new(AtomicUsize::new(0));
    let mut handlers = Handlers::new();
    let succeeds = |(): (), _: TaskContext| async { Ok::<_, HandlerError>(42) };
    handlers.register("succeeds", succeeds).unwrap();
    let fails = |(): (), _: TaskContext| async { Err::<(), _>(HandlerError::new("no")) };
    handlers.register("fails", fails).unwrap();
    let counted = count.clone();
    let endless = move |(): (), cx: TaskContext| {
        let alive = Alive::new(&counted);
        async move {
            cx.cancelled().await;
            drop(alive);
            Err::<(), _>(HandlerError::cancelled("told to"))
        }
    };
    handlers.register("endless", endless).unwrap();
    let commands = ExecutorCommands {
        succeeds: Command::handler("succeeds"),
        fails: Command::handler("fails"),
        endless: Command::handler("endless"),
    };
    ExecutorUnderTest::new(JobKind::Handler, Arc::new(handlers), commands)
        .counting(move || count.load(Ordering::Relaxed))
}

async fn shell() -> ExecutorUnderTest {
    let directory = tempfile::tempdir().unwrap();
    let executor = ShellExecutor::in_directory(directory.path()).unwrap();
    let commands = ExecutorCommands {
        succeeds: Command::shell("echo done"),
        fails: Command::shell("echo oh >&2; exit 3"),
        endless: Command::shell("sleep 1000 & wait"),
    };
    ExecutorUnderTest::new(JobKind::Shell, Arc::new(executor), commands).keeping(directory)
}

mod handler_executor {
    use super::handlers;
    jobcore_testkit::executor_conformance!(handlers());
}

mod shell_executor {
    use super::shell;
    jobcore_testkit::executor_conformance!(shell());
}
