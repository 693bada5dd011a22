use super::fixture::{Fixture, LONG};

pub(super) async fn a_lock_excludes(f: &Fixture) {
    let one = f.locks(&f.one, "l").await.expect("a free lock is got");
    assert!(f.locks(&f.two, "l").await.is_none(), "it isn't free");
    assert!(*one.held().borrow());
}

pub(super) async fn a_freed_lock_goes_to_who_waits(f: &Fixture) {
    let one = f.locks(&f.one, "l").await.expect("a free lock is got");
    let session = f.two.clone();
    let waiting = tokio::spawn(async move { session.lock("l", LONG).await });
    let first = one.token();
    drop(one);
    let two = f
        .soon("the lock", waiting)
        .await
        .expect("no panic")
        .expect("lock");
    assert!(two.expect("it was waited for").token() > first, "tokens increase");
}

pub(super) async fn a_wait_that_ended_takes_no_lock(f: &Fixture) {
    let one = f.locks(&f.one, "l").await.expect("a free lock is got");
    assert!(f.locks(&f.two, "l").await.is_none());
    drop(one);
    let again = f.soon("the lock", f.one.lock("l", LONG)).await;
    assert!(again.expect("lock").is_some());
}

pub(super) async fn locks_are_apart(f: &Fixture) {
    let _one = f.locks(&f.one, "l").await.expect("a free lock is got");
    assert!(f.locks(&f.two, "other").await.is_some());
}

pub(super) async fn a_lost_session_loses_its_locks(f: &Fixture) {
    let one = f.locks(&f.one, "l").await.expect("a free lock is got");
    if f.lose_one().await {
        f.is_lost(one.held()).await;
        let two = f.soon("the lock", f.two.lock("l", LONG)).await.expect("lock");
        assert!(
            two.expect("it was waited for").token() > one.token(),
            "tokens increase"
        );
    }
}
