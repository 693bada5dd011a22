//! Queues whose first place is a leadership or a lock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Place;
use crate::coordinator::Guard;
use crate::lease::FencingToken;

/// What stands at the head of a queue.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Election,
    Lock,
}

#[derive(Default)]
pub(super) struct Queues {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_ticket: u64,
    queues: BTreeMap<String, Queue>,
}

#[derive(Default)]
struct Queue {
    last_token: u64,
    line: VecDeque<Entry>,
}

struct Entry {
    ticket: u64,
    session: u64,
    /// The token, once it is first.
    turn: watch::Sender<Option<FencingToken>>,
    held: watch::Sender<bool>,
}

impl Queues {
    /// Takes out all places of a session that was lost.
    pub(super) fn expire(&self, session: u64) {
        for queue in self.state.lock().queues.values_mut() {
            queue.remove(|entry| entry.session == session);
        }
    }
}

impl Queue {
    fn remove(&mut self, which: impl Fn(&Entry) -> bool) {
        self.line.retain(|entry| {
            let gone = which(entry);
            if gone {
                entry.held.send_replace(false);
            }
            !gone
        });
        self.promote();
    }

    /// Gives the first its token, if it has none yet.
    fn promote(&mut self) {
        if let Some(first) = self.line.front().filter(|entry| entry.turn.borrow().is_none()) {
            self.last_token += 1;
            first.turn.send_replace(Some(FencingToken(self.last_token)));
        }
    }
}

/// A place in a queue; given up when it is dropped.
pub(super) struct Ticket {
    place: Arc<Place>,
    kind: Kind,
    queue: String,
    ticket: u64,
    turn: watch::Receiver<Option<FencingToken>>,
    held: watch::Receiver<bool>,
}

impl Ticket {
    pub(super) fn take(place: &Arc<Place>, kind: Kind, queue: &str, session: u64) -> Self {
        let mut state = place.queues(kind).state.lock();
        state.last_ticket += 1;
        let ticket = state.last_ticket;
        let (turn, held) = (watch::Sender::new(None), watch::Sender::new(true));
        let (turns, holds) = (turn.subscribe(), held.subscribe());
        let line = state.queues.entry(queue.to_owned()).or_default();
        line.line.push_back(Entry {
            ticket,
            session,
            turn,
            held,
        });
        line.promote();
        Self {
            place: Arc::clone(place),
            kind,
            queue: queue.to_owned(),
            ticket,
            turn: turns,
            held: holds,
        }
    }

    /// Waits until it is first. Never returns if its session is lost before.
    pub(super) async fn first(mut self) -> Head {
        let token = self
            .turn
            .wait_for(Option::is_some)
            .await
            .ok()
            .and_then(|token| *token);
        match token {
            Some(token) => Head { token, ticket: self },
            None => std::future::pending().await,
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(queue) = self
            .place
            .queues(self.kind)
            .state
            .lock()
            .queues
            .get_mut(&self.queue)
        {
            queue.remove(|entry| entry.ticket == self.ticket);
        }
    }
}

/// The first place in a queue.
pub(super) struct Head {
    token: FencingToken,
    ticket: Ticket,
}

impl Guard for Head {
    fn token(&self) -> FencingToken {
        self.token
    }

    fn held(&self) -> watch::Receiver<bool> {
        self.ticket.held.clone()
    }
}
