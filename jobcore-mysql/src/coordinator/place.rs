//! What the clones of a coordinator and all that they hold share.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jobcore::clock::SystemClock;
use jobcore::coordinator::PutConfigOutcome;
use jobcore::{Error, ErrorKind, Result};
use tokio::sync::{Mutex, Notify, mpsc, oneshot, watch};

use super::hold::{Hold, Tried, session_lost};
use super::lease::EndSession;
use super::seat::Seat;
use super::session::Session;
use super::setting::PutConfig;
use super::watcher::{Request, Watcher};
use crate::BACKEND;
use crate::database::Database;

/// How many requests wait for the watcher; further ones wait before it.
const REQUESTS: usize = 64;

/// A node's place in the database.
pub(crate) struct Place {
    pub(crate) database: Arc<Database>,
    lease: Duration,
    pub(crate) clock: Arc<SystemClock>,
    /// The present session, once something was held.
    session: Mutex<Option<Arc<Session>>>,
    requests: mpsc::Sender<Request>,
    pub(crate) news: Arc<Notify>,
    closed: watch::Sender<bool>,
}

impl Place {
    pub(crate) fn new(database: Arc<Database>, lease: Duration) -> Arc<Self> {
        let (requests, received) = mpsc::channel(REQUESTS);
        let (news, closed) = (Arc::new(Notify::new()), watch::Sender::new(false));
        let watcher = Watcher::new(database.work(), received, Arc::clone(&news), closed.subscribe());
        database.spawn(watcher.run());
        Arc::new(Self {
            database,
            lease,
            clock: Arc::new(SystemClock::new()),
            session: Mutex::new(None),
            requests,
            news,
            closed,
        })
    }

    pub(crate) fn is_closed(&self) -> bool {
        *self.closed.borrow() || self.database.is_closed()
    }

    fn check(&self) -> Result<()> {
        if self.is_closed() { Err(closed()) } else { Ok(()) }
    }

    /// Tries once to take a seat; `None` if it is taken.
    pub(crate) async fn take(self: &Arc<Self>, seat: &Seat) -> Result<Option<Hold>> {
        // The second time with a session that is known to be new.
        for _ in 0..2 {
            let session = self.session().await?;
            let take = Hold::take(Arc::clone(self), Arc::clone(&session), seat.clone());
            match self.database.on_own_threads("acquire", take).await? {
                Tried::Held(hold) => return Ok(Some(hold)),
                Tried::Taken => return Ok(None),
                Tried::NoSession => session.end(),
            }
        }
        Err(session_lost())
    }

    /// The present session, opened if there is none.
    async fn session(&self) -> Result<Arc<Session>> {
        let mut present = self.session.lock().await;
        self.check()?;
        if let Some(session) = present.as_ref().filter(|session| session.is_alive()) {
            return Ok(Arc::clone(session));
        }
        let opened = Session::open(
            &self.database,
            self.lease,
            Arc::clone(&self.clock),
            Arc::clone(&self.news),
        );
        let session = opened.await?;
        *present = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Asks the watcher for something.
    pub(crate) async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T> {
        self.check()?;
        let (reply, answer) = oneshot::channel();
        let sent = self.requests.send(request(reply)).await;
        sent.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())
    }

    /// Writes a configuration value.
    pub(crate) async fn put(&self, request: PutConfig) -> Result<PutConfigOutcome> {
        self.check()?;
        let outcome = self.database.carry_out(request).await?;
        self.news.notify_one();
        Ok(outcome)
    }

    /// Gives up everything, and returns when others can have it.
    pub(crate) async fn close(&self) -> Result<()> {
        self.closed.send_replace(true);
        let Some(session) = self.session.lock().await.take() else {
            return Ok(());
        };
        session.end();
        self.database.carry_out(EndSession(session.id)).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(session) = self.session.get_mut().take() {
            session.end();
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place")
            .field("lease", &self.lease)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

pub(crate) fn closed() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the coordinator is closed; make a new one",
    )
    .backend(BACKEND)
}
