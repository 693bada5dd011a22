//! What can be held.

use jobcore::coordinator::Member;
use jobcore::{Error, Result};

use crate::BACKEND;

/// The longest name of a group, election, lock or key, and the longest id, in bytes.
pub(crate) const MAX_NAME: usize = 255;

/// The kinds of what can be held, as the table has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Member = 1,
    Leader = 2,
    Lock = 3,
}

impl Kind {
    /// As the column has it.
    pub(crate) const fn code(self) -> i8 {
        self as i8
    }
}

/// A place that one holds at a time: an id in a group, a leadership, a lock.
#[derive(Clone, Debug)]
pub(crate) struct Seat {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// Of the member; else empty.
    pub(crate) id: String,
    pub(crate) data: Option<String>,
}

impl Seat {
    pub(crate) fn member(group: &str, member: &Member) -> Result<Self> {
        check_name("group", group)?;
        check_name("id", &member.id)?;
        Ok(Self {
            kind: Kind::Member,
            name: group.to_owned(),
            id: member.id.clone(),
            data: Some(member.data.as_str().to_owned()),
        })
    }

    pub(crate) fn leader(election: &str, candidate: &str) -> Result<Self> {
        check_name("election", election)?;
        Ok(Self {
            kind: Kind::Leader,
            name: election.to_owned(),
            id: String::new(),
            data: Some(candidate.to_owned()),
        })
    }

    pub(crate) fn lock(name: &str) -> Result<Self> {
        check_name("lock", name)?;
        Ok(Self {
            kind: Kind::Lock,
            name: name.to_owned(),
            id: String::new(),
            data: None,
        })
    }
}

/// Refuses a name that no column takes.
pub(crate) fn check_name(what: &str, name: &str) -> Result<()> {
    if name.len() <= MAX_NAME {
        return Ok(());
    }
    let message = format_args!("has {} bytes, {MAX_NAME} are the most", name.len());
    Err(Error::invalid(what, message).backend(BACKEND))
}
