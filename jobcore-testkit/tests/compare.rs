//! The comparison finds nothing between two in-memory stores, and finds a store that errs.

use std::sync::Arc;

use jobcore::memory::MemoryStore;
use jobcore_testkit::clock::ManualClock;
use jobcore_testkit::compare;
use jobcore_testkit::conformance::StoreUnderTest;
use jobcore_testkit::faulty::{FaultPlan, Faults, Faulty};

fn memory() -> (Arc<ManualClock>, MemoryStore) {
    let clock = Arc::new(ManualClock::default());
    let store = MemoryStore::new(Arc::clone(&clock) as _);
    (clock, store)
}

async fn fresh() -> StoreUnderTest {
    let (clock, store) = memory();
    StoreUnderTest::new(Arc::new(store)).with_clock(clock)
}

#[tokio::test]
async fn two_memory_stores_are_the_same() {
    let compared = compare::run(0..20, 300, fresh).await;
    let compared = compared.unwrap_or_else(|difference| panic!("{difference}"));
    assert!(compared.operations > 0);
}

#[tokio::test]
async fn a_store_that_errs_is_found_in_few_operations() {
    let erring = || async {
        let (clock, store) = memory();
        let plan = FaultPlan {
            lost: 0.01,
            ..FaultPlan::default()
        };
        let faults = Faults::new(3, Arc::clone(&clock) as _).with_plan(plan);
        StoreUnderTest::new(Arc::new(Faulty::new(Arc::new(store), Arc::new(faults)))).with_clock(clock)
    };
    let difference = compare::run(0..20, 300, erring).await.unwrap_err();
    assert!(difference.what.contains("indeterminate"), "{difference}");
    assert!(difference.shortest.len() <= difference.operations);
}
