//! Random operations can't tell the store from the in-memory one.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic like the tests")]

mod support;

use jobcore_testkit::compare;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_operations() {
    let Some(server) = support::server() else { return };
    let fresh = || support::fresh(server.clone(), |config| config);
    let compared = compare::run(0..10, 150, fresh).await;
    compared.unwrap_or_else(|difference| panic!("{difference}"));
}
