//! Conformance: what a backend must do, as named cases that anybody can run against their own.
//!
//! A case is a claim, and its name says it: `a_stale_token_settles_nothing`. One table per suite holds all cases; the
//! tests that [`store_conformance!`](crate::store_conformance) makes, the list `store::CASES` and the runner
//! [`store::run_all`] come from it, so a case can't be in one and missing in another.
//!
//! ```no_run
//! // In tests/conformance.rs of a backend: one test for each case.
//! async fn fresh() -> jobcore_testkit::conformance::StoreUnderTest {
//!     // open an empty store of yours
//!     # unimplemented!()
//! }
//!
//! jobcore_testkit::store_conformance!(fresh());
//! ```

mod case;
pub mod coordinator;
pub mod executor;
mod fixture;
mod history_store;
mod job_store;
pub mod store;
mod table;
mod task_store;
pub mod transport;
mod under_test;

#[doc(hidden)]
pub use case::check;
pub use case::{Case, Failure, Report};
pub(crate) use fixture::pages;
pub use under_test::StoreUnderTest;
