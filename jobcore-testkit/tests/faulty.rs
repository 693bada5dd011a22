//! What each fault on purpose does, and that without any the wrapper changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jobcore::clock::Clock;
use jobcore::memory::MemoryStore;
use jobcore::store::{Expected, JobStore, PutRecord, Store};
use jobcore::{ErrorKind, Result};
use jobcore_testkit::clock::ManualClock;
use jobcore_testkit::conformance::StoreUnderTest;
use jobcore_testkit::conformance::store::{cases, run_all};
use jobcore_testkit::faulty::{FaultKind, FaultPlan, Faults, Faulty};

struct Setup {
    clock: Arc<ManualClock>,
    store: Arc<dyn Store>,
    faulty: Faulty<dyn Store>,
}

fn setup(seed: u64, plan: FaultPlan) -> Setup {
    let clock = Arc::new(ManualClock::default());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Arc::clone(&clock) as _));
    let faults = Arc::new(Faults::new(seed, Arc::clone(&clock) as _).with_plan(plan));
    let faulty = Faulty::new(Arc::clone(&store), faults);
    Setup { clock, store, faulty }
}

/// Writes a record through the faults: how that failed.
async fn write(setup: &Setup) -> Option<ErrorKind> {
    let record = PutRecord {
        namespace: "n".into(),
        key: "k".into(),
        value: Some(jobcore::json::Json::NULL),
        expected: Expected::Any,
        now: setup.clock.now(),
    };
    let outcome: Result<Vec<_>> = setup.faulty.put_records(vec![record]).await;
    outcome.err().map(|error| error.kind())
}

/// How often the record was written.
async fn version(setup: &Setup) -> u64 {
    let record = setup.store.get_record("n", "k").await.expect("get_record");
    record.map_or(0, |record| record.version)
}

fn only(set: impl FnOnce(&mut FaultPlan)) -> FaultPlan {
    let mut plan = FaultPlan::default();
    set(&mut plan);
    plan
}

#[tokio::test(flavor = "multi_thread")]
async fn without_faults_it_passes_every_case() {
    let fresh = || async {
        let setup = setup(1, FaultPlan::default());
        StoreUnderTest::new(Arc::new(setup.faulty)).with_clock(setup.clock)
    };
    let report = run_all(fresh).await;
    assert!(report.is_success(), "{report}");
    assert_eq!(report.passed.len(), cases().count());
}

#[tokio::test]
async fn refused_and_lost_calls_change_nothing() {
    for (plan, kind) in [
        (only(|plan| plan.refused = 1.0), ErrorKind::Unavailable),
        (only(|plan| plan.lost = 1.0), ErrorKind::Indeterminate),
    ] {
        let setup = setup(1, plan);
        assert_eq!((write(&setup).await, version(&setup).await), (Some(kind), 0));
    }
}

#[tokio::test]
async fn an_unanswered_call_took_effect() {
    let setup = setup(1, only(|plan| plan.unanswered = 1.0));
    assert_eq!(write(&setup).await, Some(ErrorKind::Indeterminate));
    assert_eq!(version(&setup).await, 1);
}

#[tokio::test]
async fn a_late_call_takes_effect_later() {
    let plan = FaultPlan {
        late: 1.0,
        longest_delay: Duration::from_secs(10),
        ..FaultPlan::default()
    };
    let setup = setup(1, plan);
    assert_eq!(write(&setup).await, Some(ErrorKind::Indeterminate));
    tokio::task::yield_now().await;
    assert_eq!(version(&setup).await, 0);
    setup.clock.advance(Duration::from_secs(10));
    while version(&setup).await == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_delayed_call_waits_by_the_clock() {
    let plan = FaultPlan {
        delayed: 1.0,
        longest_delay: Duration::from_secs(10),
        ..FaultPlan::default()
    };
    let setup = setup(1, plan);
    let clock = Arc::clone(&setup.clock);
    let advance = async {
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(10));
    };
    let (outcome, ()) = tokio::join!(
        async {
            let outcome = write(&setup).await;
            (outcome, setup.clock.now())
        },
        advance
    );
    assert_eq!(outcome, (None, clock.now()));
}

#[tokio::test]
async fn a_dropped_call_is_whole_or_absent() {
    let setup = setup(1, only(|plan| plan.dropped = 1.0));
    for _ in 0..50 {
        assert_eq!(write(&setup).await, Some(ErrorKind::Indeterminate));
    }
    let version = version(&setup).await;
    assert!((1..50).contains(&version), "{version} of 50 took effect");
}

#[tokio::test]
async fn reads_are_never_indeterminate() {
    let setup = setup(
        1,
        FaultPlan {
            delayed: 0.0,
            ..FaultPlan::all(0.5)
        },
    );
    for _ in 0..100 {
        if let Err(error) = setup.faulty.get_jobs(&[]).await {
            assert_eq!(error.kind(), ErrorKind::Unavailable);
        }
    }
}

async fn counts(seed: u64) -> BTreeMap<FaultKind, u64> {
    let setup = setup(
        seed,
        FaultPlan {
            longest_delay: Duration::ZERO,
            ..FaultPlan::all(0.1)
        },
    );
    for _ in 0..200 {
        write(&setup).await;
    }
    setup.faulty.faults().counts()
}

#[tokio::test]
async fn a_seed_repeats_its_faults() {
    let first = counts(5).await;
    assert_eq!(first.len(), 6, "each kind happened: {first:?}");
    assert_eq!(first, counts(5).await);
    assert_ne!(first, counts(6).await);
}
