use jobcore::coordinator::{ConfigValue, PutConfigOutcome};

use super::fixture::{Fixture, json};

async fn put(f: &Fixture, text: Option<&str>, expected: Option<u64>) -> PutConfigOutcome {
    let outcome = f.one.put_config("k", text.map(json), expected).await;
    outcome.expect("put_config")
}

async fn written(f: &Fixture, text: &str, expected: Option<u64>) -> u64 {
    match put(f, Some(text), expected).await {
        PutConfigOutcome::Written { version } => version,
        other => panic!("it should have been written: {other:?}"),
    }
}

const fn conflict(current: Option<u64>) -> PutConfigOutcome {
    PutConfigOutcome::Conflict { current }
}

pub(super) async fn an_unset_value_is_none(f: &Fixture) {
    let watch = f.one.watch_config("k").await.expect("watch_config");
    assert_eq!(*watch.borrow(), None);
    assert_eq!(put(f, Some("1"), Some(1)).await, conflict(None));
    assert_eq!(put(f, None, Some(1)).await, conflict(None));
}

pub(super) async fn a_value_reaches_those_who_watch(f: &Fixture) {
    let mut early = f.two.watch_config("k").await.expect("watch_config");
    let version = written(f, r#"{"a":1}"#, None).await;
    let value = json(r#"{"a":1}"#);
    let expected = Some(ConfigValue { value, version });
    f.becomes("the value", &mut early, |value| *value == expected)
        .await;
    let mut late = f.one.watch_config("k").await.expect("watch_config");
    f.becomes("the value", &mut late, |value| *value == expected)
        .await;
}

pub(super) async fn a_stale_write_changes_nothing(f: &Fixture) {
    let first = written(f, "1", None).await;
    assert_eq!(put(f, Some("2"), None).await, conflict(Some(first)));
    let second = written(f, "2", Some(first)).await;
    assert!(second > first);
    assert_eq!(put(f, Some("3"), Some(first)).await, conflict(Some(second)));
    assert_eq!(put(f, None, Some(first)).await, conflict(Some(second)));
}

pub(super) async fn a_removed_value_is_none(f: &Fixture) {
    let mut watch = f.two.watch_config("k").await.expect("watch_config");
    let version = written(f, "1", None).await;
    f.becomes("the value", &mut watch, Option::is_some).await;
    assert_eq!(put(f, None, Some(version)).await, PutConfigOutcome::Removed);
    f.becomes("the removal", &mut watch, Option::is_none).await;
}

pub(super) async fn one_of_many_concurrent_writes_wins(f: &Fixture) {
    let version = written(f, "0", None).await;
    let writes = (0..16).map(|n| {
        let session = if n % 2 == 0 { f.one.clone() } else { f.two.clone() };
        tokio::spawn(async move {
            session
                .put_config("k", Some(json(&n.to_string())), Some(version))
                .await
        })
    });
    let mut won = 0;
    for write in writes.collect::<Vec<_>>() {
        let outcome = write.await.expect("no panic").expect("put_config");
        won += usize::from(matches!(outcome, PutConfigOutcome::Written { .. }));
    }
    assert_eq!(won, 1);
}
