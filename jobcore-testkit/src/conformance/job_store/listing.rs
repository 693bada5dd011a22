//! Reading jobs: by id, by filter, page by page.

use std::sync::Arc;

use jobcore::job::{Command, JobDefinition, JobKind};
use jobcore::store::{Expected, JobFilter, PauseState};

use super::jobs::pause;
use crate::conformance::fixture::{Fixture, definition, job_id, pages};

pub(super) async fn jobs_are_got_in_the_order_of_the_request(f: &Fixture) {
    let a = f.put("a", definition("a")).await;
    let b = f.put("b", definition("b")).await;
    let ids = [job_id("b"), job_id("none"), job_id("a"), job_id("b")];
    let jobs = f.store.get_jobs(&ids).await.expect("get_jobs");
    assert_eq!(jobs, [Some(Arc::clone(&b)), None, Some(a), Some(b)]);
}

/// Labels as a definition or a filter has them.
fn labels<T: FromIterator<(String, String)>>(pairs: &[(&str, &str)]) -> T {
    let owned = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    owned.collect()
}

async fn listed(f: &Fixture, filter: &JobFilter, limit: usize) -> Vec<String> {
    let jobs = pages!(limit, |page| f.store.list_jobs(filter, &page));
    jobs.iter().map(|job| job.job_id.to_string()).collect()
}

pub(super) async fn jobs_are_listed_by_id_page_by_page(f: &Fixture) {
    for id in ["d", "b", "B", "a", "c-1", "c"] {
        f.put(id, definition(id)).await;
    }
    for limit in [1, 2, 3, 6, 100] {
        let ids = listed(f, &JobFilter::default(), limit).await;
        assert_eq!(ids, ["B", "a", "b", "c", "c-1", "d"], "in pages of {limit}");
    }
}

pub(super) async fn jobs_are_listed_by_what_they_are(f: &Fixture) {
    let shell = JobDefinition {
        owner: Some("ann".into()),
        labels: labels(&[("team", "blue"), ("tier", "1")]),
        ..JobDefinition::new("Nightly_100%", Command::shell("true"))
    };
    f.put("one", shell).await;
    let blue = JobDefinition {
        labels: labels(&[("team", "blue")]),
        ..definition("two")
    };
    f.put("two", blue).await;
    f.put("three", definition("nightly-2")).await;
    let _ = pause(f, "three", Expected::Any, PauseState::Paused).await;
    let all = JobFilter::default();
    let text = |text: &str| JobFilter {
        text: Some(text.into()),
        ..JobFilter::default()
    };
    assert_eq!(listed(f, &all, 2).await, ["one", "three", "two"]);
    assert_eq!(listed(f, &text("NIGHT"), 1).await, ["one", "three"]);
    assert_eq!(listed(f, &text("tw"), 1).await, ["two"]);
    assert_eq!(listed(f, &text("_1"), 2).await, ["one"]);
    assert_eq!(listed(f, &text("0%"), 2).await, ["one"]);
    assert_eq!(
        listed(f, &text("%"), 2).await,
        ["one"],
        "a pattern's signs stand for themselves"
    );
    let kind = JobFilter {
        kind: Some(JobKind::Shell),
        ..all.clone()
    };
    assert_eq!(listed(f, &kind, 2).await, ["one"]);
    let owner = JobFilter {
        owner: Some("ann".into()),
        ..all.clone()
    };
    assert_eq!(listed(f, &owner, 2).await, ["one"]);
    let paused = |pause| JobFilter {
        pause: Some(pause),
        ..JobFilter::default()
    };
    assert_eq!(listed(f, &paused(PauseState::Paused), 2).await, ["three"]);
    assert_eq!(listed(f, &paused(PauseState::Active), 1).await, ["one", "two"]);
    let with = |pairs: &[(&str, &str)]| JobFilter {
        labels: labels(pairs),
        ..JobFilter::default()
    };
    assert_eq!(listed(f, &with(&[("team", "blue")]), 1).await, ["one", "two"]);
    assert_eq!(
        listed(f, &with(&[("team", "blue"), ("tier", "1")]), 2).await,
        ["one"]
    );
    assert!(listed(f, &with(&[("team", "red")]), 2).await.is_empty());
}
