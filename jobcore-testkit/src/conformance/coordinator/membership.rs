use jobcore::ErrorKind;

use super::fixture::{Fixture, member};

pub(super) async fn members_are_seen_by_all(f: &Fixture) {
    let mut early = f.two.members("g").await.expect("members");
    let _one = f.one.join("g", member("a")).await.expect("join");
    let _two = f.two.join("g", member("b")).await.expect("join");
    f.members_are(&mut early, &["a", "b"]).await;
    let mut late = f.one.members("g").await.expect("members");
    f.members_are(&mut late, &["a", "b"]).await;
    assert!(
        late.borrow().contains(&member("a")),
        "a member comes with its data"
    );
}

pub(super) async fn a_member_that_goes_is_gone(f: &Fixture) {
    let one = f.one.join("g", member("a")).await.expect("join");
    let _two = f.two.join("g", member("b")).await.expect("join");
    let mut members = f.two.members("g").await.expect("members");
    f.members_are(&mut members, &["a", "b"]).await;
    drop(one);
    f.members_are(&mut members, &["b"]).await;
}

pub(super) async fn groups_are_apart(f: &Fixture) {
    let _one = f.one.join("g", member("a")).await.expect("join");
    let _two = f.two.join("other", member("b")).await.expect("join");
    let mut members = f.two.members("g").await.expect("members");
    f.members_are(&mut members, &["a"]).await;
}

pub(super) async fn an_id_is_taken_once(f: &Fixture) {
    let one = f.one.join("g", member("a")).await.expect("join");
    match f.two.join("g", member("a")).await {
        Ok(_) => panic!("a second member with the same id should be refused"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists),
    }
    drop(one);
    let again = async {
        while f.two.join("g", member("a")).await.is_err() {
            tokio::time::sleep(f.place().quiet()).await;
        }
    };
    f.soon("the freed id", again).await;
}

pub(super) async fn a_lost_session_loses_its_members(f: &Fixture) {
    let one = f.one.join("g", member("a")).await.expect("join");
    let mut members = f.two.members("g").await.expect("members");
    f.members_are(&mut members, &["a"]).await;
    if f.lose_one().await {
        f.members_are(&mut members, &[]).await;
        f.is_lost(one.held()).await;
    }
}
