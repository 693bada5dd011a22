//! Changes since an instant.

use std::collections::HashSet;
use std::sync::Arc;

use jobcore::id::JobId;
use jobcore::store::{
    Change, Cursor, DeleteJob, Expected, Fire, HistoryStore, PauseJob, PauseState, PutJob, Store,
};
use jobcore::task::TaskState;

use crate::conformance::fixture::{Fixture, definition, job_id, task_id};

/// Where to read on from the present.
async fn present(f: &Fixture) -> Cursor {
    let changes = f.store.changes(None, 100).await.expect("changes");
    assert_eq!(changes.changes, []);
    changes.cursor
}

/// Reads on until nothing new comes: each change once, in the order of its first appearance.
async fn read_on(store: &dyn Store, cursor: &mut Cursor, limit: usize) -> Vec<Change> {
    let (mut seen, mut unchanged) = (Vec::new(), 0);
    while unchanged < 2 {
        let page = HistoryStore::changes(store, Some(cursor), limit)
            .await
            .expect("changes");
        let new: Vec<Change> = page
            .changes
            .into_iter()
            .filter(|change| !seen.contains(change))
            .collect();
        unchanged = if new.is_empty() && page.cursor == *cursor {
            unchanged + 1
        } else {
            0
        };
        seen.extend(new);
        *cursor = page.cursor;
        assert!(seen.len() <= 10_000, "the changes have no end");
    }
    seen
}

fn job(id: &str, version: impl Into<Option<u64>>) -> Change {
    Change::Job {
        job_id: job_id(id),
        version: version.into(),
    }
}

fn task(id: &str, state: TaskState) -> Change {
    Change::Task {
        task_id: task_id(id),
        job_id: job_id("greet"),
        state,
    }
}

pub(super) async fn changes_begin_at_the_present(f: &Fixture) {
    f.job().await;
    let mut cursor = present(f).await;
    f.put("a", definition("a")).await;
    let changes = read_on(&*f.store, &mut cursor, 100).await;
    assert_eq!(changes.last(), Some(&job("a", 1)), "{changes:?}");
}

pub(super) async fn changes_of_jobs_are_told(f: &Fixture) {
    let mut cursor = present(f).await;
    let new = f.put("a", definition("a")).await;
    let equal = PutJob {
        expected: Expected::Any,
        ..f.new_job("a", definition("a"))
    };
    let changed = PutJob {
        definition: definition("changed"),
        ..equal.clone()
    };
    let _ = f.store.put_jobs(vec![equal, changed]).await.expect("put_jobs");
    for to in [PauseState::Paused, PauseState::Paused, PauseState::Active] {
        let pause = PauseJob {
            job_id: job_id("a"),
            expected: Expected::Any,
            to,
            next_fire_time: None,
            now: f.start,
        };
        let _ = f.store.pause_jobs(vec![pause]).await.expect("pause_jobs");
    }
    let plan = Fire {
        job_id: new.job_id.clone(),
        version: 4,
        expected_next_fire_time: None,
        next_fire_time: Some(f.at(60)),
        last_fire_time: None,
        zone_version: String::new(),
        error: None,
        tasks: Vec::new(),
        decisions: Vec::new(),
        now: f.start,
    };
    let _ = f.store.fire(vec![plan]).await.expect("fire");
    let delete = DeleteJob {
        job_id: job_id("a"),
        expected: Expected::Any,
    };
    let _ = f.store.delete_jobs(vec![delete]).await.expect("delete_jobs");
    let told = read_on(&*f.store, &mut cursor, 100).await;
    assert_eq!(
        told,
        [job("a", 1), job("a", 2), job("a", 3), job("a", 4), job("a", None)]
    );
}

pub(super) async fn final_transitions_are_told(f: &Fixture) {
    f.job().await;
    let mut cursor = present(f).await;
    let node = f.node("n").await;
    let fence = f.running("a", &node).await;
    let _ = f.settle(f.retry(&fence, f.at(60))).await;
    f.insert_some(&["b"]).await;
    f.cancel(&["b"]).await;
    let fence = f.running("c", &node).await;
    f.succeed(&fence).await;
    f.running("d", &node).await;
    f.cancel(&["d"]).await;
    f.recover(f.at(1_000)).await;
    let told = read_on(&*f.store, &mut cursor, 100).await;
    let expected = [
        task("b", TaskState::Cancelled),
        task("c", TaskState::Succeeded),
        task("d", TaskState::Cancelled),
    ];
    assert_eq!(told, expected);
}

pub(super) async fn changes_are_read_on_page_by_page(f: &Fixture) {
    let mut cursor = present(f).await;
    let ids: Vec<String> = (0..30).map(|n| format!("job{n:02}")).collect();
    for id in &ids[..20] {
        f.put(id, definition(id)).await;
    }
    let expected: Vec<Change> = ids.iter().map(|id| job(id, 1)).collect();
    assert_eq!(read_on(&*f.store, &mut cursor, 7).await, expected[..20]);
    for id in &ids[20..] {
        f.put(id, definition(id)).await;
    }
    let later = read_on(&*f.store, &mut cursor, 7).await;
    assert_eq!(
        later[later.len() - 10..],
        expected[20..],
        "possibly after some overlap"
    );
}

pub(super) async fn no_concurrent_change_is_missed(f: &Fixture) {
    let mut cursor = present(f).await;
    let writers = (0..8).map(|writer| {
        let puts: Vec<PutJob> = (0..25)
            .map(|n| f.new_job(&format!("job{writer}-{n}"), definition("x")))
            .collect();
        let store = Arc::clone(&f.store);
        tokio::spawn(async move {
            for put in puts {
                let _ = store.put_jobs(vec![put]).await.expect("put_jobs");
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut seen = Vec::new();
    while writers.iter().any(|writer| !writer.is_finished()) {
        seen.extend(read_on(&*f.store, &mut cursor, 50).await);
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.expect("no writer panics");
    }
    seen.extend(read_on(&*f.store, &mut cursor, 50).await);
    let jobs = seen.iter().filter_map(|change| match change {
        Change::Job { job_id, .. } => Some(job_id.clone()),
        Change::Task { .. } => None,
    });
    assert_eq!(jobs.collect::<HashSet<JobId>>().len(), 200);
}

pub(super) async fn a_foreign_cursor_is_refused(f: &Fixture) {
    let foreign = Cursor("not a cursor of this store".into());
    let error = f.store.changes(Some(&foreign), 10).await;
    assert_eq!(
        error.expect_err("it can't be read").kind(),
        jobcore::ErrorKind::InvalidInput
    );
}
