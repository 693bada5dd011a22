//! A session: what this node holds, and until when it may believe so.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jobcore::clock::{Clock as _, SystemClock};
use jobcore::{Error, ErrorKind, Result, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::keeper;
use super::lease::OpenSession;
use super::releaser;
use crate::BACKEND;
use crate::database::{Database, Work};

/// How many holds a session has at the most, those included that are being given up.
const MAX_HOLDS: usize = 10_000;

/// What a node holds. It ends when it is lost or closed, and never comes back.
pub(crate) struct Session {
    pub(crate) id: i64,
    pub(crate) lease: Duration,
    /// The holder's own, which only has to run as fast as the server's.
    pub(crate) clock: Arc<SystemClock>,
    pub(crate) work: Work,
    /// Tells the watcher that this node changed something.
    pub(crate) news: Arc<Notify>,
    state: Mutex<State>,
    leaving: Notify,
    over: watch::Sender<bool>,
}

struct State {
    /// When it is lost, unless it is renewed before.
    deadline: Timestamp,
    last_ticket: i64,
    held: HashMap<i64, watch::Sender<bool>>,
    /// Given up here, not yet in the database.
    leaving: Vec<i64>,
}

impl Session {
    /// Opens one, and keeps it until it is [over](Self::end).
    pub(crate) async fn open(
        database: &Database,
        lease: Duration,
        clock: Arc<SystemClock>,
        news: Arc<Notify>,
    ) -> Result<Arc<Self>> {
        let sent = clock.now();
        let id = database.carry_out(OpenSession(lease)).await?;
        let session = Arc::new(Self {
            id,
            lease,
            clock,
            work: database.work(),
            news,
            state: Mutex::new(State {
                deadline: sent + keeper::trusted(lease),
                last_ticket: 0,
                held: HashMap::new(),
                leaving: Vec::new(),
            }),
            leaving: Notify::new(),
            over: watch::Sender::new(false),
        });
        database.spawn(keeper::keep(Arc::clone(&session), sent));
        database.spawn(releaser::release(Arc::clone(&session)));
        Ok(session)
    }

    /// Whether it holds what it holds, as far as this node may believe.
    pub(crate) fn is_alive(&self) -> bool {
        let over = *self.over.borrow();
        !over && self.clock.now() < self.deadline()
    }

    /// Returns once it is lost or closed.
    pub(crate) async fn over(&self) {
        // It can't fail while this has the sender.
        drop(self.over.subscribe().wait_for(|over| *over).await);
    }

    /// Ends it here: all that it holds is lost from now on. The keeper tells the database.
    pub(crate) fn end(&self) {
        let held = {
            let mut state = self.state.lock();
            self.over.send_replace(true);
            std::mem::take(&mut state.held)
        };
        for held in held.into_values() {
            held.send_replace(false);
        }
    }

    pub(crate) fn deadline(&self) -> Timestamp {
        self.state.lock().deadline
    }

    /// It was renewed by what was sent at `sent`; of what it held then it still holds `kept`.
    pub(crate) fn renewed(&self, sent: Timestamp, before: &[i64], kept: &[i64]) {
        let mut state = self.state.lock();
        state.deadline = sent + keeper::trusted(self.lease);
        for ticket in before {
            if kept.contains(ticket) {
                continue;
            }
            if let Some(held) = state.held.remove(ticket) {
                tracing::warn!(
                    ticket,
                    session = self.id,
                    "somebody else took away what this node held"
                );
                held.send_replace(false);
                // So that those who watch and wait are told.
                state.leaving.push(*ticket);
                self.leaving.notify_one();
            }
        }
    }

    /// What it holds now.
    pub(crate) fn tickets(&self) -> Vec<i64> {
        self.state.lock().held.keys().copied().collect()
    }

    /// The number of a hold to be.
    pub(super) fn draw(&self) -> Result<i64> {
        let mut state = self.state.lock();
        if state.held.len() + state.leaving.len() >= MAX_HOLDS {
            let message = format!("this node holds {MAX_HOLDS} seats; give some up");
            return Err(Error::new(ErrorKind::Unavailable, message).backend(BACKEND));
        }
        state.last_ticket += 1;
        Ok(state.last_ticket)
    }

    /// It holds it in the database. `None` if it is lost by now.
    pub(super) fn hold(&self, ticket: i64) -> Option<watch::Receiver<bool>> {
        let mut state = self.state.lock();
        if *self.over.borrow() || self.clock.now() >= state.deadline {
            return None;
        }
        let held = watch::Sender::new(true);
        let holds = held.subscribe();
        state.held.insert(ticket, held);
        Some(holds)
    }

    /// Gives up what it holds, or may hold: here at once, in the database soon.
    pub(super) fn give_up(&self, ticket: i64) {
        let held = {
            let mut state = self.state.lock();
            state.leaving.push(ticket);
            state.held.remove(&ticket)
        };
        if let Some(held) = held {
            held.send_replace(false);
        }
        self.leaving.notify_one();
    }

    /// Returns once something may be to be given up.
    pub(super) async fn leaving(&self) {
        self.leaving.notified().await;
    }

    pub(super) fn take_leaving(&self) -> Vec<i64> {
        std::mem::take(&mut self.state.lock().leaving)
    }

    /// It couldn't be given up; again later.
    pub(super) fn put_back(&self, mut tickets: Vec<i64>) {
        self.state.lock().leaving.append(&mut tickets);
        self.leaving.notify_one();
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("lease", &self.lease)
            .field("over", &*self.over.borrow())
            .finish_non_exhaustive()
    }
}
