//! Claims: how many tasks of which lane, so that none starves and a suspect is alone.

use crate::lane::Lane;

/// How many tasks each ordinary one of `lanes` may give before what is left goes to the lanes in their order: an even
/// share of `limit`, and at least one.
pub fn share(lanes: &[Lane], limit: usize) -> usize {
    even_share(lanes.iter().filter(|lane| !lane.is_quarantine()).count(), limit)
}

fn even_share(ordinary: usize, limit: usize) -> usize {
    (limit / ordinary.max(1)).max(1)
}

/// A lane of a claim, for stores that count first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Whether the lane is a [quarantine](Lane::is_quarantine).
    pub quarantine: bool,
    /// How many tasks it has ready; nobody needs to know how many there are beyond the claim's limit.
    pub ready: usize,
}

/// How many tasks to take from each lane, in the order of `offers`: up to an even [`share`] of each first, then what is
/// left in their order; one suspect alone, if the lanes before its own gave nothing.
pub fn quotas(offers: &[Offer], limit: usize) -> Vec<usize> {
    let share = even_share(offers.iter().filter(|offer| !offer.quarantine).count(), limit);
    let mut quotas = vec![0; offers.len()];
    let mut left = limit;
    for (offer, quota) in offers.iter().zip(&mut quotas) {
        if offer.quarantine {
            if left == limit && offer.ready > 0 {
                *quota = left.min(1);
                return quotas;
            }
            continue;
        }
        *quota = offer.ready.min(share).min(left);
        left -= *quota;
    }
    for (offer, quota) in offers
        .iter()
        .zip(&mut quotas)
        .filter(|(offer, _)| !offer.quarantine)
    {
        let more = (offer.ready - *quota).min(left);
        left -= more;
        *quota += more;
    }
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(ready: usize) -> Offer {
        Offer {
            quarantine: false,
            ready,
        }
    }

    fn suspects(ready: usize) -> Offer {
        Offer {
            quarantine: true,
            ready,
        }
    }

    #[test]
    fn lanes_share_evenly_and_then_fill_up_in_order() {
        assert_eq!(quotas(&[lane(10), lane(10)], 10), [5, 5]);
        assert_eq!(quotas(&[lane(10), lane(2)], 10), [8, 2]);
        assert_eq!(quotas(&[lane(10), lane(10), lane(10)], 2), [1, 1, 0]);
        assert_eq!(quotas(&[lane(0), lane(10)], 4), [0, 4]);
        assert_eq!(quotas(&[], 4), [0; 0]);
    }

    #[test]
    fn a_suspect_goes_alone_and_only_if_nothing_came_before_it() {
        assert_eq!(quotas(&[suspects(3), lane(5)], 10), [1, 0]);
        assert_eq!(quotas(&[lane(5), suspects(3), lane(5)], 10), [5, 0, 5]);
        assert_eq!(quotas(&[lane(0), suspects(3), lane(5)], 10), [0, 1, 0]);
        assert_eq!(quotas(&[suspects(3)], 0), [0]);
    }
}
