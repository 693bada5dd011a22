//! Groups and their members.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{NAME, Place};
use crate::coordinator::{Guard, Member};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::FencingToken;

#[derive(Default)]
pub(super) struct Groups {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    last_token: u64,
    groups: BTreeMap<String, Group>,
}

#[derive(Default)]
struct Group {
    members: BTreeMap<String, Entry>,
    list: watch::Sender<Vec<Member>>,
}

struct Entry {
    member: Member,
    session: u64,
    token: FencingToken,
    held: watch::Sender<bool>,
}

impl Groups {
    pub(super) fn watch(&self, group: &str) -> watch::Receiver<Vec<Member>> {
        let mut state = self.state.lock();
        state.groups.entry(group.to_owned()).or_default().list.subscribe()
    }

    /// Takes out all members of a session that was lost.
    pub(super) fn expire(&self, session: u64) {
        for group in self.state.lock().groups.values_mut() {
            group.remove(|entry| entry.session == session);
        }
    }
}

impl Group {
    fn remove(&mut self, which: impl Fn(&Entry) -> bool) {
        let before = self.members.len();
        self.members.retain(|_, entry| {
            let gone = which(entry);
            if gone {
                entry.held.send_replace(false);
            }
            !gone
        });
        if self.members.len() != before {
            self.announce();
        }
    }

    fn announce(&self) {
        let members = self.members.values().map(|entry| entry.member.clone());
        self.list.send_replace(members.collect());
    }
}

/// Being a member; ends when it is dropped.
pub(super) struct Membership {
    place: Arc<Place>,
    group: String,
    token: FencingToken,
    held: watch::Receiver<bool>,
}

impl Membership {
    pub(super) fn begin(place: &Arc<Place>, group: &str, member: Member, session: u64) -> Result<Self> {
        let mut guard = place.groups.state.lock();
        let state = &mut *guard;
        let entries = state.groups.entry(group.to_owned()).or_default();
        if entries.members.contains_key(&member.id) {
            let message = format!("{} is a member of {group} already", member.id);
            return Err(Error::new(ErrorKind::AlreadyExists, message).backend(NAME));
        }
        state.last_token += 1;
        let token = FencingToken(state.last_token);
        let alive = watch::Sender::new(true);
        let held = alive.subscribe();
        let entry = Entry {
            session,
            token,
            held: alive,
            member,
        };
        entries.members.insert(entry.member.id.clone(), entry);
        entries.announce();
        Ok(Self {
            place: Arc::clone(place),
            group: group.to_owned(),
            token,
            held,
        })
    }
}

impl Guard for Membership {
    fn token(&self) -> FencingToken {
        self.token
    }

    fn held(&self) -> watch::Receiver<bool> {
        self.held.clone()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if let Some(group) = self.place.groups.state.lock().groups.get_mut(&self.group) {
            group.remove(|entry| entry.token == self.token);
        }
    }
}
