use super::fixture::Fixture;

pub(super) async fn one_leads_at_a_time(f: &Fixture) {
    let one = f.leads(&f.one, "a").await;
    assert!(*one.held().borrow());
    f.never("a second leader", f.two.campaign("election", "b")).await;
}

pub(super) async fn the_next_leads_when_the_leader_goes(f: &Fixture) {
    let one = f.leads(&f.one, "a").await;
    let session = f.two.clone();
    let mut next = tokio::spawn(async move { session.campaign("election", "b").await });
    f.never("a second leader", &mut next).await;
    let first = one.token();
    drop(one);
    let second = f
        .soon("the next leader", next)
        .await
        .expect("no panic")
        .expect("campaign");
    assert!(second.token() > first, "epochs increase");
}

pub(super) async fn a_candidate_that_gave_up_never_leads(f: &Fixture) {
    let one = f.leads(&f.one, "a").await;
    f.never("a second leader", f.two.campaign("election", "b")).await;
    drop(one);
    let again = f.leads(&f.one, "a").await;
    assert!(*again.held().borrow(), "nobody stands before it");
}

pub(super) async fn elections_are_apart(f: &Fixture) {
    let _one = f.leads(&f.one, "a").await;
    let other = f
        .soon("another election's leader", f.two.campaign("other", "b"))
        .await;
    other.expect("campaign");
}

pub(super) async fn a_lost_session_loses_the_leadership(f: &Fixture) {
    let one = f.leads(&f.one, "a").await;
    if f.lose_one().await {
        f.is_lost(one.held()).await;
        let two = f.leads(&f.two, "b").await;
        assert!(two.token() > one.token(), "epochs increase");
    }
}
