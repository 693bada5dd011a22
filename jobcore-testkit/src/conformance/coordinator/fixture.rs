//! What cases of coordinators have in common.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jobcore::coordinator::{Coordinator, Guard, Member};
use jobcore::json::Json;
use tokio::sync::watch;

use super::{CoordinatorPlace, CoordinatorUnderTest};

/// Longer than any case.
pub(crate) const LONG: Duration = Duration::from_secs(3_600);

pub(crate) struct Fixture {
    tested: CoordinatorUnderTest,
    pub(crate) one: Arc<dyn Coordinator>,
    pub(crate) two: Arc<dyn Coordinator>,
}

impl Fixture {
    pub(crate) async fn new(tested: CoordinatorUnderTest) -> Self {
        let one = tested.place.session().await;
        let two = tested.place.session().await;
        Self { tested, one, two }
    }

    pub(crate) fn place(&self) -> &dyn CoordinatorPlace {
        &*self.tested.place
    }

    /// Loses the first session; `false` if that can't be done here.
    pub(crate) async fn lose_one(&self) -> bool {
        let lost = self.place().lose(0).await;
        if !lost {
            eprintln!("skipped: this place can't lose a session");
        }
        lost
    }

    pub(crate) async fn soon<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        match tokio::time::timeout(self.place().patience(), future).await {
            Ok(value) => value,
            Err(_) => panic!("{what} should have come within {:?}", self.place().patience()),
        }
    }

    /// Waits for what must not come.
    pub(crate) async fn never<T>(&self, what: &str, future: impl Future<Output = T>) {
        let came = tokio::time::timeout(self.place().quiet(), future).await.is_ok();
        assert!(!came, "{what} should not have come");
    }

    /// Waits until the members are these.
    pub(crate) async fn members_are(&self, watch: &mut watch::Receiver<Vec<Member>>, ids: &[&str]) {
        let same = |members: &Vec<Member>| {
            let mut found: Vec<_> = members.iter().map(|member| member.id.as_str()).collect();
            found.sort_unstable();
            found == ids
        };
        self.becomes(&format!("the members {ids:?}"), watch, same).await;
    }

    /// Waits until a watched value is as it should be.
    pub(crate) async fn becomes<T>(
        &self,
        what: &str,
        watch: &mut watch::Receiver<T>,
        good: impl FnMut(&T) -> bool,
    ) {
        let found = self.soon(what, watch.wait_for(good)).await;
        drop(found.expect("the watch lives as long as its session"));
    }

    pub(crate) async fn leads(&self, session: &Arc<dyn Coordinator>, name: &str) -> Box<dyn Guard> {
        let guard = self
            .soon("the leadership", session.campaign("election", name))
            .await;
        guard.expect("campaign")
    }

    pub(crate) async fn locks(&self, session: &Arc<dyn Coordinator>, name: &str) -> Option<Box<dyn Guard>> {
        session.lock(name, self.place().quiet()).await.expect("lock")
    }

    /// Waits until a guard is lost. A closed channel is as good a sign.
    pub(crate) async fn is_lost(&self, mut held: watch::Receiver<bool>) {
        drop(
            self.soon("the news of the loss", held.wait_for(|held| !held))
                .await,
        );
    }
}

pub(crate) fn member(id: &str) -> Member {
    Member {
        id: id.to_owned(),
        data: json(r#"{"port":7}"#),
    }
}

pub(crate) fn json(text: &str) -> Json {
    Json::parse(text).expect("JSON")
}
