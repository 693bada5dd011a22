//! A case, and how it is run.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::under_test::StoreUnderTest;

/// How long a case may take before it counts as failed: a store that hangs must not hang the suite.
const CASE_TIMEOUT: Duration = Duration::from_secs(120);

/// A case's body.
pub(crate) type Body<T> = fn(T) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// One thing that a backend promises; `T` is what its suite gets to test.
pub struct Case<T = StoreUnderTest> {
    /// Its name: what it claims, in words.
    pub name: &'static str,
    /// The trait methods whose contract it checks.
    pub methods: &'static [&'static str],
    /// What it claims, in a sentence.
    pub claim: &'static str,
    pub(crate) body: Body<T>,
}

impl<T: 'static> Case<T> {
    /// Runs it on a backend made for it.
    ///
    /// # Errors
    /// What was wrong, if the backend doesn't keep the promise.
    pub async fn run(&self, backend: impl Into<T>) -> Result<(), Failure> {
        let mut task = tokio::spawn((self.body)(backend.into()));
        let message = match tokio::time::timeout(CASE_TIMEOUT, &mut task).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => panic_message(error),
            Err(_) => {
                task.abort();
                format!("gave no answer within {CASE_TIMEOUT:?}")
            }
        };
        Err(Failure {
            name: self.name,
            claim: self.claim,
            message,
        })
    }

    /// Runs it in a runtime of its own, and panics if it fails: the body of a test.
    ///
    /// # Panics
    /// If the backend doesn't keep the promise.
    pub fn check<S: Into<T>>(&self, factory: impl Future<Output = S>) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .expect("a runtime can be built");
        if let Err(failure) = runtime.block_on(async { self.run(factory.await).await }) {
            panic!("{failure}");
        }
    }
}

impl<T> Clone for Case<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Case<T> {}

impl<T> fmt::Debug for Case<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.methods.join(", "))
    }
}

fn panic_message(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else {
        return "was aborted".to_owned();
    };
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("panicked without a message")
        .to_owned()
}

/// A promise that wasn't kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The case.
    pub name: &'static str,
    /// What it claims.
    pub claim: &'static str,
    /// What was wrong.
    pub message: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}\n{}", self.name, self.claim, self.message)
    }
}

/// What came of running a whole suite.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Report {
    /// The cases that passed.
    pub passed: Vec<&'static str>,
    /// The cases that failed.
    pub failed: Vec<Failure>,
}

impl Report {
    /// Whether every case passed.
    pub fn is_success(&self) -> bool {
        self.failed.is_empty()
    }
}

/// Runs every case of a suite on a backend of its own, made by `factory`, one after the other.
pub(crate) async fn run_all<T: 'static, F, S>(
    cases: impl Iterator<Item = &'static Case<T>>,
    factory: impl Fn() -> F,
) -> Report
where
    F: Future<Output = S>,
    S: Into<T>,
{
    let mut report = Report::default();
    for case in cases {
        match case.run(factory().await).await {
            Ok(()) => report.passed.push(case.name),
            Err(failure) => report.failed.push(failure),
        }
    }
    report
}

/// Checks the case `name` of `suite` in a runtime of its own: the body of a test.
///
/// # Panics
/// If the backend doesn't keep the promise.
#[doc(hidden)]
pub fn check<T: 'static, S: Into<T>>(suite: &[Case<T>], name: &str, factory: impl Future<Output = S>) {
    let case = suite.iter().find(|case| case.name == name);
    case.expect("invariant: tests and lists come from one table")
        .check(factory);
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failed {
            writeln!(f, "FAILED {failure}\n")?;
        }
        write!(f, "{} passed, {} failed", self.passed.len(), self.failed.len())
    }
}
