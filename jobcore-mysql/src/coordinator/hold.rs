//! What is held, until it is dropped.

use std::fmt;
use std::sync::Arc;

use jobcore::coordinator::Guard;
use jobcore::lease::FencingToken;
use jobcore::{Error, ErrorKind, Result};
use tokio::sync::watch;

use super::acquire::{Acquire, Acquired};
use super::place::Place;
use super::seat::Seat;
use super::session::Session;
use crate::BACKEND;

/// A hold of a session that is, or may be, in the database; given up when it is dropped.
struct Ticket {
    session: Arc<Session>,
    number: i64,
    /// It can't be in the database.
    spent: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.spent {
            self.session.give_up(self.number);
        }
    }
}

/// Membership, leadership or a lock.
pub(crate) struct Hold {
    ticket: Ticket,
    token: FencingToken,
    held: watch::Receiver<bool>,
    /// The session is kept as long as something is held, also when nobody has the coordinator any more.
    _place: Arc<Place>,
}

/// What became of a try.
pub(crate) enum Tried {
    Held(Hold),
    Taken,
    /// The session is over.
    NoSession,
}

impl Hold {
    /// Tries to take a seat. To be called on the store's threads: if nobody waits for it any more, it is given up.
    pub(crate) async fn take(place: Arc<Place>, session: Arc<Session>, seat: Seat) -> Result<Tried> {
        let mut ticket = Ticket {
            number: session.draw()?,
            session,
            spent: false,
        };
        let request = Acquire {
            seat,
            session_id: ticket.session.id,
            ticket: ticket.number,
        };
        let acquired = ticket.session.work.carry_out(&request).await;
        let token = match acquired {
            Ok(Acquired::Held(token)) => token,
            Ok(Acquired::Taken) => {
                ticket.spent = true;
                return Ok(Tried::Taken);
            }
            Ok(Acquired::NoSession) => {
                ticket.spent = true;
                return Ok(Tried::NoSession);
            }
            Err(error) => {
                ticket.spent = !error.is_indeterminate();
                return Err(error);
            }
        };
        let Some(held) = ticket.session.hold(ticket.number) else {
            return Ok(Tried::NoSession);
        };
        place.news.notify_one();
        Ok(Tried::Held(Self {
            ticket,
            token,
            held,
            _place: place,
        }))
    }
}

impl Guard for Hold {
    fn token(&self) -> FencingToken {
        self.token
    }

    fn held(&self) -> watch::Receiver<bool> {
        self.held.clone()
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold")
            .field("session", &self.ticket.session.id)
            .field("token", &self.token)
            .field("held", &*self.held.borrow())
            .finish_non_exhaustive()
    }
}

/// A session that was lost before it could hold what it should.
pub(crate) fn session_lost() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the session was lost meanwhile; try again",
    )
    .backend(BACKEND)
}
