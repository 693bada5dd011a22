//! Listings of attempts, final tasks and decisions.

use jobcore::Timestamp;
use jobcore::attempt::AttemptStatus;
use jobcore::lease::Fence;
use jobcore::store::{
    AttemptEnd, AttemptFilter, Decision, DecisionKind, DeleteJob, Expected, FinishedFilter, Fire, Next,
    Settlement, Start,
};
use jobcore::task::{NewTask, TaskState};

use crate::conformance::fixture::{Fixture, definition, executor_id, job_id, pages, task_id};

async fn attempts(f: &Fixture, filter: &AttemptFilter, limit: usize) -> Vec<String> {
    let attempts = pages!(limit, |page| f.store.list_attempts(filter, &page));
    let names = attempts
        .iter()
        .map(|attempt| format!("{}.{}", attempt.task_id, attempt.attempt));
    names.collect()
}

async fn start_at(f: &Fixture, fence: &Fence, start_time: Timestamp) {
    let start = Start {
        fence: fence.clone(),
        start_time,
    };
    let _ = f.store.start(vec![start]).await.expect("start");
}

/// Three attempts: `a.1` failed at n1, `b.1` runs at n2 (of the job `other`), `a.2` succeeded at n2.
async fn three_attempts(f: &Fixture) {
    f.job().await;
    f.put("other", definition("other")).await;
    let (one, two) = (f.node("n1").await, f.node("n2").await);
    f.insert(vec![f.task("a")]).await;
    let fence = f.claim_one("a", &one).await;
    start_at(f, &fence, f.at(1)).await;
    let foreign = NewTask {
        job_id: job_id("other"),
        ..f.task("b")
    };
    f.insert(vec![foreign]).await;
    let runs = f.claim_one("b", &two).await;
    start_at(f, &runs, f.at(5)).await;
    let _ = f.settle_at(f.retry(&fence, f.at(6)), f.at(6)).await;
    f.promote(f.at(6)).await;
    let fence = f.claim_one("a", &two).await;
    let end = AttemptEnd {
        start_time: f.at(7),
        ..f.ended(AttemptStatus::Success, f.at(8))
    };
    let settlement = Settlement {
        attempt: Some(end),
        ..f.succeeded(&fence, f.at(8))
    };
    let _ = f.settle_at(settlement, f.at(8)).await;
}

pub(super) async fn attempts_are_listed_newest_first(f: &Fixture) {
    three_attempts(f).await;
    for limit in [1, 2, 3, 100] {
        let all = attempts(f, &AttemptFilter::default(), limit).await;
        assert_eq!(all, ["a.2", "b.1", "a.1"], "in pages of {limit}");
    }
}

pub(super) async fn attempts_are_listed_by_what_they_are(f: &Fixture) {
    three_attempts(f).await;
    let all = AttemptFilter::default();
    let task = AttemptFilter {
        task_id: Some(task_id("a")),
        ..all.clone()
    };
    assert_eq!(attempts(f, &task, 1).await, ["a.2", "a.1"]);
    let job = AttemptFilter {
        job_id: Some(job_id("other")),
        ..all.clone()
    };
    assert_eq!(attempts(f, &job, 2).await, ["b.1"]);
    let executor = AttemptFilter {
        executor_id: Some(executor_id("n2")),
        ..all.clone()
    };
    assert_eq!(attempts(f, &executor, 2).await, ["a.2", "b.1"]);
    let status = AttemptFilter {
        status: Some(AttemptStatus::Running),
        ..all.clone()
    };
    assert_eq!(attempts(f, &status, 2).await, ["b.1"]);
    let from = AttemptFilter {
        from_time: Some(f.at(5)),
        ..all.clone()
    };
    assert_eq!(attempts(f, &from, 2).await, ["a.2", "b.1"]);
    let until = AttemptFilter {
        until_time: Some(f.at(7)),
        ..from
    };
    assert_eq!(attempts(f, &until, 2).await, ["b.1"]);
    let both = AttemptFilter {
        executor_id: Some(executor_id("n1")),
        ..until
    };
    assert_eq!(attempts(f, &both, 2).await, [""; 0]);
}

async fn finished(f: &Fixture, filter: &FinishedFilter, limit: usize) -> Vec<String> {
    let tasks = pages!(limit, |page| f.store.list_finished(filter, &page));
    tasks.iter().map(|task| task.task_id.to_string()).collect()
}

/// Final tasks: `c`, `a` (of the job `other`, failed), `d` and `b`, in this order.
async fn four_finished(f: &Fixture) {
    f.job().await;
    f.put("other", definition("other")).await;
    let node = f.node("n").await;
    for (second, id) in (1..).zip(["c", "a", "d", "b"]) {
        let job = if id == "a" { "other" } else { "greet" };
        let task = NewTask {
            job_id: job_id(job),
            ..f.task(id)
        };
        f.insert(vec![task]).await;
        let fence = f.claim_one(id, &node).await;
        let state = if id == "a" {
            TaskState::Failed
        } else {
            TaskState::Succeeded
        };
        let settlement = Settlement {
            next: Next::Final { state, reason: None },
            ..f.succeeded(&fence, f.at(second))
        };
        let _ = f.settle_at(settlement, f.at(second)).await;
    }
}

pub(super) async fn final_tasks_are_listed_newest_first(f: &Fixture) {
    four_finished(f).await;
    for limit in [1, 3, 4, 100] {
        let all = finished(f, &FinishedFilter::default(), limit).await;
        assert_eq!(all, ["b", "d", "a", "c"], "in pages of {limit}");
    }
}

pub(super) async fn final_tasks_are_listed_by_what_they_are(f: &Fixture) {
    four_finished(f).await;
    let job = FinishedFilter {
        job_id: Some(job_id("greet")),
        ..FinishedFilter::default()
    };
    assert_eq!(finished(f, &job, 2).await, ["b", "d", "c"]);
    let failed = FinishedFilter {
        states: vec![TaskState::Failed, TaskState::Cancelled],
        ..FinishedFilter::default()
    };
    assert_eq!(finished(f, &failed, 1).await, ["a"]);
    let both = FinishedFilter {
        states: vec![TaskState::Failed],
        ..job
    };
    assert_eq!(finished(f, &both, 1).await, [""; 0]);
}

pub(super) async fn decisions_are_listed_newest_first(f: &Fixture) {
    for (n, id) in (0..).zip(["a", "b"]) {
        let job = f.put(id, definition(id)).await;
        let decisions = (0..3).map(|count| Decision {
            job_id: job.job_id.clone(),
            scheduled_for: Some(f.at(count)),
            count: count.unsigned_abs() + 1 + n,
            task_id: None,
            kind: DecisionKind::MisfireMerged,
            decision_time: f.at(10),
            reason: "merged".into(),
        });
        let fire = Fire {
            job_id: job.job_id.clone(),
            version: 1,
            expected_next_fire_time: None,
            next_fire_time: None,
            last_fire_time: None,
            zone_version: String::new(),
            error: None,
            tasks: Vec::new(),
            decisions: decisions.collect(),
            now: f.at(10),
        };
        let _ = f.store.fire(vec![fire]).await.expect("fire");
    }
    let listed = async |job: Option<&str>, limit| -> Vec<String> {
        let job = job.map(job_id);
        let decisions = pages!(limit, |page| f.store.list_decisions(job.as_ref(), &page));
        let names = decisions
            .iter()
            .map(|decision| format!("{}{}", decision.job_id, decision.count));
        names.collect()
    };
    for limit in [1, 2, 100] {
        assert_eq!(listed(None, limit).await, ["b4", "b3", "b2", "a3", "a2", "a1"]);
        assert_eq!(listed(Some("a"), limit).await, ["a3", "a2", "a1"]);
    }
    assert_eq!(listed(Some("c"), 10).await, [""; 0]);
}

pub(super) async fn the_history_of_a_deleted_job_stays(f: &Fixture) {
    four_finished(f).await;
    let delete = DeleteJob {
        job_id: job_id("other"),
        expected: Expected::Any,
    };
    let _ = f.store.delete_jobs(vec![delete]).await.expect("delete_jobs");
    assert_eq!(f.get("a").await.state, TaskState::Failed);
    let job = FinishedFilter {
        job_id: Some(job_id("other")),
        ..FinishedFilter::default()
    };
    assert_eq!(finished(f, &job, 10).await, ["a"]);
    let of_job = AttemptFilter {
        job_id: Some(job_id("other")),
        ..AttemptFilter::default()
    };
    assert_eq!(attempts(f, &of_job, 10).await, ["a.1"]);
}
