//! Placement: which executor gets the next task of a job that doesn't leave it to chance.
//!
//! A job whose [`Placement`] chooses has a lane of its own, so whoever claims on behalf of executors can choose one for
//! each task ([`choose`]), and a node that claims for itself can leave to others what isn't for it ([`takes`]). Jobs with
//! the strategy `Any` and no wishes never come here.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::id::{ExecutorId, JobId};
use crate::placement::{Placement, Spread, Strategy};

/// An executor that may take the job's tasks, as far as lane, group and required labels go.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its id.
    pub executor_id: ExecutorId,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// How many attempts it carries out at once.
    pub capacity: u32,
    /// How many tasks it holds.
    pub held: u32,
    /// How many of those are of this job.
    pub held_of_job: u32,
    /// How many more tasks it may get.
    pub room: u32,
    /// How many tasks of this job it was given so far, by whoever asks.
    pub given: u64,
    /// What is left of its resources, by name; a resource that it doesn't report is not there.
    pub resources: BTreeMap<String, u64>,
}

impl Candidate {
    /// Counts a task that it was given.
    pub fn give(&mut self, placement: &Placement) {
        self.held = self.held.saturating_add(1);
        self.held_of_job = self.held_of_job.saturating_add(1);
        self.room = self.room.saturating_sub(1);
        self.given = self.given.saturating_add(1);
        for (name, need) in &placement.resources {
            if let Some(left) = self.resources.get_mut(name) {
                *left = left.saturating_sub(*need);
            }
        }
    }

    fn meets(&self, placement: &Placement) -> bool {
        let apart = placement.spread != Spread::Required || self.held_of_job == 0;
        let enough = placement
            .resources
            .iter()
            .all(|(name, need)| self.resources.get(name).is_some_and(|left| left >= need));
        apart && enough && self.room > 0
    }

    /// How many preferred labels it lacks.
    fn lacks(&self, placement: &Placement) -> usize {
        let has = |(key, value): &(&String, &String)| self.labels.get(*key) == Some(*value);
        placement
            .preferred_labels
            .iter()
            .filter(|label| !has(label))
            .count()
    }

    /// `count` as a share of its capacity, in millionths.
    fn share(&self, count: u64) -> u64 {
        count.saturating_mul(1_000_000) / u64::from(self.capacity.max(1))
    }

    /// What the strategy goes by: smaller goes first.
    fn strategy_rank(&self, strategy: Strategy) -> u64 {
        match strategy {
            Strategy::RoundRobin => self.given,
            Strategy::Weighted => self.share(self.given),
            Strategy::LeastLoaded => self.share(u64::from(self.held)),
            Strategy::Any | Strategy::ConsistentHash | Strategy::Broadcast | Strategy::Shard { .. } => 0,
        }
    }
}

/// The candidate that gets the next task; `None` if it must wait for one.
///
/// What is required comes first, then preferred labels, then apartness, then the strategy, and at last the id, so that
/// the answer is the same wherever it is computed. A consistent hash names one executor whether it has room or not:
/// the task waits for that one while it is there.
pub fn choose(placement: &Placement, job_id: &JobId, candidates: &[Candidate]) -> Option<usize> {
    if placement.strategy == Strategy::ConsistentHash {
        let first = (0..candidates.len()).max_by_key(|n| draw(job_id, &candidates[*n].executor_id));
        return first.filter(|n| candidates[*n].meets(placement));
    }
    (0..candidates.len())
        .filter(|n| candidates[*n].meets(placement))
        .min_by_key(|n| {
            let candidate = &candidates[*n];
            let together = placement.spread == Spread::Preferred && candidate.held_of_job > 0;
            let rank = candidate.strategy_rank(placement.strategy);
            (
                candidate.lacks(placement),
                together,
                rank,
                candidate.executor_id.clone(),
            )
        })
}

/// How many of the job's tasks a node that claims for itself takes now.
///
/// `others` are the nodes that could take them as well. Of a job with a consistent hash only the one takes that the job
/// is drawn to; what is required (apartness, resources) is kept, each task counted. Wishes among several nodes are not
/// seen from one of them: whoever has room takes.
pub fn takes(placement: &Placement, job_id: &JobId, own: &Candidate, others: &[ExecutorId]) -> u32 {
    let drawn = draw(job_id, &own.executor_id);
    let elsewhere = others.iter().any(|other| draw(job_id, other) > drawn);
    if placement.strategy == Strategy::ConsistentHash && elsewhere {
        return 0;
    }
    let mut own = own.clone();
    let mut taken = 0;
    while own.meets(placement) {
        own.give(placement);
        taken += 1;
    }
    taken
}

/// What a consistent hash goes by: the greatest has the job.
fn draw<'a>(job_id: &JobId, executor_id: &'a ExecutorId) -> (u64, Reverse<&'a ExecutorId>) {
    (affinity(job_id, executor_id), Reverse(executor_id))
}

/// How strongly a job is drawn to an executor: rendezvous hashing, so that when an executor leaves only its jobs move.
fn affinity(job_id: &JobId, executor_id: &ExecutorId) -> u64 {
    let bytes = job_id
        .as_str()
        .bytes()
        .chain([0])
        .chain(executor_id.as_str().bytes());
    // FNV-1a, then the finaliser of SplitMix64: FNV alone leaves ids that differ in the last letter close together.
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: &str, capacity: u32) -> Candidate {
        Candidate {
            executor_id: ExecutorId::new(id).unwrap(),
            labels: BTreeMap::new(),
            capacity,
            held: 0,
            held_of_job: 0,
            room: capacity,
            given: 0,
            resources: BTreeMap::new(),
        }
    }

    fn placement(strategy: Strategy) -> Placement {
        Placement {
            strategy,
            ..Placement::default()
        }
    }

    /// Gives `count` tasks, one after the other: who got them.
    fn given(placement: &Placement, candidates: &mut [Candidate], count: usize) -> Vec<String> {
        let job_id = JobId::new("job").unwrap();
        let mut names = Vec::new();
        for _ in 0..count {
            let Some(n) = choose(placement, &job_id, candidates) else {
                break;
            };
            candidates[n].give(placement);
            names.push(candidates[n].executor_id.to_string());
        }
        names
    }

    #[test]
    fn round_robin_goes_one_after_the_other() {
        let mut three = [candidate("a", 9), candidate("b", 9), candidate("c", 9)];
        let names = given(&placement(Strategy::RoundRobin), &mut three, 7);
        assert_eq!(names, ["a", "b", "c", "a", "b", "c", "a"]);
    }

    #[test]
    fn weighted_follows_capacity() {
        let mut two = [candidate("big", 30), candidate("small", 10)];
        let names = given(&placement(Strategy::Weighted), &mut two, 12);
        assert_eq!(names.iter().filter(|name| *name == "big").count(), 9);
    }

    #[test]
    fn the_least_loaded_is_the_one_with_the_smallest_share_of_its_capacity() {
        let mut two = [candidate("big", 10), candidate("small", 2)];
        two[0].held = 4;
        two[1].held = 1;
        assert_eq!(
            given(&placement(Strategy::LeastLoaded), &mut two, 2),
            ["big", "big"]
        );
        two[0].held = 9;
        assert_eq!(given(&placement(Strategy::LeastLoaded), &mut two, 1), ["small"]);
    }

    #[test]
    fn a_consistent_hash_keeps_to_its_executor() {
        let names = ["a", "b", "c", "d"];
        let all: Vec<_> = names.iter().map(|name| candidate(name, 1)).collect();
        let hashed = placement(Strategy::ConsistentHash);
        let mut counts = BTreeMap::<usize, usize>::new();
        for n in 0..400 {
            let job_id = JobId::new(format!("job-{n}")).unwrap();
            let first = choose(&hashed, &job_id, &all).unwrap();
            *counts.entry(first).or_default() += 1;
            let gone = (first + 1) % 4;
            let rest: Vec<_> = (0..4).filter(|n| *n != gone).map(|n| all[n].clone()).collect();
            let again = choose(&hashed, &job_id, &rest).unwrap();
            assert_eq!(
                rest[again].executor_id, all[first].executor_id,
                "others' leaving moves nothing"
            );
            let mut full = all.clone();
            full[first].room = 0;
            assert_eq!(choose(&hashed, &job_id, &full), None, "it waits for its executor");
        }
        assert!(
            counts.values().all(|count| (60..140).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn preferred_labels_come_first_while_there_is_room() {
        let mut two = [candidate("a", 2), candidate("b", 1)];
        two[1].labels.insert("zone".into(), "eu".into());
        let mut wish = placement(Strategy::Any);
        wish.preferred_labels.insert("zone".into(), "eu".into());
        assert_eq!(given(&wish, &mut two, 4), ["b", "a", "a"]);
    }

    #[test]
    fn a_required_spread_puts_one_on_each() {
        let mut two = [candidate("a", 5), candidate("b", 5)];
        let mut apart = placement(Strategy::Any);
        apart.spread = Spread::Required;
        assert_eq!(given(&apart, &mut two, 4), ["a", "b"]);
    }

    #[test]
    fn a_preferred_spread_shares_when_it_must() {
        let mut two = [candidate("a", 5), candidate("b", 5)];
        let mut apart = placement(Strategy::Any);
        apart.spread = Spread::Preferred;
        assert_eq!(given(&apart, &mut two, 3), ["a", "b", "a"]);
    }

    #[test]
    fn resources_are_used_up() {
        let mut two = [candidate("a", 5), candidate("b", 5)];
        two[1].resources.insert("memory_mb".into(), 1_000);
        let mut hungry = placement(Strategy::Any);
        hungry.resources.insert("memory_mb".into(), 400);
        assert_eq!(
            given(&hungry, &mut two, 4),
            ["b", "b"],
            "who reports none has none"
        );
    }

    #[test]
    fn a_node_of_its_own_takes_what_a_hash_draws_to_it() {
        let ids = ["a", "b", "c"].map(|id| ExecutorId::new(id).unwrap());
        let all: Vec<_> = ["a", "b", "c"].map(|id| candidate(id, 3)).to_vec();
        let hashed = placement(Strategy::ConsistentHash);
        for n in 0..50 {
            let job_id = JobId::new(format!("job-{n}")).unwrap();
            let others = |own: &Candidate| -> Vec<_> {
                ids.iter().filter(|id| **id != own.executor_id).cloned().collect()
            };
            let takers: Vec<_> = (0..3)
                .filter(|n| takes(&hashed, &job_id, &all[*n], &others(&all[*n])) == 3)
                .collect();
            assert_eq!(takers, [choose(&hashed, &job_id, &all).unwrap()]);
        }
    }

    #[test]
    fn a_node_of_its_own_keeps_what_is_required() {
        let job_id = JobId::new("job").unwrap();
        let mut own = candidate("a", 5);
        let mut apart = placement(Strategy::RoundRobin);
        assert_eq!(takes(&apart, &job_id, &own, &[]), 5);
        apart.spread = Spread::Required;
        assert_eq!(takes(&apart, &job_id, &own, &[]), 1);
        own.held_of_job = 1;
        assert_eq!(takes(&apart, &job_id, &own, &[]), 0);
        let mut hungry = placement(Strategy::Any);
        hungry.resources.insert("memory_mb".into(), 400);
        assert_eq!(takes(&hungry, &job_id, &own, &[]), 0, "who has none takes none");
        own.resources.insert("memory_mb".into(), 1_000);
        assert_eq!(takes(&hungry, &job_id, &own, &[]), 2);
    }
}
