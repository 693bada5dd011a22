use jobcore::attempt::AttemptStatus;
use jobcore::lane::Capability;
use jobcore::task::TaskState;

use super::fixture::Fixture;

pub(super) async fn it_says_what_it_can_do(f: &Fixture) {
    let capabilities = f.executor().capabilities();
    assert_eq!(capabilities, f.executor().capabilities(), "always the same");
    for command in [&f.commands().succeeds, &f.commands().fails, &f.commands().endless] {
        assert_eq!(command.kind, f.tested.kind, "the commands are of its kind");
        let needed = Capability::needed_by(command).expect("a good command");
        assert!(
            capabilities.contains(&needed),
            "{needed} is missing from {capabilities:?}"
        );
    }
}

pub(super) async fn a_success_has_its_output(f: &Fixture) {
    let id = f.begin(&f.commands().succeeds).await;
    assert_eq!(f.end(&id).await.state, TaskState::Succeeded);
    let attempt = f.attempt(&id).await;
    assert_eq!(
        (attempt.status, attempt.error.as_str()),
        (AttemptStatus::Success, "")
    );
    assert!(!attempt.output.is_empty(), "it has an output");
}

pub(super) async fn a_failure_says_what_went_wrong(f: &Fixture) {
    let id = f.begin(&f.commands().fails).await;
    assert_eq!(f.end(&id).await.state, TaskState::Failed);
    let attempt = f.attempt(&id).await;
    assert_eq!(attempt.status, AttemptStatus::Failed);
    assert!(!attempt.error.is_empty(), "it has an error");
}

pub(super) async fn attempts_do_not_wait_for_each_other(f: &Fixture) {
    let endless = f.begin(&f.commands().endless).await;
    f.until_it_runs(&endless).await;
    let quick = f.begin(&f.commands().succeeds).await;
    assert_eq!(f.end(&quick).await.state, TaskState::Succeeded);
}

pub(super) async fn many_attempts_at_once_all_end(f: &Fixture) {
    let mut ids = Vec::new();
    for _ in 0..20 {
        ids.push(f.begin(&f.commands().succeeds).await);
    }
    for id in &ids {
        assert_eq!(f.end(id).await.state, TaskState::Succeeded);
    }
    f.nothing_is_left().await;
}
