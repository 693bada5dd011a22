//! What the store remembers, so that it needn't read and decode it for every task. Bounded; what was learned in a
//! transaction is kept when that is committed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jobcore::Timestamp;
use jobcore::id::JobId;
use jobcore::job::Job;
use jobcore::lane::Lane;
use jobcore::task::Rank;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::queries::claims::Claims;
use crate::queries::lane_starts::LaneStarts;
use crate::queries::stored_task::StoredTask;
use crate::queries::tasks::LatestCounts;

/// How many decoded jobs are kept: about a kilobyte each.
const MAX_JOBS: usize = 10_000;

/// How many lanes are kept; there are a few per handler and executor.
const MAX_LANES: usize = 4_096;

/// For how long ranges of a lane are left alone after others were met there.
const CONTESTED: Duration = Duration::from_secs(2);

/// What the store remembers.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    jobs: Mutex<HashMap<JobId, Arc<Job>>>,
    lanes: Mutex<Lanes>,
    /// What was claimed; its end checks that it is still so.
    pub(crate) claims: Mutex<Claims>,
    /// Until when several are at work in the same part of a lane.
    contested_until: Mutex<Option<Instant>>,
    /// Where claims begin to look.
    pub(crate) lane_starts: Mutex<LaneStarts>,
    /// How many live tasks there were.
    pub(crate) task_counts: Mutex<LatestCounts>,
    /// After which gate the next sweep goes on, if the one before didn't come to the end.
    pub(crate) swept_to: Mutex<Option<jobcore::gate::GateKey>>,
}

#[derive(Debug, Default)]
struct Lanes {
    by_id: HashMap<i64, Lane>,
    /// With when it was last noted that the lane is in use; long ago for those that were only read.
    ids: HashMap<Lane, (i64, Timestamp)>,
}

/// What a transaction found out or wrote.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    jobs: Vec<Arc<Job>>,
    lanes: Vec<(i64, Lane, Timestamp)>,
    lanes_changed: bool,
    claimed: Vec<StoredTask>,
    /// The lowest rank that became ready in each lane.
    ready: HashMap<i64, Rank>,
}

impl Learned {
    pub(crate) fn job(&mut self, job: Arc<Job>) {
        self.jobs.push(job);
    }

    /// A lane, and when it was noted that it is in use.
    pub(crate) fn lane(&mut self, lane_id: i64, lane: Lane, use_time: Timestamp) {
        self.lanes.push((lane_id, lane, use_time));
    }

    /// Some lanes were retired: what is known of them is to be read anew.
    pub(crate) fn lanes_changed(&mut self) {
        self.lanes_changed = true;
    }

    /// A task that was claimed, as its row is now.
    pub(crate) fn claimed(&mut self, stored: StoredTask) {
        self.claimed.push(stored);
    }

    /// A task became ready in a lane, and is there for claims after the commit.
    pub(crate) fn ready(&mut self, lane_id: i64, rank: Rank) {
        let lowest = self.ready.entry(lane_id).or_insert(rank);
        *lowest = (*lowest).min(rank);
    }

    fn find_lane(&self, lane_id: i64) -> Option<&Lane> {
        self.lanes
            .iter()
            .find(|(id, ..)| *id == lane_id)
            .map(|(_, lane, _)| lane)
    }

    fn find_lane_id(&self, lane: &Lane) -> Option<(i64, Timestamp)> {
        let found = self.lanes.iter().rev().find(|(_, known, _)| known == lane);
        found.map(|(lane_id, _, use_time)| (*lane_id, *use_time))
    }
}

impl Caches {
    /// Keeps what a transaction learned that is committed.
    pub(crate) fn keep(&self, learned: Learned) {
        if !learned.claimed.is_empty() {
            let mut claims = self.claims.lock();
            for stored in learned.claimed {
                claims.keep(stored);
            }
        }
        if !learned.ready.is_empty() {
            let mut starts = self.lane_starts.lock();
            for (lane_id, rank) in learned.ready {
                starts.lowered(lane_id, rank);
            }
        }
        if !learned.jobs.is_empty() {
            let mut jobs = self.jobs.lock();
            for job in learned.jobs {
                if jobs.len() >= MAX_JOBS {
                    jobs.clear();
                }
                jobs.insert(job.job_id.clone(), job);
            }
        }
        if learned.lanes_changed || !learned.lanes.is_empty() {
            let mut lanes = self.lanes.lock();
            if learned.lanes_changed || lanes.by_id.len() >= MAX_LANES {
                *lanes = Lanes::default();
            }
            for (lane_id, lane, use_time) in learned.lanes {
                lanes.by_id.insert(lane_id, lane.clone());
                let known = lanes.ids.entry(lane).or_insert((lane_id, use_time));
                *known = (lane_id, known.1.max(use_time));
            }
        }
    }

    /// Whether others were lately at work in the same part of a lane, so that ranges would hold each other up.
    pub(crate) fn is_contested(&self) -> bool {
        let until = *self.contested_until.lock();
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Others are at work in the same part of a lane.
    pub(crate) fn contested(&self) {
        *self.contested_until.lock() = Some(Instant::now() + CONTESTED);
    }

    /// The job as it was when it was last read; the caller checks that it is still so.
    pub(crate) fn job(&self, job_id: &JobId) -> Option<Arc<Job>> {
        self.jobs.lock().get(job_id).cloned()
    }

    /// The lane with this number. Numbers are never given again.
    pub(crate) fn lane(&self, learned: &Learned, lane_id: i64) -> Option<Lane> {
        let known = self.lanes.lock().by_id.get(&lane_id).cloned();
        known.or_else(|| learned.find_lane(lane_id).cloned())
    }

    /// The number of a lane, and when it was last noted that it is in use.
    pub(crate) fn lane_id(&self, learned: &Learned, lane: &Lane) -> Option<(i64, Timestamp)> {
        learned
            .find_lane_id(lane)
            .or_else(|| self.lanes.lock().ids.get(lane).copied())
    }
}
