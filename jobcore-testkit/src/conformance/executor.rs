//! What an [`Executor`] promises, seen through an engine that runs it.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use jobcore::executor::Executor;
use jobcore::job::{Command, JobKind};

use super::case::{Case, Report};

mod fixture;

use fixture::Fixture;

/// An executor, and commands with which it shows what it can do.
pub struct ExecutorUnderTest {
    pub(crate) kind: JobKind,
    pub(crate) executor: Arc<dyn Executor>,
    pub(crate) commands: ExecutorCommands,
    pub(crate) alive: Option<Arc<dyn Fn() -> usize + Send + Sync>>,
    _keep: Vec<Box<dyn Any + Send + Sync>>,
}

/// Commands for the executor's kind of job.
#[derive(Clone, Debug)]
pub struct ExecutorCommands {
    /// Succeeds quickly, with an output.
    pub succeeds: Command,
    /// Fails quickly, with an error.
    pub fails: Command,
    /// Goes on for longer than any case, until it is told to end.
    pub endless: Command,
}

impl ExecutorUnderTest {
    /// Tests `executor` as what carries out jobs of `kind`.
    pub fn new(kind: JobKind, executor: Arc<dyn Executor>, commands: ExecutorCommands) -> Self {
        Self {
            kind,
            executor,
            commands,
            alive: None,
            _keep: Vec::new(),
        }
    }

    /// Says how to count what attempts left running, so that the cases can look for leaks.
    #[must_use]
    pub fn counting(mut self, alive: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        self.alive = Some(Arc::new(alive));
        self
    }

    /// Keeps `thing` until the case is over, such as a temporary directory.
    #[must_use]
    pub fn keeping(mut self, thing: impl Any + Send + Sync) -> Self {
        self._keep.push(Box::new(thing));
        self
    }
}

impl fmt::Debug for ExecutorUnderTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutorUnderTest")
            .field("kind", &self.kind)
            .field("commands", &self.commands)
            .finish_non_exhaustive()
    }
}

/// What [`Executor`] promises.
pub const EXECUTOR: &[Case<ExecutorUnderTest>] = CASES;

/// Runs every case on an executor of its own, made by `factory`, one after the other.
pub async fn run_all<F, S>(factory: impl Fn() -> F) -> Report
where
    F: Future<Output = S>,
    S: Into<ExecutorUnderTest>,
{
    super::case::run_all(EXECUTOR.iter(), factory).await
}

/// Makes one test for each case.
///
/// Takes an expression that gives a future of an [`ExecutorUnderTest`]; it is evaluated once for each test.
#[macro_export]
macro_rules! executor_conformance {
    ($factory:expr) => {
        $crate::__executor_cases! { [$crate::__case_tests] [executor::EXECUTOR $factory] }
    };
}

mod attempts;
mod ending;

crate::__executor_cases! { [super::table::suite] [ExecutorUnderTest; Fixture] }

/// The table of the suite.
#[doc(hidden)]
#[macro_export]
macro_rules! __executor_cases {
    ([$($callback:tt)*] [$($argument:tt)*]) => { $($callback)* ! { [$($argument)*]
        attempts {
            it_says_what_it_can_do [capabilities]
                "It has at least one capability, always the same, and those that the commands need.";
            a_success_has_its_output [execute]
                "What works is recorded as a success, with an output and without an error.";
            a_failure_says_what_went_wrong [execute]
                "What fails is recorded as a failure, with an error for people.";
            attempts_do_not_wait_for_each_other [execute]
                "A quick attempt ends while an endless one runs.";
            many_attempts_at_once_all_end [execute]
                "Twenty attempts at once are carried out, and leave nothing.";
        }
        ending {
            a_cancelled_attempt_ends_soon [execute]
                "An attempt that is told to end does so well within the grace, and leaves nothing.";
            an_attempt_whose_time_is_up_ends [execute, end_grace]
                "An attempt that takes longer than its timeout is recorded as timed out, and leaves nothing.";
            a_dropped_attempt_leaves_nothing [execute]
                "When the node dies in the middle of an attempt, nothing of it runs on.";
        }
    } };
}
