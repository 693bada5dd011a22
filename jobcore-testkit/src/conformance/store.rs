//! The suites of the three parts of a [`Store`](jobcore::store::Store), and ways to run them.

use std::future::Future;

use super::case::{Case, Report};
use super::under_test::StoreUnderTest;

/// What [`JobStore`](jobcore::store::JobStore) promises.
pub const JOB_STORE: &[Case] = super::job_store::CASES;

/// What [`TaskStore`](jobcore::store::TaskStore) promises.
pub const TASK_STORE: &[Case] = super::task_store::CASES;

/// What [`HistoryStore`](jobcore::store::HistoryStore) promises.
pub const HISTORY_STORE: &[Case] = super::history_store::CASES;

/// All cases of the three suites.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    JOB_STORE.iter().chain(TASK_STORE).chain(HISTORY_STORE)
}

/// Runs every case on a store of its own, made by `factory`, one after the other.
///
/// Needs a tokio runtime with more than one thread, since some cases race many tasks against each other.
pub async fn run_all<F, S>(factory: impl Fn() -> F) -> Report
where
    F: Future<Output = S>,
    S: Into<StoreUnderTest>,
{
    super::case::run_all(cases(), factory).await
}

/// Makes one test for each case of the three suites.
///
/// Takes an expression that gives a future of something that can be turned into a
/// [`StoreUnderTest`](crate::conformance::StoreUnderTest): a store will do. It is evaluated once for each test.
///
/// ```no_run
/// # use jobcore_testkit::conformance::StoreUnderTest;
/// async fn fresh() -> StoreUnderTest {
///     // open an empty store
///     # unimplemented!()
/// }
///
/// jobcore_testkit::store_conformance!(fresh());
/// ```
#[macro_export]
macro_rules! store_conformance {
    ($factory:expr) => {
        mod job_store {
            #[allow(unused_imports)]
            use super::*;
            $crate::__job_store_cases! { [$crate::__case_tests] [store::JOB_STORE $factory] }
        }
        mod task_store {
            #[allow(unused_imports)]
            use super::*;
            $crate::__task_store_cases! { [$crate::__case_tests] [store::TASK_STORE $factory] }
        }
        mod history_store {
            #[allow(unused_imports)]
            use super::*;
            $crate::__history_store_cases! { [$crate::__case_tests] [store::HISTORY_STORE $factory] }
        }
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn names_of_cases_are_unique_and_claims_are_sentences() {
        let mut names = BTreeSet::new();
        for case in super::cases() {
            assert!(names.insert(case.name), "{} is there twice", case.name);
            assert!(case.claim.ends_with('.'), "{}: {}", case.name, case.claim);
        }
    }
}
