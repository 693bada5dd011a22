//! Jobs: creating, changing, pausing, deleting, reading.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jobcore::gate::{KeyLimit, Rate};
use jobcore::job::{Command, Delivery, Job, JobDefinition, JobKind, OnLeaseLost};
use jobcore::json::Json;
use jobcore::misfire::{MisfireAction, MisfirePolicy};
use jobcore::overlap::OverlapPolicy;
use jobcore::placement::{Placement, Spread, Strategy};
use jobcore::retry::{ClassPolicy, RetryPolicy};
use jobcore::store::{
    DeleteJob, DeleteJobOutcome, DueJobs, Expected, PauseJob, PauseState, PutJob, PutJobOutcome,
};
use jobcore::task::TaskState;

use super::fires::fire_of;
use crate::conformance::fixture::{Fixture, definition, job_id, one, scheduled};

async fn put(f: &Fixture, put: PutJob) -> PutJobOutcome {
    one(f.store.put_jobs(vec![put]).await.expect("put_jobs"))
}

async fn get(f: &Fixture, id: &str) -> Option<Arc<Job>> {
    one(f.store.get_jobs(&[job_id(id)]).await.expect("get_jobs"))
}

pub(super) async fn pause(f: &Fixture, id: &str, expected: Expected, to: PauseState) -> PutJobOutcome {
    one(f
        .store
        .pause_jobs(vec![pausing(f, id, expected, to)])
        .await
        .expect("pause_jobs"))
}

fn pausing(f: &Fixture, id: &str, expected: Expected, to: PauseState) -> PauseJob {
    PauseJob {
        job_id: job_id(id),
        expected,
        to,
        next_fire_time: (to == PauseState::Active).then(|| f.at(120)),
        now: f.at(5),
    }
}

async fn delete(f: &Fixture, id: &str, expected: Expected) -> DeleteJobOutcome {
    let request = DeleteJob {
        job_id: job_id(id),
        expected,
    };
    one(f.store.delete_jobs(vec![request]).await.expect("delete_jobs"))
}

/// A put of another definition, at another time, with another next fire time.
fn change(f: &Fixture, id: &str, expected: Expected) -> PutJob {
    PutJob {
        expected,
        next_fire_time: Some(f.at(90)),
        zone_version: "2026b".into(),
        now: f.at(5),
        ..f.new_job(id, scheduled("changed"))
    }
}

#[track_caller]
fn updated(outcome: PutJobOutcome) -> Arc<Job> {
    match outcome {
        PutJobOutcome::Updated(job) => job,
        other => panic!("the change should count: {other:?}"),
    }
}

pub(super) async fn a_new_job_begins_at_version_one(f: &Fixture) {
    let PutJobOutcome::Created(job) = put(f, f.new_job("a", scheduled("a"))).await else {
        panic!("the job should be new");
    };
    let expected = Job {
        job_id: job_id("a"),
        definition: scheduled("a"),
        paused: false,
        version: 1,
        next_fire_time: Some(f.at(60)),
        last_fire_time: None,
        zone_version: "2026a".into(),
        error: None,
        create_time: f.start,
        update_time: f.start,
    };
    assert_eq!(*job, expected);
    assert_eq!(get(f, "a").await.as_deref(), Some(&expected));
}

pub(super) async fn an_equal_definition_changes_nothing(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    let again = PutJob {
        definition: scheduled("a"),
        ..change(f, "a", Expected::Any)
    };
    assert_eq!(put(f, again).await, PutJobOutcome::Unchanged(Arc::clone(&job)));
    assert_eq!(get(f, "a").await, Some(job));
}

pub(super) async fn a_change_raises_the_version(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    let changed = updated(put(f, change(f, "a", Expected::Any)).await);
    let expected = Job {
        definition: scheduled("changed"),
        version: 2,
        next_fire_time: Some(f.at(90)),
        zone_version: "2026b".into(),
        update_time: f.at(5),
        ..(*job).clone()
    };
    assert_eq!(*changed, expected);
    assert_eq!(get(f, "a").await.as_deref(), Some(&expected));
}

pub(super) async fn a_change_under_the_right_version_counts(f: &Fixture) {
    f.put("a", scheduled("a")).await;
    let changed = updated(put(f, change(f, "a", Expected::Version(1))).await);
    assert_eq!((changed.version, &*changed.definition.name), (2, "changed"));
}

pub(super) async fn a_change_under_a_stale_version_is_refused(f: &Fixture) {
    f.put("a", scheduled("a")).await;
    let job = updated(put(f, change(f, "a", Expected::Any)).await);
    for stale in [0, 1, 3] {
        let outcome = put(f, f.new_job("a", definition("other"))).await;
        assert_eq!(outcome, PutJobOutcome::VersionConflict { current: 2 });
        let outcome = put(
            f,
            PutJob {
                definition: definition("other"),
                ..change(f, "a", Expected::Version(stale))
            },
        );
        assert_eq!(outcome.await, PutJobOutcome::VersionConflict { current: 2 });
    }
    assert_eq!(get(f, "a").await, Some(job));
}

pub(super) async fn a_change_of_a_missing_job_finds_nothing(f: &Fixture) {
    assert_eq!(
        put(f, change(f, "a", Expected::Version(1))).await,
        PutJobOutcome::NotFound
    );
    assert_eq!(get(f, "a").await, None);
}

pub(super) async fn creating_what_exists_is_refused(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    let outcome = put(f, change(f, "a", Expected::Absent)).await;
    assert_eq!(outcome, PutJobOutcome::VersionConflict { current: 1 });
    assert_eq!(get(f, "a").await, Some(job));
}

pub(super) async fn a_change_keeps_a_job_paused(f: &Fixture) {
    f.put("a", scheduled("a")).await;
    updated(pause(f, "a", Expected::Any, PauseState::Paused).await);
    let job = updated(put(f, change(f, "a", Expected::Any)).await);
    assert!(job.paused);
    assert_eq!((job.version, job.next_fire_time), (3, None));
    assert_eq!(get(f, "a").await, Some(job));
}

/// A job whose plan failed.
async fn put_failed(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    let mut fire = fire_of(f, &job, Vec::new());
    fire.error = Some("can't be read".into());
    let _ = f.store.fire(vec![fire]).await.expect("fire");
    assert!(get(f, "a").await.expect("it exists").error.is_some());
}

pub(super) async fn an_equal_definition_repairs_a_job(f: &Fixture) {
    put_failed(f).await;
    let equal = PutJob {
        definition: scheduled("a"),
        ..change(f, "a", Expected::Any)
    };
    let job = updated(put(f, equal).await);
    assert_eq!(
        (job.version, job.next_fire_time, job.error.as_ref()),
        (2, Some(f.at(90)), None)
    );
    assert_eq!(get(f, "a").await, Some(job));
}

pub(super) async fn a_change_clears_the_error(f: &Fixture) {
    put_failed(f).await;
    assert_eq!(updated(put(f, change(f, "a", Expected::Any)).await).error, None);
    assert_eq!(get(f, "a").await.expect("it exists").error, None);
}

pub(super) async fn puts_are_answered_in_order_and_independently(f: &Fixture) {
    f.put("a", scheduled("a")).await;
    let batch = vec![
        change(f, "b", Expected::Version(7)),
        change(f, "a", Expected::Version(9)),
        f.new_job("c", definition("c")),
        f.new_job("c", definition("twice")),
        change(f, "a", Expected::Version(1)),
    ];
    let outcomes = f.store.put_jobs(batch).await.expect("put_jobs");
    assert_eq!(outcomes.len(), 5);
    assert_eq!(outcomes[0], PutJobOutcome::NotFound);
    assert_eq!(outcomes[1], PutJobOutcome::VersionConflict { current: 1 });
    assert!(matches!(&outcomes[2], PutJobOutcome::Created(job) if job.job_id == job_id("c")));
    assert_eq!(outcomes[3], PutJobOutcome::VersionConflict { current: 1 });
    assert!(matches!(&outcomes[4], PutJobOutcome::Updated(job) if job.job_id == job_id("a")));
    assert_eq!(get(f, "c").await.expect("it exists").definition, definition("c"));
}

pub(super) async fn one_of_many_concurrent_changes_wins(f: &Fixture) {
    f.put("a", scheduled("a")).await;
    let outcomes = race_puts(f, |name| PutJob {
        definition: definition(name),
        ..change(f, "a", Expected::Version(1))
    });
    let winners: Vec<Arc<Job>> = outcomes
        .await
        .into_iter()
        .filter_map(|outcome| match outcome {
            PutJobOutcome::Updated(job) => Some(job),
            PutJobOutcome::VersionConflict { current: 2 } => None,
            other => panic!("either it counts or it sees version 2: {other:?}"),
        })
        .collect();
    assert_eq!(winners.len(), 1);
    assert_eq!(get(f, "a").await.as_ref(), Some(&winners[0]));
}

pub(super) async fn one_of_many_concurrent_creations_wins(f: &Fixture) {
    let outcomes = race_puts(f, |name| f.new_job("a", definition(name))).await;
    let created = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, PutJobOutcome::Created(_)));
    assert_eq!(created.count(), 1);
    let refused = PutJobOutcome::VersionConflict { current: 1 };
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == refused).count(), 15);
}

async fn race_puts(f: &Fixture, make: impl Fn(&str) -> PutJob) -> Vec<PutJobOutcome> {
    let puts = (0..16).map(|n| {
        let (store, put) = (Arc::clone(&f.store), make(&format!("n{n}")));
        tokio::spawn(async move { one(store.put_jobs(vec![put]).await.expect("put_jobs")) })
    });
    join_all(puts)
        .await
        .into_iter()
        .map(|joined| joined.expect("no put panics"))
        .collect()
}

pub(super) async fn a_definition_is_kept_whole(f: &Fixture) {
    let labels = BTreeMap::from([("team".to_owned(), "blue".to_owned())]);
    let whole = JobDefinition {
        name: "Größe \"quoted\" 'x' 本".into(),
        command: Command {
            kind: JobKind::Shell,
            command: "echo \"a\tb\nc\"".into(),
            arguments: Json::parse(r#"{"n":1,"text":"ü"}"#).expect("JSON"),
            options: Json::parse(r#"{"environment":{}}"#).expect("JSON"),
        },
        schedule: scheduled("a").schedule,
        priority: -3,
        misfire: MisfirePolicy {
            action: MisfireAction::FireAll { limit: 7 },
            threshold: Duration::from_millis(1_500),
            window: Some(Duration::from_secs(3_600)),
        },
        overlap: OverlapPolicy::QueueOne,
        timeout: Some(Duration::from_millis(2_500)),
        cancel_grace: Duration::from_secs(1),
        retry: RetryPolicy {
            classes: BTreeMap::from([("net".to_owned(), ClassPolicy::RetryAfter(Duration::from_secs(3)))]),
            ..RetryPolicy::exponential(4, Duration::from_millis(250))
        },
        delivery: Delivery::AtMostOnce,
        on_lease_lost: OnLeaseLost::Stop,
        placement: Placement {
            group: "gpu".into(),
            required_labels: labels.clone(),
            preferred_labels: labels.clone(),
            spread: Spread::Preferred,
            strategy: Strategy::Shard { parts: 3 },
            resources: BTreeMap::from([("memory_mb".to_owned(), 512)]),
        },
        max_concurrent: Some(2),
        limit: Some(KeyLimit {
            key: "customer".into(),
            max_concurrent: Some(3),
            rate: Some(Rate {
                count: 5,
                per: Duration::from_secs(60),
                burst: 2,
            }),
        }),
        owner: Some("ann".into()),
        labels,
    };
    f.put("whole", whole.clone()).await;
    assert_eq!(get(f, "whole").await.expect("it exists").definition, whole);
}

pub(super) async fn pausing_takes_the_next_fire_time_away(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    let paused = updated(pause(f, "a", Expected::Version(1), PauseState::Paused).await);
    let expected = Job {
        paused: true,
        version: 2,
        next_fire_time: None,
        update_time: f.at(5),
        ..(*job).clone()
    };
    assert_eq!(*paused, expected);
    assert_eq!(get(f, "a").await.as_deref(), Some(&expected));
}

pub(super) async fn resuming_brings_a_next_fire_time(f: &Fixture) {
    f.put("a", scheduled("a")).await;
    updated(pause(f, "a", Expected::Any, PauseState::Paused).await);
    let job = updated(pause(f, "a", Expected::Version(2), PauseState::Active).await);
    assert!(!job.paused);
    assert_eq!((job.version, job.next_fire_time), (3, Some(f.at(120))));
    assert_eq!(get(f, "a").await, Some(job));
}

pub(super) async fn pausing_twice_changes_nothing(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    let outcome = pause(f, "a", Expected::Any, PauseState::Active).await;
    assert_eq!(outcome, PutJobOutcome::Unchanged(Arc::clone(&job)));
    assert_eq!(get(f, "a").await, Some(job));
    let job = updated(pause(f, "a", Expected::Any, PauseState::Paused).await);
    let outcome = pause(f, "a", Expected::Any, PauseState::Paused).await;
    assert_eq!(outcome, PutJobOutcome::Unchanged(Arc::clone(&job)));
    assert_eq!(get(f, "a").await, Some(job));
}

pub(super) async fn pausing_under_a_stale_version_is_refused(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    let outcome = pause(f, "a", Expected::Version(2), PauseState::Paused).await;
    assert_eq!(outcome, PutJobOutcome::VersionConflict { current: 1 });
    assert_eq!(get(f, "a").await, Some(job));
}

pub(super) async fn pausing_a_missing_job_finds_nothing(f: &Fixture) {
    f.put("b", scheduled("b")).await;
    let batch = vec![
        pausing(f, "a", Expected::Any, PauseState::Paused),
        pausing(f, "b", Expected::Any, PauseState::Paused),
    ];
    let outcomes = f.store.pause_jobs(batch).await.expect("pause_jobs");
    assert_eq!(outcomes[0], PutJobOutcome::NotFound);
    assert!(matches!(&outcomes[1], PutJobOutcome::Updated(job) if job.paused));
}

pub(super) async fn a_deleted_job_is_gone(f: &Fixture) {
    f.put("a", scheduled("a")).await;
    assert_eq!(
        delete(f, "a", Expected::Version(1)).await,
        DeleteJobOutcome::Deleted
    );
    assert_eq!(get(f, "a").await, None);
    let due = DueJobs {
        until: f.at(1_000),
        after: None,
        limit: 10,
    };
    assert!(f.store.due_jobs(&due).await.expect("due_jobs").is_empty());
    assert_eq!(delete(f, "a", Expected::Any).await, DeleteJobOutcome::NotFound);
}

pub(super) async fn deleting_under_a_stale_version_is_refused(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    let outcome = delete(f, "a", Expected::Version(2)).await;
    assert_eq!(outcome, DeleteJobOutcome::VersionConflict { current: 1 });
    assert_eq!(get(f, "a").await, Some(job));
}

pub(super) async fn deleting_leaves_live_tasks(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.running("runs", &node).await;
    f.insert_some(&["waits"]).await;
    assert_eq!(delete(f, "greet", Expected::Any).await, DeleteJobOutcome::Deleted);
    assert_eq!(
        f.states(&["runs", "waits"]).await,
        [TaskState::Running, TaskState::Ready]
    );
}
