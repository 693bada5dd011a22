//! Versioned records.

use std::sync::Arc;

use futures_util::future::join_all;
use jobcore::json::Json;
use jobcore::store::{Expected, PutRecord, PutRecordOutcome, Record};

use crate::conformance::fixture::{Fixture, one, pages};

fn write(f: &Fixture, key: &str, value: Option<i64>, expected: Expected) -> PutRecord {
    PutRecord {
        namespace: "setting".into(),
        key: key.into(),
        value: value.map(json),
        expected,
        now: f.at(1),
    }
}

fn json(number: i64) -> Json {
    Json::encode(&number).expect("a number")
}

async fn put(f: &Fixture, put: PutRecord) -> PutRecordOutcome {
    one(f.store.put_records(vec![put]).await.expect("put_records"))
}

async fn get(f: &Fixture, key: &str) -> Option<Record> {
    f.store.get_record("setting", key).await.expect("get_record")
}

fn written(version: u64) -> PutRecordOutcome {
    PutRecordOutcome::Written { version }
}

fn conflict(current: Option<u64>) -> PutRecordOutcome {
    PutRecordOutcome::VersionConflict { current }
}

pub(super) async fn a_record_is_written_and_read(f: &Fixture) {
    assert_eq!(get(f, "a").await, None);
    assert_eq!(put(f, write(f, "a", Some(1), Expected::Absent)).await, written(1));
    let record = Record {
        namespace: "setting".into(),
        key: "a".into(),
        value: json(1),
        version: 1,
        update_time: f.at(1),
    };
    assert_eq!(get(f, "a").await, Some(record));
    assert_eq!(f.store.get_record("other", "a").await.expect("get_record"), None);
}

pub(super) async fn a_record_is_replaced_under_its_version(f: &Fixture) {
    assert_eq!(put(f, write(f, "a", Some(1), Expected::Any)).await, written(1));
    assert_eq!(
        put(f, write(f, "a", Some(2), Expected::Version(1))).await,
        written(2)
    );
    let later = PutRecord {
        now: f.at(9),
        ..write(f, "a", Some(3), Expected::Any)
    };
    assert_eq!(put(f, later).await, written(3));
    let record = get(f, "a").await.expect("it exists");
    assert_eq!(
        (record.value, record.version, record.update_time),
        (json(3), 3, f.at(9))
    );
}

pub(super) async fn a_stale_write_of_a_record_is_refused(f: &Fixture) {
    let _ = put(f, write(f, "a", Some(1), Expected::Any)).await;
    let _ = put(f, write(f, "a", Some(2), Expected::Any)).await;
    let before = get(f, "a").await;
    let batch = vec![
        write(f, "a", Some(7), Expected::Absent),
        write(f, "a", Some(7), Expected::Version(1)),
        write(f, "a", None, Expected::Version(3)),
        write(f, "b", Some(1), Expected::Absent),
    ];
    let outcomes = f.store.put_records(batch).await.expect("put_records");
    assert_eq!(
        outcomes,
        [
            conflict(Some(2)),
            conflict(Some(2)),
            conflict(Some(2)),
            written(1)
        ]
    );
    assert_eq!(get(f, "a").await, before);
}

pub(super) async fn a_missing_record_has_no_version(f: &Fixture) {
    assert_eq!(
        put(f, write(f, "a", Some(1), Expected::Version(1))).await,
        conflict(None)
    );
    assert_eq!(
        put(f, write(f, "a", None, Expected::Version(1))).await,
        conflict(None)
    );
    assert_eq!(get(f, "a").await, None);
}

pub(super) async fn a_record_is_deleted(f: &Fixture) {
    let _ = put(f, write(f, "a", Some(1), Expected::Any)).await;
    assert_eq!(
        put(f, write(f, "a", None, Expected::Version(1))).await,
        PutRecordOutcome::Deleted
    );
    assert_eq!(get(f, "a").await, None);
    assert_eq!(
        put(f, write(f, "a", None, Expected::Any)).await,
        PutRecordOutcome::Deleted
    );
    assert!(matches!(
        put(f, write(f, "a", Some(2), Expected::Absent)).await,
        PutRecordOutcome::Written { .. }
    ));
}

pub(super) async fn records_of_a_namespace_are_listed_by_key(f: &Fixture) {
    for key in ["b", "a", "d", "B", "c c"] {
        let _ = put(f, write(f, key, Some(1), Expected::Absent)).await;
    }
    let other = PutRecord {
        namespace: "other".into(),
        ..write(f, "x", Some(1), Expected::Absent)
    };
    let _ = put(f, other).await;
    for limit in [1, 2, 5, 10] {
        let records = pages!(limit, |page| f.store.list_records("setting", &page));
        let keys: Vec<String> = records.into_iter().map(|record| record.key).collect();
        assert_eq!(keys, ["B", "a", "b", "c c", "d"], "in pages of {limit}");
    }
}

pub(super) async fn one_of_many_concurrent_writes_of_a_record_wins(f: &Fixture) {
    let _ = put(f, write(f, "a", Some(0), Expected::Any)).await;
    let writes = (1..=16).map(|n| {
        let (store, write) = (Arc::clone(&f.store), write(f, "a", Some(n), Expected::Version(1)));
        tokio::spawn(async move { one(store.put_records(vec![write]).await.expect("put_records")) })
    });
    let outcomes = join_all(writes).await;
    let wins = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Ok(outcome) if *outcome == written(2)));
    assert_eq!(wins.count(), 1);
    assert_eq!(get(f, "a").await.expect("it exists").version, 2);
}
