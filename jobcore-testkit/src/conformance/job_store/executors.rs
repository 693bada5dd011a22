//! Executors: joining, leaving, and orders of people.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use jobcore::json::Json;
use jobcore::lease::{Holder, Incarnation};
use jobcore::store::{
    ClaimOutcome, ExecutorFilter, ExecutorRecord, ExecutorStatus, HeartbeatOutcome, Held, JoinKey, Reach,
    RegisterExecutor, SetExecutorStatus, SetExecutorStatusOutcome,
};

use crate::conformance::fixture::{Fixture, LEASE, executor_id, registration};

pub(super) async fn set(f: &Fixture, change: SetExecutorStatus) -> SetExecutorStatusOutcome {
    f.store
        .set_executor_status(change)
        .await
        .expect("set_executor_status")
}

async fn claim(f: &Fixture, holder: &Holder) -> ClaimOutcome {
    f.store.claim(f.claim_request(holder, 1)).await.expect("claim")
}

pub(super) async fn an_executor_that_joins_is_online(f: &Fixture) {
    let mut registration = registration("n");
    registration.port = 8_080;
    registration.reach = Reach::Remote;
    registration.profile.labels = BTreeMap::from([("zone".to_owned(), "eu".to_owned())]);
    registration.address = Some(Json::parse(r#"{"partition":3}"#).expect("JSON"));
    let answer = f
        .store
        .register_executor(registration.clone())
        .await
        .expect("register_executor");
    assert!(answer.now >= f.start);
    let record = f.executor("n").await;
    let expected = ExecutorRecord {
        executor_id: executor_id("n"),
        incarnation: answer.incarnation,
        host: registration.host,
        port: 8_080,
        status: ExecutorStatus::Online,
        profile: registration.profile,
        reach: Reach::Remote,
        address: registration.address,
        lease_duration: LEASE,
        last_heartbeat_time: answer.now,
        register_time: answer.now,
        resources: None,
    };
    assert_eq!(record, expected);
}

pub(super) async fn each_registration_is_a_higher_incarnation(f: &Fixture) {
    let first = f.node("n").await;
    let second = f.node("n").await;
    assert_eq!(
        set(f, SetExecutorStatus::Leave(second.clone())).await,
        SetExecutorStatusOutcome::Set
    );
    let third = f.node("n").await;
    f.kill(&[&third]).await;
    let fourth = f.node("n").await;
    let numbers = [first, second, third, fourth].map(|holder| holder.incarnation);
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    let record = f.executor("n").await;
    assert_eq!(
        (record.incarnation, record.status),
        (numbers[3], ExecutorStatus::Online)
    );
}

pub(super) async fn concurrent_registrations_get_incarnations_of_their_own(f: &Fixture) {
    let joins = (0..16).map(|_| {
        let (store, registration) = (Arc::clone(&f.store), registration("n"));
        tokio::spawn(async move {
            store
                .register_executor(registration)
                .await
                .expect("register_executor")
        })
    });
    let answers = join_all(joins).await;
    let mut numbers: Vec<Incarnation> = answers
        .into_iter()
        .map(|answer| answer.expect("no registration panics").incarnation)
        .collect();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 16);
    assert_eq!(f.executor("n").await.incarnation, numbers[15]);
}

pub(super) async fn a_new_incarnation_supersedes_the_old_one_at_once(f: &Fixture) {
    f.job().await;
    f.insert_some(&["t"]).await;
    let old = f.node("n").await;
    let new = f.node("n").await;
    let outcome = f.beat(&old, Held::Leases(Vec::new())).await;
    assert_eq!(outcome, HeartbeatOutcome::Superseded);
    assert_eq!(claim(f, &old).await, ClaimOutcome::NotAlive);
    let outcome = f.beat(&new, Held::Leases(Vec::new())).await;
    assert!(matches!(outcome, HeartbeatOutcome::Alive(_)));
    assert!(matches!(claim(f, &new).await, ClaimOutcome::Claimed(_)));
}

pub(super) async fn a_disabled_executor_stays_disabled(f: &Fixture) {
    f.job().await;
    f.insert_some(&["t"]).await;
    f.node("n").await;
    assert_eq!(
        set(f, SetExecutorStatus::Disable(executor_id("n"))).await,
        SetExecutorStatusOutcome::Set
    );
    let second = f.node("n").await;
    assert_eq!(f.executor("n").await.status, ExecutorStatus::Disabled);
    assert_eq!(claim(f, &second).await, ClaimOutcome::NotTaking);
    let _ = set(f, SetExecutorStatus::Leave(second)).await;
    let third = f.node("n").await;
    assert_eq!(
        f.executor("n").await.status,
        ExecutorStatus::Disabled,
        "after it left"
    );
    f.kill(&[&third]).await;
    let fourth = f.node("n").await;
    assert_eq!(
        f.executor("n").await.status,
        ExecutorStatus::Disabled,
        "after it was declared dead"
    );
    assert_eq!(claim(f, &fourth).await, ClaimOutcome::NotTaking);
}

pub(super) async fn an_enabled_executor_takes_tasks_again(f: &Fixture) {
    f.job().await;
    f.insert_some(&["t"]).await;
    let node = f.node("n").await;
    let _ = set(f, SetExecutorStatus::Disable(executor_id("n"))).await;
    assert_eq!(
        set(f, SetExecutorStatus::Enable(executor_id("n"))).await,
        SetExecutorStatusOutcome::Set
    );
    assert_eq!(f.executor("n").await.status, ExecutorStatus::Online);
    assert!(matches!(claim(f, &node).await, ClaimOutcome::Claimed(_)));
}

pub(super) async fn an_executor_that_left_is_offline(f: &Fixture) {
    f.job().await;
    f.insert_some(&["t"]).await;
    let old = f.node("n").await;
    let new = f.node("n").await;
    assert_eq!(
        set(f, SetExecutorStatus::Leave(old)).await,
        SetExecutorStatusOutcome::NotFound
    );
    assert_eq!(f.executor("n").await.status, ExecutorStatus::Online);
    assert_eq!(
        set(f, SetExecutorStatus::Leave(new.clone())).await,
        SetExecutorStatusOutcome::Set
    );
    assert_eq!(f.executor("n").await.status, ExecutorStatus::Offline);
    assert_eq!(claim(f, &new).await, ClaimOutcome::NotAlive);
}

pub(super) async fn the_status_of_an_unknown_executor_is_not_set(f: &Fixture) {
    let id = executor_id("n");
    let holder = Holder {
        executor_id: id.clone(),
        incarnation: Incarnation(1),
    };
    let changes = [
        SetExecutorStatus::Disable(id.clone()),
        SetExecutorStatus::Enable(id.clone()),
        SetExecutorStatus::Drain(id),
        SetExecutorStatus::Leave(holder),
    ];
    for change in changes {
        assert_eq!(set(f, change).await, SetExecutorStatusOutcome::NotFound);
    }
}

pub(super) async fn executors_are_listed_by_id_and_filter(f: &Fixture) {
    for (id, group) in [("c", "gpu"), ("a", "default"), ("b", "gpu")] {
        let mut registration: RegisterExecutor = registration(id);
        registration.profile.group = group.into();
        f.register(registration).await;
    }
    let _ = set(f, SetExecutorStatus::Disable(executor_id("b"))).await;
    let listed = async |filter: ExecutorFilter| -> Vec<String> {
        let records = f.store.list_executors(&filter).await.expect("list_executors");
        records
            .iter()
            .map(|record| record.executor_id.to_string())
            .collect()
    };
    let all = ExecutorFilter::default();
    assert_eq!(listed(all.clone()).await, ["a", "b", "c"]);
    let group = ExecutorFilter {
        group: Some("gpu".into()),
        ..all.clone()
    };
    assert_eq!(listed(group.clone()).await, ["b", "c"]);
    let status = ExecutorFilter {
        status: Some(ExecutorStatus::Online),
        ..group
    };
    assert_eq!(listed(status).await, ["c"]);
    let id = ExecutorFilter {
        executor_id: Some(executor_id("a")),
        ..all
    };
    assert_eq!(listed(id).await, ["a"]);
}

/// Joins as the process `nonce` that had the incarnation `previous` before: the incarnation it gets.
async fn join(f: &Fixture, nonce: u64, previous: Option<u64>) -> u64 {
    let previous = previous.map(Incarnation);
    let registration = RegisterExecutor {
        reach: Reach::Remote,
        join: Some(JoinKey { nonce, previous }),
        ..registration("n")
    };
    let answer = f.store.register_executor(registration).await;
    answer.expect("register_executor").incarnation.0
}

pub(super) async fn a_repeated_join_changes_nothing(f: &Fixture) {
    let first = join(f, 7, None).await;
    assert_eq!(join(f, 7, None).await, first, "two schedulers saw it");
    let second = join(f, 7, Some(first)).await;
    assert_eq!(join(f, 7, Some(first)).await, second, "the transport repeated it");
    assert_eq!(join(f, 7, None).await, second, "and the one before it");
    let holder = Holder {
        executor_id: executor_id("n"),
        incarnation: Incarnation(second),
    };
    let beat = f.beat(&holder, Held::Tasks(Vec::new())).await;
    assert!(
        matches!(beat, HeartbeatOutcome::Alive(_)),
        "it is still the newest: {beat:?}"
    );
}

pub(super) async fn a_join_that_is_not_repeated_is_a_new_incarnation(f: &Fixture) {
    let first = join(f, 7, None).await;
    let again = join(f, 7, Some(first)).await;
    assert!(again > first, "it was declared dead, and knows");
    let other = join(f, u64::MAX, None).await;
    assert!(other > again, "another process");
    let without = f.register(registration("n")).await.incarnation.0;
    assert!(without > other, "one that doesn't say");
    assert!(
        join(f, u64::MAX, None).await > without,
        "its nonce isn't that of the newest any more"
    );
}
