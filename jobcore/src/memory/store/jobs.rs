//! Jobs by id, and by when they come due.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::id::JobId;
use crate::job::Job;
use crate::store::{
    Cursor, DeleteJob, DeleteJobOutcome, DueJobs, Expected, Fire, JobFilter, Page, PageRequest, PauseJob,
    PauseState, PutJob, PutJobOutcome,
};
use crate::time::Timestamp;

use super::state::clamp;

/// All jobs.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    by_id: BTreeMap<JobId, Arc<Job>>,
    due: BTreeSet<(Timestamp, JobId)>,
    /// Only active jobs with a schedule.
    zones: Zones,
}

impl Jobs {
    pub(super) fn get(&self, job_id: &JobId) -> Option<&Arc<Job>> {
        self.by_id.get(job_id)
    }

    pub(super) fn put(&mut self, put: PutJob) -> PutJobOutcome {
        let Some(old) = self.by_id.get(&put.job_id) else {
            return match put.expected {
                Expected::Version(_) => PutJobOutcome::NotFound,
                Expected::Any | Expected::Absent => PutJobOutcome::Created(self.store(created(put))),
            };
        };
        if let Some(current) = mismatch(put.expected, old.version) {
            return PutJobOutcome::VersionConflict { current };
        }
        if put.expected == Expected::Any && old.definition == put.definition && old.error.is_none() {
            return PutJobOutcome::Unchanged(old.clone());
        }
        let job = Job {
            job_id: put.job_id,
            definition: put.definition,
            paused: old.paused,
            version: old.version + 1,
            next_fire_time: put.next_fire_time.filter(|_| !old.paused),
            last_fire_time: old.last_fire_time,
            zone_version: put.zone_version,
            error: None,
            create_time: old.create_time,
            update_time: put.now,
        };
        PutJobOutcome::Updated(self.store(job))
    }

    pub(super) fn pause(&mut self, pause: PauseJob) -> PutJobOutcome {
        let Some(old) = self.by_id.get(&pause.job_id) else {
            return PutJobOutcome::NotFound;
        };
        if let Some(current) = mismatch(pause.expected, old.version) {
            return PutJobOutcome::VersionConflict { current };
        }
        let paused = pause.to == PauseState::Paused;
        if old.paused == paused {
            return PutJobOutcome::Unchanged(old.clone());
        }
        let job = Job {
            paused,
            version: old.version + 1,
            next_fire_time: pause.next_fire_time.filter(|_| !paused),
            update_time: pause.now,
            ..Job::clone(old)
        };
        PutJobOutcome::Updated(self.store(job))
    }

    pub(super) fn delete(&mut self, delete: &DeleteJob) -> DeleteJobOutcome {
        let Some(old) = self.by_id.get(&delete.job_id) else {
            return DeleteJobOutcome::NotFound;
        };
        if let Some(current) = mismatch(delete.expected, old.version) {
            return DeleteJobOutcome::VersionConflict { current };
        }
        if let Some(job) = self.by_id.remove(&delete.job_id) {
            self.forget(&job);
        }
        DeleteJobOutcome::Deleted
    }

    pub(super) fn list(&self, filter: &JobFilter, page: &PageRequest) -> Page<Arc<Job>> {
        let limit = clamp(page.limit);
        let after = page
            .cursor
            .as_ref()
            .map_or(Bound::Unbounded, |cursor| Bound::Excluded(cursor.0.as_str()));
        let text = filter.text.as_ref().map(|text| text.to_ascii_lowercase());
        let mut matching = self
            .by_id
            .range::<str, _>((after, Bound::Unbounded))
            .map(|(_, job)| job)
            .filter(|job| matches(filter, text.as_deref(), job));
        let items: Vec<_> = matching.by_ref().take(limit).cloned().collect();
        let next = matching.next().and(items.last());
        let next = next.map(|job| Cursor(job.job_id.as_str().to_owned()));
        Page { items, next }
    }

    pub(super) fn due(&self, due: &DueJobs) -> Vec<Arc<Job>> {
        let after = due
            .after
            .as_ref()
            .map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        self.due
            .range((after, Bound::Unbounded))
            .take_while(|(time, _)| *time <= due.until)
            .take(clamp(due.limit))
            .filter_map(|(_, job_id)| self.by_id.get(job_id).cloned())
            .collect()
    }

    pub(super) fn next_due_time(&self, after: Timestamp) -> Option<Timestamp> {
        // The highest id there can be: one of the longest length, all of the highest character, sorts before a longer
        // one.
        let last = (
            after,
            JobId::from_stored("~".repeat(crate::id::MAX_ID_LENGTH + 1)),
        );
        let (time, _) = self.due.range((Bound::Excluded(last), Bound::Unbounded)).next()?;
        Some(*time)
    }

    pub(super) fn unplanned(&self, zone_version: &str, limit: usize) -> Vec<Arc<Job>> {
        if self.zones.keys().all(|version| version == zone_version) {
            return Vec::new();
        }
        self.by_id
            .values()
            .filter(|job| is_planned(job) && job.zone_version != zone_version)
            .take(clamp(limit))
            .cloned()
            .collect()
    }

    /// Advances a job as a fire says, if the job is as the fire expects it; says whether it was.
    pub(super) fn advance(&mut self, fire: &Fire) -> bool {
        let Self { by_id, due, zones } = self;
        let Some(shared) = by_id.get_mut(&fire.job_id) else {
            return false;
        };
        if shared.paused
            || shared.version != fire.version
            || shared.next_fire_time != fire.expected_next_fire_time
        {
            return false;
        }
        let job = Arc::make_mut(shared);
        if job.next_fire_time != fire.next_fire_time {
            let place = |time| (time, job.job_id.clone());
            job.next_fire_time.map(|time| due.remove(&place(time)));
            fire.next_fire_time.map(|time| due.insert(place(time)));
            job.next_fire_time = fire.next_fire_time;
        }
        if job.zone_version != fire.zone_version {
            count_zone_out(zones, job);
            job.zone_version.clone_from(&fire.zone_version);
            count_zone(zones, job);
        }
        job.last_fire_time = fire.last_fire_time.or(job.last_fire_time);
        job.error.clone_from(&fire.error);
        true
    }

    fn store(&mut self, job: Job) -> Arc<Job> {
        let job = Arc::new(job);
        self.note(&job);
        if let Some(old) = self.by_id.insert(job.job_id.clone(), job.clone()) {
            self.forget_unless(&old, &job);
        }
        job
    }

    /// Takes `old` out of the indexes where `new`, which is in them already, doesn't stand at the same place.
    fn forget_unless(&mut self, old: &Job, new: &Job) {
        if let Some(time) = old
            .next_fire_time
            .filter(|time| Some(*time) != new.next_fire_time)
        {
            self.due.remove(&(time, old.job_id.clone()));
        }
        count_zone_out(&mut self.zones, old);
    }

    fn forget(&mut self, job: &Job) {
        if let Some(time) = job.next_fire_time {
            self.due.remove(&(time, job.job_id.clone()));
        }
        count_zone_out(&mut self.zones, job);
    }

    fn note(&mut self, job: &Job) {
        if let Some(time) = job.next_fire_time {
            self.due.insert((time, job.job_id.clone()));
        }
        count_zone(&mut self.zones, job);
    }
}

/// How many jobs were planned with which version of the zone data.
type Zones = BTreeMap<String, usize>;

fn count_zone(zones: &mut Zones, job: &Job) {
    if !is_planned(job) {
        return;
    }
    match zones.get_mut(&job.zone_version) {
        Some(count) => *count += 1,
        None => {
            zones.insert(job.zone_version.clone(), 1);
        }
    }
}

fn count_zone_out(zones: &mut Zones, job: &Job) {
    if !is_planned(job) {
        return;
    }
    if let Some(count) = zones.get_mut(&job.zone_version) {
        *count -= 1;
        if *count == 0 {
            zones.remove(&job.zone_version);
        }
    }
}

/// Whether its next fire time follows from zone data.
fn is_planned(job: &Job) -> bool {
    !job.paused && job.definition.schedule.is_some()
}

/// The present version, if it isn't the expected one.
fn mismatch(expected: Expected, current: u64) -> Option<u64> {
    match expected {
        Expected::Any => None,
        Expected::Version(version) if version == current => None,
        Expected::Absent | Expected::Version(_) => Some(current),
    }
}

fn created(put: PutJob) -> Job {
    Job {
        job_id: put.job_id,
        definition: put.definition,
        paused: false,
        version: 1,
        next_fire_time: put.next_fire_time,
        last_fire_time: None,
        zone_version: put.zone_version,
        error: None,
        create_time: put.now,
        update_time: put.now,
    }
}

/// Whether a job matches the filter, whose text is in lower case.
fn matches(filter: &JobFilter, text: Option<&str>, job: &Job) -> bool {
    let definition = &job.definition;
    let contains = |text: &str| {
        definition.name.to_ascii_lowercase().contains(text)
            || job.job_id.as_str().to_ascii_lowercase().contains(text)
    };
    text.is_none_or(contains)
        && filter.kind.is_none_or(|kind| definition.command.kind == kind)
        && (filter.owner.is_none() || filter.owner == definition.owner)
        && filter
            .pause
            .is_none_or(|pause| job.paused == (pause == PauseState::Paused))
        && filter
            .labels
            .iter()
            .all(|(key, value)| definition.labels.get(key) == Some(value))
}
