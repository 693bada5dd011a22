//! What a connection remembers, so that it needn't read and decode it for every task. Bounded, and thrown away after a
//! rollback, which may have undone what it came from.

use std::collections::HashMap;
use std::sync::Arc;

use jobcore::Timestamp;
use jobcore::gate::GateKey;
use jobcore::id::JobId;
use jobcore::job::Job;
use jobcore::lane::Lane;
use jobcore::store::Fire;

use crate::queries::ordinary::Claims;

/// How many decoded jobs are kept: about a kilobyte each.
const MAX_JOBS: usize = 10_000;

/// How many lanes are kept; there are a few per handler and executor.
const MAX_LANES: usize = 4_096;

/// How many inserts must have been of new tasks only before it is taken for granted again.
const TRUST_INSERTS: u32 = 100;

/// A guess at whether tasks that are inserted are there already. A wrong one costs the transaction that goes by it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Repeats {
    /// How many inserts to look at first.
    doubts: u32,
}

impl Repeats {
    pub(crate) fn expected(self) -> bool {
        self.doubts > 0
    }

    /// Notes whether an insert that looked first met some that were there.
    pub(crate) fn note(&mut self, met: bool) {
        self.doubts = if met {
            TRUST_INSERTS
        } else {
            self.doubts.saturating_sub(1)
        };
    }
}

/// What a connection remembers.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    /// With what told, when it was read or written, that no other connection had written: SQLite's `data_version`.
    jobs: HashMap<JobId, (Arc<Job>, i64)>,
    /// What was claimed; its end checks that it is still so.
    pub(crate) claims: Claims,
    data_version: i64,
    /// Whether `data_version` was read in the present transaction.
    is_current: bool,
    lanes: HashMap<i64, Lane>,
    /// With when it was last noted that the lane is in use; long ago for those that were only read.
    lane_ids: HashMap<Lane, (i64, Timestamp)>,
    /// Whether inserts were repeated lately.
    pub(crate) repeats: Repeats,
    /// After which gate the next sweep goes on, if the one before didn't come to the end.
    pub(crate) swept_to: Option<GateKey>,
}

impl Caches {
    /// Forgets everything, as it may come from what was undone, but for how far the sweep of gates was before: it must get
    /// to its end however often others fail. And for what is only a guess.
    pub(crate) fn undo(&mut self, swept_to: Option<GateKey>) {
        *self = Self {
            swept_to,
            repeats: self.repeats,
            ..Self::default()
        };
    }

    /// To be called when a transaction begins.
    pub(crate) fn begin(&mut self) {
        self.is_current = false;
    }

    /// Tells the `data_version` that the present transaction, which writes, sees.
    pub(crate) fn see(&mut self, data_version: i64) {
        self.data_version = data_version;
        self.is_current = true;
    }

    /// The job as it is, if that is certain without a look: only this connection has written since it was kept.
    pub(crate) fn current_job(&self, job_id: &JobId) -> Option<&Arc<Job>> {
        let (job, data_version) = self.jobs.get(job_id)?;
        (self.is_current && *data_version == self.data_version).then_some(job)
    }

    /// The job as it was when it was last read; the caller checks that it is still so.
    pub(crate) fn job(&self, job_id: &JobId) -> Option<&Arc<Job>> {
        self.jobs.get(job_id).map(|(job, _)| job)
    }

    pub(crate) fn keep_job(&mut self, job: Arc<Job>) {
        if self.jobs.len() >= MAX_JOBS && !self.jobs.contains_key(&job.job_id) {
            // Half of them, whichever, so that a round through more than all never finds none.
            let mut kept = 0;
            self.jobs.retain(|_, _| {
                kept += 1;
                kept % 2 == 0
            });
        }
        self.jobs.insert(job.job_id.clone(), (job, self.data_version));
    }

    /// The job's row was advanced by this fire: what is remembered follows, instead of being read anew.
    pub(crate) fn job_fired(&mut self, fire: &Fire, error: &Option<String>) {
        if let Some((job, _)) = self
            .jobs
            .get_mut(&fire.job_id)
            .filter(|(job, _)| job.version == fire.version)
        {
            let job = Arc::make_mut(job);
            job.next_fire_time = fire.next_fire_time;
            job.last_fire_time = fire.last_fire_time.or(job.last_fire_time);
            job.zone_version.clone_from(&fire.zone_version);
            job.error.clone_from(error);
        }
    }

    pub(crate) fn forget_job(&mut self, job_id: &JobId) {
        self.jobs.remove(job_id);
    }

    /// The lane with this number. Numbers are never given again.
    pub(crate) fn lane(&self, lane_id: i64) -> Option<&Lane> {
        self.lanes.get(&lane_id)
    }

    /// The number of a lane, and when it was last noted that it is in use.
    pub(crate) fn lane_id(&self, lane: &Lane) -> Option<(i64, Timestamp)> {
        self.lane_ids.get(lane).copied()
    }

    pub(crate) fn keep_lane(&mut self, lane_id: i64, lane: Lane, use_time: Timestamp) {
        if self.lanes.len() >= MAX_LANES {
            self.forget_lanes();
        }
        self.lanes.insert(lane_id, lane.clone());
        let known = self.lane_ids.entry(lane).or_insert((lane_id, use_time));
        *known = (lane_id, known.1.max(use_time));
    }

    /// Forgets the lanes, after some were retired.
    pub(crate) fn forget_lanes(&mut self) {
        self.lanes.clear();
        self.lane_ids.clear();
    }
}
