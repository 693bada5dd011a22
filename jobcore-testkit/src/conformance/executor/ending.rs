use std::time::Duration;

use jobcore::Scheduler;
use jobcore::attempt::AttemptStatus;
use jobcore::scheduler::Cancel;
use jobcore::task::TaskState;

use super::fixture::Fixture;

pub(super) async fn a_cancelled_attempt_ends_soon(f: &Fixture) {
    let grace = Duration::from_secs(60);
    let id = f
        .begin_with(&f.commands().endless, |job| job.cancel_grace(grace))
        .await;
    f.until_it_runs(&id).await;
    f.engine
        .cancel(Cancel::task(id.clone(), "enough"))
        .await
        .expect("cancel");
    // Far less than the grace: else the engine would have ended it.
    assert_eq!(f.end(&id).await.state, TaskState::Cancelled);
    assert_eq!(f.attempt(&id).await.status, AttemptStatus::Cancelled);
    f.nothing_is_left().await;
}

pub(super) async fn an_attempt_whose_time_is_up_ends(f: &Fixture) {
    let timeout = Duration::from_millis(100);
    let id = f
        .begin_with(&f.commands().endless, |job| job.timeout(timeout))
        .await;
    assert_eq!(f.end(&id).await.state, TaskState::TimedOut);
    assert_eq!(f.attempt(&id).await.status, AttemptStatus::TimedOut);
    f.nothing_is_left().await;
}

pub(super) async fn a_dropped_attempt_leaves_nothing(f: &Fixture) {
    let id = f.begin(&f.commands().endless).await;
    f.until_it_runs(&id).await;
    f.engine.abort();
    f.engine.stopped().await;
    f.nothing_is_left().await;
}
