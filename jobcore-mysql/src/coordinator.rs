//! [`MySqlCoordinator`]: membership, election, locks and configuration in the store's database.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jobcore::clock::Clock as _;
use jobcore::coordinator::{ConfigValue, Coordinator, Guard, Member, PutConfigOutcome};
use jobcore::json::Json;
use jobcore::{Error, ErrorKind, Result, Timestamp};
use tokio::sync::watch;

use crate::BACKEND;
use crate::database::Database;

mod acquire;
mod hold;
mod keeper;
mod lease;
mod lines;
mod pace;
mod place;
mod releaser;
mod revision;
mod seat;
mod session;
mod setting;
mod subjects;
mod view;
mod watcher;

use hold::Hold;
use pace::Pace;
use place::Place;
use seat::Seat;
use setting::PutConfig;
use watcher::Request;

/// How long a seat is left alone after a try that failed.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(2);

/// A node among those that share a database, which is all that they need. Cloning it gives the same node. Made by
/// [`MySqlStore::coordinator`](crate::MySqlStore::coordinator), on whose threads and connections it works.
///
/// - **Sessions.** What a node holds lasts as long as its session, which it renews five times within the
///   [lease](crate::MySqlConfig::session); the database's clock judges. The node itself counts from when it sent the
///   latest renewal that was answered, and gives everything up after four fifths of the lease: before another can have
///   it, if no clock is set forward by more than the rest. The next call begins a new session.
/// - **Tokens** grow with every change of the database, so that none comes again, whatever was released, deleted, expired
///   or restarted. Only a fail-over to a server that lacks the latest changes can repeat them.
/// - **Watching** takes one small statement for all that a node watches and waits for: every 50 ms after a change, every
///   second while nothing happens, none if nothing is watched. What the node itself changes it sees at once.
/// - **Failures.** Campaigns, locks that are waited for, and watches go on while the server is away. `members` and
///   `watch_config` fail if their first value can't be read.
/// - **Order.** On one node who waits first is served first; among nodes nobody stands in a line.
/// - **Names** of groups, elections, locks and keys, and ids of members, have at most 255 bytes.
///
/// Dropped guards are given up in the background. When the coordinator and its last guard are dropped, so is the session;
/// [`close`](Self::close) waits for it, which a node that ends should do: else others wait until the session has expired.
#[derive(Clone, Debug)]
pub struct MySqlCoordinator {
    place: Arc<Place>,
}

impl MySqlCoordinator {
    pub(crate) fn new(database: Arc<Database>, lease: Duration) -> Self {
        Self {
            place: Place::new(database, lease),
        }
    }

    /// Gives up everything that this node holds, ends its watches, and returns when others can have what it held. Later
    /// calls fail.
    ///
    /// # Errors
    /// Those of the server: what was held is lost here all the same, and given up there in the background or when the
    /// session expires.
    pub async fn close(&self) -> Result<()> {
        self.place.close().await
    }

    /// Waits until the seat is taken for this node, at most until `end`.
    async fn wait(&self, seat: Seat, end: Option<Timestamp>) -> Result<Option<Hold>> {
        let mut retries = Pace::new(FIRST_REST, LONGEST_REST);
        loop {
            match self.place.take(&seat).await {
                Ok(Some(hold)) => return Ok(Some(hold)),
                Ok(None) => {
                    retries.quicken();
                    if !self.free(&seat, end).await? {
                        return Ok(None);
                    }
                }
                Err(error) if self.place.is_closed() || !passes(&error) => return Err(error),
                Err(error) => {
                    tracing::debug!(name = seat.name, %error, "not tried; trying again");
                    let next = self.place.clock.now() + retries.rest();
                    if end.is_some_and(|end| end < next) {
                        return Err(error);
                    }
                    self.place.clock.sleep_until(next).await;
                }
            }
        }
    }

    /// Waits until nobody has the seat; `false` if that didn't come by `end`.
    async fn free(&self, seat: &Seat, end: Option<Timestamp>) -> Result<bool> {
        let free = self
            .place
            .ask(|reply| Request::Free(seat.kind, seat.name.clone(), reply));
        let Some(end) = end else {
            return free.await.map(|()| true);
        };
        tokio::select! {
            biased;
            free = free => free.map(|()| true),
            () = self.place.clock.sleep_until(end) => Ok(false),
        }
    }
}

/// Whether the same call may succeed later. What a lost answer leaves behind is given up in the background.
fn passes(error: &Error) -> bool {
    error.is_retryable() || error.is_indeterminate()
}

#[async_trait]
impl Coordinator for MySqlCoordinator {
    fn name(&self) -> &'static str {
        BACKEND
    }

    async fn join(&self, group: &str, member: Member) -> Result<Box<dyn Guard>> {
        let seat = Seat::member(group, &member)?;
        match self.place.take(&seat).await? {
            Some(hold) => Ok(Box::new(hold)),
            None => {
                let message = format!("{} is a member of {group} already", member.id);
                Err(Error::new(ErrorKind::AlreadyExists, message)
                    .backend(BACKEND)
                    .operation("join"))
            }
        }
    }

    async fn members(&self, group: &str) -> Result<watch::Receiver<Vec<Member>>> {
        seat::check_name("group", group)?;
        self.place
            .ask(|reply| Request::Group(group.to_owned(), reply))
            .await?
    }

    async fn campaign(&self, election: &str, candidate: &str) -> Result<Box<dyn Guard>> {
        match self.wait(Seat::leader(election, candidate)?, None).await? {
            Some(hold) => Ok(Box::new(hold)),
            None => Err(place::closed()), // only an end that comes ends the wait
        }
    }

    async fn lock(&self, name: &str, wait: Duration) -> Result<Option<Box<dyn Guard>>> {
        let end = self.place.clock.now() + wait;
        let hold = self.wait(Seat::lock(name)?, Some(end)).await?;
        Ok(hold.map(|hold| Box::new(hold) as Box<dyn Guard>))
    }

    async fn watch_config(&self, key: &str) -> Result<watch::Receiver<Option<ConfigValue>>> {
        seat::check_name("key", key)?;
        self.place
            .ask(|reply| Request::Key(key.to_owned(), reply))
            .await?
    }

    async fn put_config(
        &self,
        key: &str,
        value: Option<Json>,
        expected: Option<u64>,
    ) -> Result<PutConfigOutcome> {
        seat::check_name("key", key)?;
        let request = PutConfig {
            key: key.to_owned(),
            value,
            expected,
        };
        self.place.put(request).await
    }
}
