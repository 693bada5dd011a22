//! Purges.

use std::time::Duration;

use jobcore::Timestamp;
use jobcore::attempt::{LogChunk, LogStream};
use jobcore::id::RunId;
use jobcore::json::Json;
use jobcore::store::{
    AdvanceRun, AttemptFilter, Decision, DecisionKind, Fire, InsertOutcome, NewRun, PageRequest, Purge,
    Purged, ReadLogs,
};
use jobcore::task::{NewTask, TaskState, UniqueKey};

use crate::conformance::fixture::{Fixture, definition, job_id, task_id};

async fn purge(f: &Fixture, before: Timestamp, limit: usize) -> Purged {
    let purge = Purge {
        before,
        limit,
        now: f.start,
    };
    f.store.purge(&purge).await.expect("purge")
}

/// Tasks that became final so many seconds after the start, each with a log chunk.
async fn finish(f: &Fixture, tasks: &[(&str, i64)]) {
    f.job().await;
    let node = f.node("n").await;
    for (id, second) in tasks {
        f.finished(f.task(id), &node, f.at(*second)).await;
        let chunk = LogChunk {
            task_id: task_id(id),
            attempt: 1,
            sequence: 0,
            stream: LogStream::Log,
            log_time: f.start,
            text: "hello".into(),
        };
        f.store.append_logs(vec![chunk]).await.expect("append_logs");
    }
}

/// How many attempts and log chunks a task has.
async fn records(f: &Fixture, id: &str) -> (usize, usize) {
    let filter = AttemptFilter {
        task_id: Some(task_id(id)),
        ..AttemptFilter::default()
    };
    let attempts = f.store.list_attempts(&filter, &PageRequest::first(10)).await;
    let read = ReadLogs {
        task_id: task_id(id),
        attempt: 1,
        first_sequence: 0,
        limit: 10,
    };
    let logs = f.store.read_logs(&read).await.expect("read_logs");
    (attempts.expect("list_attempts").items.len(), logs.len())
}

pub(super) async fn a_purge_deletes_what_became_final_before(f: &Fixture) {
    finish(f, &[("old", 1), ("edge", 2), ("young", 3)]).await;
    let node = f.node("n").await;
    f.running("live", &node).await;
    assert_eq!(
        purge(f, f.at(2), 100).await,
        Purged {
            tasks: 1,
            more: false
        }
    );
    assert_eq!(f.find("old").await, None);
    assert_eq!(records(f, "old").await, (0, 0));
    for id in ["edge", "young"] {
        assert_eq!(f.state(id).await, TaskState::Succeeded);
        assert_eq!(records(f, id).await, (1, 1));
    }
    assert_eq!(
        (f.state("live").await, records(f, "live").await.0),
        (TaskState::Running, 1)
    );
}

pub(super) async fn a_purge_takes_up_to_its_limit(f: &Fixture) {
    finish(f, &[("a", 1), ("b", 2), ("c", 3)]).await;
    assert_eq!(purge(f, f.at(60), 2).await, Purged { tasks: 2, more: true });
    assert!(f.find("a").await.is_none() && f.find("b").await.is_none());
    assert_eq!(f.state("c").await, TaskState::Succeeded);
    assert_eq!(
        purge(f, f.at(60), 2).await,
        Purged {
            tasks: 1,
            more: false
        }
    );
    assert_eq!(
        purge(f, f.at(60), 2).await,
        Purged {
            tasks: 0,
            more: false
        }
    );
}

pub(super) async fn a_purge_deletes_old_decisions(f: &Fixture) {
    let job = f.put("a", definition("a")).await;
    let decisions = [1, 2, 3].map(|second| Decision {
        job_id: job.job_id.clone(),
        scheduled_for: None,
        count: 1,
        task_id: None,
        kind: DecisionKind::NoExecutor,
        decision_time: f.at(second),
        reason: "nobody there".into(),
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
        decisions: decisions.to_vec(),
        now: f.start,
    };
    let _ = f.store.fire(vec![fire]).await.expect("fire");
    assert!(!purge(f, f.at(2), 100).await.more);
    let left = f.store.list_decisions(None, &PageRequest::first(10)).await;
    assert_eq!(
        left.expect("list_decisions").items,
        [decisions[2].clone(), decisions[1].clone()]
    );
}

pub(super) async fn a_purge_deletes_ended_runs(f: &Fixture) {
    for (id, end) in [("ended", Some(1)), ("later", Some(5)), ("goes-on", None)] {
        let run_id = RunId::new(id).expect("a good id");
        let new = NewRun {
            run_id: run_id.clone(),
            job_id: job_id("flow"),
            state: Json::NULL,
            tasks: Vec::new(),
            now: f.start,
        };
        let _ = f.store.insert_run(new).await.expect("insert_run");
        let advance = AdvanceRun {
            run_id,
            expected_version: 1,
            state: Json::NULL,
            consumed: None,
            tasks: Vec::new(),
            end_time: end.map(|second| f.at(second)),
            now: f.start,
        };
        let _ = f.store.advance_run(advance).await.expect("advance_run");
    }
    purge(f, f.at(2), 100).await;
    let there = async |id| {
        let run = f.store.get_run(&RunId::new(id).expect("a good id")).await;
        run.expect("get_run").is_some()
    };
    assert!(!there("ended").await && there("later").await && there("goes-on").await);
}

pub(super) async fn a_purge_keeps_unique_keys_that_have_not_expired(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let key = UniqueKey::new("s", "k").expect("a good key");
    let keyed = |id: &str| NewTask {
        unique_key: Some(UniqueKey {
            keep: Duration::from_secs(600),
            ..key.clone()
        }),
        ..f.task(id)
    };
    f.finished(keyed("a"), &node, f.at(1)).await;
    assert_eq!(purge(f, f.at(60), 100).await.tasks, 1);
    let insert = async |now| {
        let outcomes = f.store.insert_tasks(vec![keyed("b")], now).await;
        outcomes.expect("insert_tasks").remove(0)
    };
    let duplicate = InsertOutcome::Duplicate {
        task_id: task_id("a"),
    };
    assert_eq!(insert(f.at(599)).await, duplicate);
    let late = Purge {
        before: f.at(60),
        limit: 100,
        now: f.at(600),
    };
    assert!(!f.store.purge(&late).await.expect("purge").more);
    assert_eq!(insert(f.at(600)).await, InsertOutcome::Inserted);
}
