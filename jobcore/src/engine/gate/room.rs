//! How much of what waits a plan must see.

use std::collections::BTreeMap;

use super::{GateState, RATE_HORIZON, interval};
use crate::gate::GateKey;
use crate::overlap::OverlapPolicy;
use crate::time::Timestamp;

/// Says for each queue (the tasks with just the same gates) how many of its first tasks a plan must see.
///
/// Once one of a queue is held up by a gate that lets nothing more through, so are all behind it. So a promotion looks
/// at no more of a queue than its gates can let pass, or than may move at once, however long the queue is.
#[derive(Debug)]
pub struct Rooms<'a> {
    gates: &'a BTreeMap<GateKey, GateState>,
    /// How many counted tasks may give way at each gate.
    leaving: BTreeMap<&'a GateKey, u32>,
    now: Timestamp,
    limit: usize,
}

impl<'a> Rooms<'a> {
    /// For a [`plan`](super::plan) with this view, at `now`, that moves at most `limit` tasks.
    pub fn new(gates: &'a BTreeMap<GateKey, GateState>, now: Timestamp, limit: usize) -> Self {
        let cancelling = gates
            .values()
            .filter(|gate| gate.policy.overlap == OverlapPolicy::CancelPrevious);
        let occupants = cancelling.flat_map(|gate| &gate.occupants);
        let mut leaving = BTreeMap::new();
        for occupant in occupants.filter(|occupant| occupant.counts && !occupant.held) {
            for key in &occupant.gates {
                *leaving.entry(key).or_default() += 1;
            }
        }
        Self {
            gates,
            leaving,
            now,
            limit,
        }
    }

    /// The room behind all gates of a queue.
    pub fn of(&self, queue: &[GateKey]) -> Room {
        let gates = queue.iter().filter_map(|key| Some((key, self.gates.get(key)?)));
        let most = gates.clone().map(|(key, gate)| self.behind(key, gate)).min();
        // One more tells when to look again, or that there are more than may move.
        let most = most.unwrap_or(usize::MAX).min(self.limit).saturating_add(1);
        let mut room = Room {
            passed: most,
            fresh: most,
        };
        for (_, gate) in gates {
            match gate.policy.overlap {
                OverlapPolicy::Allow => {}
                OverlapPolicy::QueueAll => room.fresh = 1,
                // All but one of them move now: they are skipped, cancelled, or pass. One more than may move, and the
                // one that waits, show that there are more.
                OverlapPolicy::Skip | OverlapPolicy::QueueOne | OverlapPolicy::CancelPrevious => {
                    room.fresh = self.limit.saturating_add(2);
                    break;
                }
            }
        }
        room
    }

    /// Whether the first of a queue go by when they came due, and not by rank.
    pub fn by_due_time(&self, queue: &[GateKey]) -> bool {
        let mut gates = queue.iter().filter_map(|key| self.gates.get(key));
        gates.any(super::has_overlap)
    }

    /// How many tasks one gate can let pass at the most.
    fn behind(&self, key: &GateKey, gate: &GateState) -> usize {
        let live = gate
            .live
            .saturating_sub(self.leaving.get(key).copied().unwrap_or(0));
        let limit = gate.policy.max_live.map(|max| max.saturating_sub(live));
        let rate = gate.policy.rate.map(|rate| {
            let interval = interval(rate).as_micros().max(1);
            let arrival_time = gate
                .arrival_time
                .map_or(self.now, |arrival| arrival.max(self.now));
            let tolerance = interval * u128::from(rate.burst.saturating_sub(1));
            let ahead = RATE_HORIZON.as_micros() + tolerance;
            let ahead = ahead.checked_sub(arrival_time.since(self.now).as_micros());
            // A partial interval counts: more than can pass does no harm.
            ahead.map_or(0, |ahead| {
                usize::try_from(ahead / interval + 1).unwrap_or(usize::MAX)
            })
        });
        let limit = limit.map_or(usize::MAX, |limit| limit as usize);
        limit.min(rate.unwrap_or(usize::MAX))
    }
}

/// The first of a queue that a plan must see. Those that passed before stand before the fresh ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Room {
    /// How many of those that passed before and come back.
    pub passed: usize,
    /// How many of the fresh ones.
    pub fresh: usize,
}
