//! The store's own clock.

use crate::conformance::fixture::Fixture;

pub(super) async fn the_store_has_a_name(f: &Fixture) {
    assert!(!f.store.name().is_empty());
}

pub(super) async fn the_clock_never_goes_backwards(f: &Fixture) {
    let mut last = f.start;
    for _ in 0..100 {
        let now = f.store.now().await.expect("now");
        assert!(now >= last, "{now} is before {last}");
        last = now;
    }
}

pub(super) async fn the_clock_is_the_injected_one(f: &Fixture) {
    f.pass(std::time::Duration::from_millis(20)).await;
    let now = f.store.now().await.expect("now");
    assert!(now >= f.start + std::time::Duration::from_millis(20));
    if let Some(clock) = f.set_clock() {
        assert_eq!(now, clock);
    }
}
