//! Claims.

use crate::id::ClaimId;
use crate::lane::Lane;
use crate::lease::{Holder, Lease};
use crate::time::Timestamp;

/// What to claim.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimRequest {
    /// Names this call.
    pub claim_id: ClaimId,
    /// Whether the answer to an earlier call with this id was lost.
    pub replay: bool,
    /// For whom.
    pub holder: Holder,
    /// From which lanes.
    pub lanes: Vec<Lane>,
    /// How many at the most, 1 to [`MAX_BATCH`](crate::store::MAX_BATCH).
    pub limit: usize,
    /// How many tasks the holder may hold afterwards. For claims on behalf of others.
    pub max_held: Option<usize>,
    /// The instant, in the store's time, after which a message about this lease must not start anything; for claims on
    /// behalf of others. An executor that doesn't name the tasks later than that gets them taken back.
    pub start_before: Option<Timestamp>,
    /// The present time.
    pub now: Timestamp,
}

/// What was claimed.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub enum ClaimOutcome {
    /// At least one task.
    Claimed(Lease),
    /// Nothing is ready in these lanes (or the holder is full).
    Nothing,
    /// The holder takes nothing new: it is disabled or draining.
    NotTaking,
    /// The holder was declared dead, superseded, or is offline: it must join anew.
    NotAlive,
}
