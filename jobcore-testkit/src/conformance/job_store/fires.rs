//! Fires: tasks and the next fire time, together or not at all.

use std::sync::Arc;

use futures_util::future::join_all;
use jobcore::Timestamp;
use jobcore::gate::{GateKey, GatePolicy};
use jobcore::job::Job;
use jobcore::store::{
    Decision, DecisionKind, DeleteJob, Expected, Fire, FireOutcome, PageRequest, PauseState, TaskFilter,
};
use jobcore::task::{NewTask, Origin, TaskState};

use super::jobs::pause;
use crate::conformance::fixture::{Fixture, job_id, one, scheduled, task_id};

/// A fire of `job` as it is, which moves it on by a minute.
pub(super) fn fire_of(f: &Fixture, job: &Job, tasks: Vec<NewTask>) -> Fire {
    Fire {
        job_id: job.job_id.clone(),
        version: job.version,
        expected_next_fire_time: job.next_fire_time,
        next_fire_time: job
            .next_fire_time
            .map(|time| time + std::time::Duration::from_secs(60)),
        last_fire_time: job.next_fire_time,
        zone_version: "2026a".into(),
        error: None,
        tasks,
        decisions: Vec::new(),
        now: f.at(60),
    }
}

/// A task of `job` for its next fire time.
fn occurrence(f: &Fixture, job: &Job, id: &str) -> NewTask {
    NewTask {
        job_id: job.job_id.clone(),
        scheduled_for: job.next_fire_time,
        origin: Origin::Fire,
        due_time: f.at(60),
        create_time: f.at(60),
        ..f.task(id)
    }
}

fn decision(job: &Job, time: Timestamp) -> Decision {
    Decision {
        job_id: job.job_id.clone(),
        scheduled_for: Some(time),
        count: 3,
        task_id: None,
        kind: DecisionKind::MisfireSkipped,
        decision_time: time,
        reason: "too old".into(),
    }
}

async fn fire(f: &Fixture, fire: Fire) -> FireOutcome {
    one(f.store.fire(vec![fire]).await.expect("fire"))
}

async fn get(f: &Fixture, id: &str) -> Arc<Job> {
    one(f.store.get_jobs(&[job_id(id)]).await.expect("get_jobs")).expect("the job exists")
}

async fn decisions(f: &Fixture) -> Vec<Decision> {
    let page = f.store.list_decisions(None, &PageRequest::first(100)).await;
    page.expect("list_decisions").items
}

async fn live(f: &Fixture) -> Vec<String> {
    let page = f
        .store
        .list_tasks(&TaskFilter::default(), &PageRequest::first(100))
        .await;
    let tasks = page.expect("list_tasks").items;
    tasks.iter().map(|task| task.task_id.to_string()).collect()
}

/// Checks that nothing of a fire of `job` was written.
async fn assert_untouched(f: &Fixture, job: &Job) {
    assert_eq!(*get(f, job.job_id.as_str()).await, *job);
    assert_eq!(live(f).await, [""; 0]);
    assert_eq!(decisions(f).await, []);
}

pub(super) async fn a_fire_makes_tasks_and_moves_the_job_on(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    let plan = Fire {
        decisions: vec![decision(&job, f.at(50))],
        zone_version: "2026b".into(),
        ..fire_of(f, &job, vec![occurrence(f, &job, "t")])
    };
    assert_eq!(fire(f, plan).await, FireOutcome::Fired);
    let expected = Job {
        next_fire_time: Some(f.at(120)),
        last_fire_time: Some(f.at(60)),
        zone_version: "2026b".into(),
        ..(*job).clone()
    };
    assert_eq!(*get(f, "a").await, expected);
    let task = f.get("t").await;
    assert_eq!((task.state, task.origin), (TaskState::Ready, Origin::Fire));
    assert_eq!((task.scheduled_for, task.due_time), (Some(f.at(60)), f.at(60)));
    assert_eq!(decisions(f).await, [decision(&job, f.at(50))]);
}

pub(super) async fn a_fire_under_a_stale_version_writes_nothing(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    for version in [0, 2] {
        let plan = Fire {
            version,
            decisions: vec![decision(&job, f.at(50))],
            ..fire_of(f, &job, vec![occurrence(f, &job, "t")])
        };
        assert_eq!(fire(f, plan).await, FireOutcome::Conflict);
    }
    assert_untouched(f, &job).await;
}

pub(super) async fn a_fire_of_a_stale_instant_writes_nothing(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    for expected_next_fire_time in [None, Some(f.at(59)), Some(f.at(61))] {
        let plan = Fire {
            expected_next_fire_time,
            decisions: vec![decision(&job, f.at(50))],
            ..fire_of(f, &job, vec![occurrence(f, &job, "t")])
        };
        assert_eq!(fire(f, plan).await, FireOutcome::Conflict);
    }
    assert_untouched(f, &job).await;
}

pub(super) async fn a_fire_of_a_missing_or_paused_job_is_a_conflict(f: &Fixture) {
    let paused = f.put("paused", scheduled("a")).await;
    let gone = f.put("gone", scheduled("b")).await;
    let _ = pause(f, "paused", Expected::Any, PauseState::Paused).await;
    let delete = DeleteJob {
        job_id: gone.job_id.clone(),
        expected: Expected::Any,
    };
    let _ = f.store.delete_jobs(vec![delete]).await.expect("delete_jobs");
    let plans = vec![
        fire_of(f, &paused, vec![occurrence(f, &paused, "t1")]),
        fire_of(f, &gone, vec![occurrence(f, &gone, "t2")]),
    ];
    let outcomes = f.store.fire(plans).await.expect("fire");
    assert_eq!(outcomes, [FireOutcome::Conflict, FireOutcome::Conflict]);
    assert_eq!(live(f).await, [""; 0]);
}

pub(super) async fn fires_are_answered_in_order_and_independently(f: &Fixture) {
    let a = f.put("a", scheduled("a")).await;
    let b = f.put("b", scheduled("b")).await;
    let c = f.put("c", scheduled("c")).await;
    let stale = Fire {
        version: 9,
        ..fire_of(f, &b, vec![occurrence(f, &b, "tb")])
    };
    let plans = vec![
        fire_of(f, &c, vec![occurrence(f, &c, "tc")]),
        stale,
        fire_of(f, &a, vec![occurrence(f, &a, "ta")]),
    ];
    let outcomes = f.store.fire(plans).await.expect("fire");
    assert_eq!(
        outcomes,
        [FireOutcome::Fired, FireOutcome::Conflict, FireOutcome::Fired]
    );
    assert_eq!(live(f).await, ["ta", "tc"]);
    assert_eq!(*get(f, "b").await, *b);
}

pub(super) async fn one_of_many_concurrent_fires_counts(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    let nodes = (0..16).map(|n| {
        let plan = fire_of(f, &job, vec![occurrence(f, &job, &format!("t{n}"))]);
        let store = Arc::clone(&f.store);
        tokio::spawn(async move { one(store.fire(vec![plan]).await.expect("fire")) })
    });
    let outcomes = join_all(nodes).await;
    let fired = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(FireOutcome::Fired)));
    assert_eq!(fired.count(), 1);
    assert_eq!(live(f).await.len(), 1);
}

pub(super) async fn an_occurrence_is_inserted_once(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    let first = fire_of(f, &job, vec![occurrence(f, &job, "first")]);
    assert_eq!(fire(f, first).await, FireOutcome::Fired);
    let moved = get(f, "a").await;
    let again = vec![occurrence(f, &job, "again"), occurrence(f, &moved, "next")];
    assert_eq!(fire(f, fire_of(f, &moved, again)).await, FireOutcome::Fired);
    assert_eq!(live(f).await, ["first", "next"]);
}

pub(super) async fn an_occurrence_in_history_is_not_inserted_again(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    let first = fire_of(f, &job, vec![occurrence(f, &job, "first")]);
    assert_eq!(fire(f, first).await, FireOutcome::Fired);
    let node = f.node("n").await;
    let fence = f.claim_one("first", &node).await;
    f.succeed(&fence).await;
    let moved = get(f, "a").await;
    let again = fire_of(f, &moved, vec![occurrence(f, &job, "again")]);
    assert_eq!(fire(f, again).await, FireOutcome::Fired);
    assert_eq!(f.find("again").await, None);
    assert_eq!(get(f, "a").await.next_fire_time, Some(f.at(180)));
}

pub(super) async fn parts_of_one_instant_are_tasks_of_their_own(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    let parts = (0..3).map(|part| NewTask {
        part,
        parts: 3,
        ..occurrence(f, &job, &format!("t{part}"))
    });
    assert_eq!(
        fire(f, fire_of(f, &job, parts.collect())).await,
        FireOutcome::Fired
    );
    assert_eq!(live(f).await, ["t0", "t1", "t2"]);
    let task = f.get("t2").await;
    assert_eq!((task.part, task.parts), (2, 3));
}

pub(super) async fn a_fire_can_only_plan(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    let plan = Fire {
        next_fire_time: None,
        last_fire_time: None,
        zone_version: "2026b".into(),
        error: Some("can't be read".into()),
        ..fire_of(f, &job, Vec::new())
    };
    assert_eq!(fire(f, fire_of(f, &job, Vec::new())).await, FireOutcome::Fired);
    let job = get(f, "a").await;
    let plan = Fire {
        expected_next_fire_time: job.next_fire_time,
        ..plan
    };
    assert_eq!(fire(f, plan).await, FireOutcome::Fired);
    let expected = Job {
        next_fire_time: None,
        zone_version: "2026b".into(),
        error: Some("can't be read".into()),
        ..(*job).clone()
    };
    let planned = get(f, "a").await;
    assert_eq!(*planned, expected);
    let again = Fire {
        next_fire_time: Some(f.at(300)),
        ..fire_of(f, &planned, Vec::new())
    };
    assert_eq!(fire(f, again).await, FireOutcome::Fired);
    let again = get(f, "a").await;
    assert_eq!(
        (again.next_fire_time, again.error.as_deref()),
        (Some(f.at(300)), None)
    );
}

pub(super) async fn fired_tasks_wait_where_they_should(f: &Fixture) {
    let job = f.put("a", scheduled("a")).await;
    let policy = GatePolicy {
        max_live: Some(1),
        ..GatePolicy::default()
    };
    let later = NewTask {
        part: 1,
        due_time: f.at(61),
        ..occurrence(f, &job, "later")
    };
    let gated = NewTask {
        part: 2,
        gates: f.gated("gated", &GateKey::of_job(&job.job_id), &policy).gates,
        ..occurrence(f, &job, "gated")
    };
    let tasks = vec![occurrence(f, &job, "now"), later, gated];
    assert_eq!(fire(f, fire_of(f, &job, tasks)).await, FireOutcome::Fired);
    let states = f.states(&["now", "later", "gated"]).await;
    assert_eq!(
        states,
        [TaskState::Ready, TaskState::Scheduled, TaskState::Blocked]
    );
    f.promote(f.at(61)).await;
    assert_eq!(
        f.states(&["later", "gated"]).await,
        [TaskState::Ready, TaskState::Ready]
    );
    assert_eq!(f.get("gated").await.task_id, task_id("gated"));
}
