//! Leases: claimed batches, found by token and by claim.

use std::collections::{BTreeMap, HashMap};

use super::tasks::Slot;
use crate::id::ClaimId;
use crate::lease::{FencingToken, Holder};
use crate::time::Timestamp;

/// A lease with the tasks that were claimed under it.
#[derive(Debug)]
pub(super) struct LeaseEntry {
    pub(super) claim_id: ClaimId,
    pub(super) holder: Holder,
    pub(super) start_before: Option<Timestamp>,
    /// The slots as they were at the claim; those count whose task still has this token and is held.
    pub(super) slots: Vec<Slot>,
    /// How many of them are still held. The lease ends with the last.
    pub(super) held: usize,
    /// Where among the slots the next report is expected: tasks end about in the order of the claim.
    pub(super) cursor: usize,
}

/// How many slots from the cursor on are tried before a task is looked for by its id.
const TRIES: usize = 3;

/// All leases under which something is held.
#[derive(Debug, Default)]
pub(super) struct Leases {
    last_token: u64,
    by_token: BTreeMap<FencingToken, LeaseEntry>,
    by_claim: HashMap<ClaimId, FencingToken>,
}

impl Leases {
    /// The token for a new lease, higher than all before.
    pub(super) const fn next_token(&mut self) -> FencingToken {
        self.last_token += 1;
        FencingToken(self.last_token)
    }

    pub(super) fn add(&mut self, token: FencingToken, lease: LeaseEntry) {
        self.by_claim.insert(lease.claim_id, token);
        self.by_token.insert(token, lease);
    }

    /// Notes that a task under a lease is no longer held; returns the lease if it was the last.
    pub(super) fn release(&mut self, token: FencingToken) -> Option<LeaseEntry> {
        let lease = self.by_token.get_mut(&token)?;
        lease.held -= 1;
        if lease.held > 0 {
            return None;
        }
        let lease = self.by_token.remove(&token)?;
        self.by_claim.remove(&lease.claim_id);
        Some(lease)
    }

    /// The slot under a lease for which `is_wanted` says so, if it is among the next ones in the order of the claim.
    /// Saves looking the task up by its id, which is a chain of cache misses among a million tasks.
    pub(super) fn expected(
        &mut self,
        token: FencingToken,
        is_over: impl Fn(Slot) -> bool,
        is_wanted: impl Fn(Slot) -> bool,
    ) -> Option<Slot> {
        let lease = self.by_token.get_mut(&token)?;
        while lease.slots.get(lease.cursor).is_some_and(|slot| is_over(*slot)) {
            lease.cursor += 1;
        }
        let next = lease.slots.iter().skip(lease.cursor).take(TRIES);
        next.copied().find(|slot| !is_over(*slot) && is_wanted(*slot))
    }

    pub(super) fn get(&self, token: FencingToken) -> Option<&LeaseEntry> {
        self.by_token.get(&token)
    }

    pub(super) fn of_claim(&self, claim_id: ClaimId) -> Option<FencingToken> {
        self.by_claim.get(&claim_id).copied()
    }

    /// All leases by token.
    pub(super) fn iter(&self) -> impl Iterator<Item = (FencingToken, &LeaseEntry)> {
        self.by_token.iter().map(|(token, lease)| (*token, lease))
    }
}
