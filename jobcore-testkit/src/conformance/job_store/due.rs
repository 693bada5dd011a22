//! Jobs that come due, and jobs that nobody planned.

use jobcore::Timestamp;
use jobcore::store::{DueJobs, Expected, PauseState, PutJob};

use super::fires::fire_of;
use super::jobs::pause;
use crate::conformance::fixture::{Fixture, definition, job_id, scheduled};

/// Puts jobs that come due so many seconds after the start.
async fn put_due(f: &Fixture, jobs: &[(&str, i64)]) {
    let puts = jobs.iter().map(|(id, second)| PutJob {
        next_fire_time: Some(f.at(*second)),
        ..f.new_job(id, scheduled(id))
    });
    let _ = f.store.put_jobs(puts.collect()).await.expect("put_jobs");
}

async fn due(f: &Fixture, until: Timestamp, after: Option<(Timestamp, &str)>, limit: usize) -> Vec<String> {
    let request = DueJobs {
        until,
        after: after.map(|(time, id)| (time, job_id(id))),
        limit,
    };
    let jobs = f.store.due_jobs(&request).await.expect("due_jobs");
    jobs.iter().map(|job| job.job_id.to_string()).collect()
}

pub(super) async fn due_jobs_come_in_order_of_time_and_id(f: &Fixture) {
    put_due(f, &[("a", 30), ("b", 10), ("d", 20), ("c", 20), ("late", 31)]).await;
    f.put("never", definition("never")).await;
    assert_eq!(due(f, f.at(30), None, 10).await, ["b", "c", "d", "a"]);
    assert_eq!(due(f, f.at(9), None, 10).await, [""; 0]);
}

pub(super) async fn due_jobs_come_in_pages(f: &Fixture) {
    put_due(f, &[("a", 10), ("b", 10), ("c", 10), ("d", 20)]).await;
    assert_eq!(due(f, f.at(30), None, 2).await, ["a", "b"]);
    assert_eq!(due(f, f.at(30), Some((f.at(10), "b")), 2).await, ["c", "d"]);
    assert_eq!(due(f, f.at(30), Some((f.at(20), "d")), 2).await, [""; 0]);
}

pub(super) async fn a_paused_job_is_never_due(f: &Fixture) {
    put_due(f, &[("a", 10)]).await;
    let _ = pause(f, "a", Expected::Any, PauseState::Paused).await;
    assert_eq!(due(f, f.at(1_000), None, 10).await, [""; 0]);
    assert_eq!(f.store.next_due_time(f.start).await.expect("next_due_time"), None);
}

pub(super) async fn the_next_due_time_is_the_earliest_after_an_instant(f: &Fixture) {
    let next = async |after| f.store.next_due_time(after).await.expect("next_due_time");
    assert_eq!(next(f.start).await, None);
    put_due(f, &[("a", 30), ("b", 10)]).await;
    assert_eq!(next(f.start).await, Some(f.at(10)));
    assert_eq!(next(f.at(10)).await, Some(f.at(30)));
    assert_eq!(next(f.at(30)).await, None);
}

async fn unplanned(f: &Fixture, zone_version: &str, limit: usize) -> Vec<String> {
    let jobs = f.store.unplanned_jobs(zone_version, limit).await;
    let jobs = jobs.expect("unplanned_jobs");
    jobs.iter().map(|job| job.job_id.to_string()).collect()
}

pub(super) async fn unplanned_jobs_are_those_of_other_zone_data(f: &Fixture) {
    put_due(f, &[("old", 60), ("paused", 60)]).await;
    f.put("manual", definition("manual")).await;
    let _ = pause(f, "paused", Expected::Any, PauseState::Paused).await;
    let newer = PutJob {
        zone_version: "2026b".into(),
        ..f.new_job("new", scheduled("new"))
    };
    let _ = f.store.put_jobs(vec![newer]).await.expect("put_jobs");
    let bad = f.put("bad", scheduled("bad")).await;
    let mut fire = fire_of(f, &bad, Vec::new());
    (fire.error, fire.next_fire_time) = (Some("can't be read".into()), None);
    let _ = f.store.fire(vec![fire]).await.expect("fire");
    assert_eq!(unplanned(f, "2026a", 10).await, ["new"]);
    assert_eq!(unplanned(f, "2026b", 10).await, ["bad", "old"]);
}

pub(super) async fn unplanned_jobs_are_limited(f: &Fixture) {
    put_due(f, &[("a", 10), ("b", 10), ("c", 10)]).await;
    assert_eq!(unplanned(f, "2026b", 2).await, ["a", "b"]);
    assert_eq!(unplanned(f, "2026b", 10).await, ["a", "b", "c"]);
}
