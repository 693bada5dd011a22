//! Where claims begin to look in a lane.
//!
//! Rows that were deleted at the head of a lane stay in the index until the server has purged them, which a long open
//! snapshot puts off. So a claim begins where the last one found the first ready task, and only now and then at the very
//! beginning: for what other processes put there meanwhile.

use std::collections::HashMap;
use std::time::Duration;

use jobcore::task::Rank;
use tokio::time::Instant;

/// How long a claim may do without a look at the whole lane, at least: what another process inserts before the start waits
/// that long.
const WHOLE_LOOK: Duration = Duration::from_millis(500);

/// A whole look may take this part of the time, so that one over many dead rows is rarer.
const SHARE: u32 = 20;

/// How many lanes are remembered.
const MOST: usize = 4_096;

/// Where claims begin to look, by lane.
#[derive(Debug, Default)]
pub(crate) struct LaneStarts(HashMap<i64, Start>);

#[derive(Clone, Copy, Debug)]
struct Start {
    rank: Rank,
    /// When the next claim looks at the whole lane.
    whole_look: Instant,
}

impl LaneStarts {
    /// The rank from which on to look; `None`: at the whole lane.
    pub(crate) fn of(&self, lane_id: i64, now: Instant) -> Option<Rank> {
        let start = self.0.get(&lane_id)?;
        (now < start.whole_look).then_some(start.rank)
    }

    /// A look from `from` on (`None`: at the whole lane) found `first`, and took `cost`.
    pub(crate) fn found(
        &mut self,
        lane_id: i64,
        from: Option<Rank>,
        first: Option<Rank>,
        now: Instant,
        cost: Duration,
    ) {
        let Some(first) = first else {
            // The next look is at the whole lane.
            self.0.remove(&lane_id);
            return;
        };
        if self.0.len() >= MOST {
            self.0.clear();
        }
        match (from, self.0.get_mut(&lane_id)) {
            // Whatever came in between and was lowered stays.
            (Some(from), Some(start)) if start.rank == from => start.rank = first,
            (Some(_), _) => {}
            (None, _) => {
                let whole_look = now + WHOLE_LOOK.max(cost * SHARE);
                self.0.insert(
                    lane_id,
                    Start {
                        rank: first,
                        whole_look,
                    },
                );
            }
        }
    }

    /// A task of this rank became ready there.
    pub(crate) fn lowered(&mut self, lane_id: i64, rank: Rank) {
        if let Some(start) = self.0.get_mut(&lane_id) {
            start.rank = start.rank.min(rank);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn claims_begin_where_the_last_one_found_the_first() {
        let mut starts = LaneStarts::default();
        let now = Instant::now();
        assert_eq!(starts.of(1, now), None);
        starts.found(1, None, Some(Rank(100)), now, Duration::ZERO);
        assert_eq!(starts.of(1, now), Some(Rank(100)));
        starts.found(1, Some(Rank(100)), Some(Rank(200)), now, Duration::ZERO);
        assert_eq!(starts.of(1, now), Some(Rank(200)));
        starts.lowered(1, Rank(50));
        assert_eq!(starts.of(1, now), Some(Rank(50)));
        starts.found(1, Some(Rank(200)), Some(Rank(300)), now, Duration::ZERO);
        assert_eq!(
            starts.of(1, now),
            Some(Rank(50)),
            "what came during a look isn't passed over"
        );
        assert_eq!(
            starts.of(1, now + WHOLE_LOOK),
            None,
            "a look at the whole lane now and then"
        );
        starts.found(1, Some(Rank(50)), None, now, Duration::ZERO);
        assert_eq!(starts.of(1, now), None, "what seems empty is looked at whole");
    }
}
