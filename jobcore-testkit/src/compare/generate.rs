//! What to do next: a random call that makes sense often enough, made from what is there.

mod jobs;
mod tasks;

use std::time::Duration;

use jobcore::Timestamp;
use jobcore::id::{ExecutorId, JobId, RunId};
use jobcore::lease::{Fence, Holder, Incarnation};
use jobcore::store::{ClaimRequest, ExecutorRecord};
use jobcore::task::Task;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::operation::Operation;
use super::snapshot::{Asked, Snapshot};

/// Makes operations from a seed.
pub(super) struct Generator {
    random: StdRng,
    /// Node time, which here is the stores' own time too.
    now: Timestamp,
    /// What it has named so far.
    pub(super) asked: Asked,
    /// Fences that held once: what a late settlement names.
    old: Vec<Fence>,
    next_task: u32,
    next_claim: u128,
    /// The latest claim, as its repetition.
    last_claim: Option<ClaimRequest>,
    timed: bool,
}

impl Generator {
    pub(super) fn new(seed: u64, now: Timestamp, timed: bool) -> Self {
        let asked = Asked {
            runs: ["r0", "r1"].map(run_id).to_vec(),
            now,
            ..Asked::default()
        };
        Self {
            random: StdRng::seed_from_u64(seed),
            now,
            asked,
            old: Vec::new(),
            next_task: 0,
            next_claim: 0,
            last_claim: None,
            timed,
        }
    }

    /// The next operation, on what `seen` shows.
    pub(super) fn next(&mut self, seen: &Snapshot) -> Operation {
        match self.random.random_range(0..100) {
            0..6 => self.put_jobs(seen),
            6..8 => self.pause_jobs(),
            8..9 => self.delete_jobs(),
            9..15 => self.fire(seen),
            15..17 => self.put_records(seen),
            17..21 => self.register(),
            21..24 => self.set_status(seen),
            24..38 => self.insert(seen),
            38..48 => self.promote(),
            48..60 => self.claim(seen),
            60..65 => self.start(seen),
            65..68 => self.heartbeat(seen),
            68..80 => self.settle(seen),
            80..82 => self.save(seen),
            82..84 if self.timed => self.expire(),
            82..87 => self.recover(),
            87..89 => self.change(),
            89..92 => self.cancel(),
            92..94 => self.insert_run(),
            94..96 => self.advance_run(seen),
            96..97 => self.append_logs(seen),
            97..98 => self.purge(),
            _ => self.pass(),
        }
    }

    fn pass(&mut self) -> Operation {
        // The longest is enough to give up an executor that is offline.
        let longest = if self.timed && self.one_in(5) {
            301_000
        } else {
            5_000
        };
        let millis = *self.pick(&[1, 20, 60, 120, 500, 1_000, longest]);
        let time = Duration::from_millis(millis);
        self.now = self.now + time;
        self.asked.now = self.now;
        Operation::Pass(time)
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        from.choose(&mut self.random)
            .expect("invariant: there is something to pick from")
    }

    /// True once in `times`.
    fn one_in(&mut self, times: u32) -> bool {
        self.random.random_range(0..times) == 0
    }

    /// An instant near the present.
    fn near(&mut self) -> Timestamp {
        let millis = *self.pick(&[-3_000, -10, 0, 0, 0, 50, 400, 2_000]);
        Timestamp::from_micros(self.now.as_micros() + millis * 1_000)
    }

    fn limit(&mut self) -> usize {
        *self.pick(&[1, 2, 5, 1_000])
    }

    fn job_id(&mut self) -> JobId {
        let id = *self.pick(&["j0", "j1", "j2", "j3"]);
        JobId::new(id).expect("invariant: a good id")
    }

    fn executor_id(&mut self) -> ExecutorId {
        let id = *self.pick(&["e0", "e1", "e2"]);
        ExecutorId::new(id).expect("invariant: a good id")
    }

    /// An executor that is there, seldom one of another incarnation or one that isn't.
    fn holder(&mut self, executors: &[ExecutorRecord]) -> Holder {
        let executor_id = self.executor_id();
        let there = executors.iter().find(|record| record.executor_id == executor_id);
        let newest = there.map_or(1, |record| record.incarnation.0);
        let incarnation = if self.one_in(12) {
            newest.saturating_sub(1).max(1)
        } else {
            newest
        };
        Holder {
            executor_id,
            incarnation: Incarnation(incarnation),
        }
    }

    /// The fence of something held, seldom a wrong or an old one; `None` if nothing ever was held.
    fn fence(&mut self, seen: &Snapshot) -> Option<Fence> {
        let held: Vec<&Task> = seen.live.iter().filter(|task| task.state.is_held()).collect();
        let old = self.old.choose(&mut self.random).cloned();
        if held.is_empty() || self.one_in(8) {
            return old;
        }
        let task = *self.pick(&held);
        let mut fence = fence_of(task)?;
        self.old.push(fence.clone());
        match self.random.random_range(0..40) {
            0 => fence.attempt += 1,
            1 => fence.token.0 += 1,
            2 => fence.holder.incarnation.0 += 1,
            _ => {}
        }
        Some(fence)
    }

    /// Some fences, of tasks that differ.
    fn fences(&mut self, seen: &Snapshot) -> Vec<Fence> {
        let count = self.random.random_range(1..5);
        let mut fences: Vec<Fence> = Vec::new();
        for _ in 0..count {
            fences.extend(self.fence(seen));
        }
        fences
    }
}

fn fence_of(task: &Task) -> Option<Fence> {
    Some(Fence {
        task_id: task.task_id.clone(),
        token: task.token,
        attempt: task.attempt,
        holder: task.holder.clone()?,
    })
}

fn run_id(id: &str) -> RunId {
    RunId::new(id).expect("invariant: a good id")
}
