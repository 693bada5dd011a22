//! Signs of life, and their answers.

use crate::id::TaskId;
use crate::json::Json;
use crate::lease::{FencingToken, Holder};
use crate::store::ExecutorStatus;
use crate::time::Timestamp;

/// A sign of life.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    /// Whose.
    pub holder: Holder,
    /// What it holds.
    pub held: Held,
    /// Leases all of whose tasks it has settled.
    pub closed: Vec<FencingToken>,
    /// Its resources and load, if it reports them now.
    pub resources: Option<Json>,
}

/// What an executor holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Held {
    /// Of a node that claims for itself: its leases.
    Leases(Vec<FencingToken>),
    /// Of a remote one: its tasks.
    Tasks(Vec<(TaskId, FencingToken)>),
}

/// The answer to a sign of life.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum HeartbeatOutcome {
    /// Its leases hold on.
    Alive(Alive),
    /// Declared dead: others were given its tasks. Drop what hasn't started, and join with a new incarnation.
    Dead,
    /// A newer incarnation has the id: stop.
    Superseded,
}

/// What a living executor should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Alive {
    /// The store's clock.
    pub now: Timestamp,
    /// How it stands, by order of people.
    pub status: ExecutorStatus,
    /// Tasks that it holds and that are to be cancelled, by `task_id`.
    pub cancel: Vec<TaskId>,
    /// Tasks under its leases that it didn't name, with token and attempt: the claim's or dispatch's message was lost.
    /// Those of a lease with a `start_before` only after it. By (token, `task_id`). The receiver gives them back by a
    /// settlement, unless it is about to learn of them.
    pub unnamed: Vec<(TaskId, FencingToken, u32)>,
    /// Tasks that it named one by one and that are no longer its own under that token: they were settled, or taken
    /// back; in the order named. Always empty for [`Held::Leases`].
    pub lost: Vec<(TaskId, FencingToken)>,
}
