//! Jobs, fires and records.

use std::sync::Arc;

use async_trait::async_trait;
use jobcore::id::JobId;
use jobcore::job::Job;
use jobcore::store::{
    Change, DeleteJob, DeleteJobOutcome, DueJobs, ExecutorFilter, ExecutorRecord, Expected, Fire,
    FireOutcome, JobFilter, JobStore, Page, PageRequest, PauseJob, PauseState, PutJob, PutJobOutcome,
    PutRecord, PutRecordOutcome, Record, RegisterExecutor, Registration, SetExecutorStatus,
    SetExecutorStatusOutcome,
};
use jobcore::{Result, Timestamp};

use crate::FileStore;
use crate::listing::{clamp, is_after, page};
use crate::state::State;

#[async_trait]
impl JobStore for FileStore {
    fn name(&self) -> &'static str {
        "file"
    }

    async fn now(&self) -> Result<Timestamp> {
        Ok(self.time())
    }

    async fn put_jobs(&self, jobs: Vec<PutJob>) -> Result<Vec<PutJobOutcome>> {
        self.write_each(jobs, State::put_job)
    }

    async fn pause_jobs(&self, jobs: Vec<PauseJob>) -> Result<Vec<PutJobOutcome>> {
        self.write_each(jobs, State::pause_job)
    }

    async fn delete_jobs(&self, jobs: Vec<DeleteJob>) -> Result<Vec<DeleteJobOutcome>> {
        self.write_each(jobs, State::delete_job)
    }

    async fn get_jobs(&self, job_ids: &[JobId]) -> Result<Vec<Option<Arc<Job>>>> {
        Ok(self.read(|state| {
            let jobs = job_ids.iter().map(|job_id| state.jobs.get(job_id));
            jobs.map(|job| job.cloned().map(Arc::new)).collect()
        }))
    }

    async fn list_jobs(&self, filter: &JobFilter, request: &PageRequest) -> Result<Page<Arc<Job>>> {
        Ok(self.read(|state| {
            let jobs = state
                .jobs
                .iter()
                .filter(|(id, job)| is_after(request, id.as_str()) && matches(filter, job));
            page(jobs.map(|(id, job)| (id, Arc::new(job.clone()))), request)
        }))
    }

    async fn due_jobs(&self, due: &DueJobs) -> Result<Vec<Arc<Job>>> {
        Ok(self.read(|state| {
            let mut jobs: Vec<_> = state
                .jobs
                .values()
                .filter_map(|job| Some(((job.next_fire_time?, &job.job_id), job)))
                .collect();
            jobs.sort_by_key(|(key, _)| *key);
            let after = due.after.as_ref().map(|(time, job_id)| (*time, job_id));
            let jobs = jobs
                .into_iter()
                .filter(|(key, _)| key.0 <= due.until && after.is_none_or(|after| *key > after));
            jobs.take(clamp(due.limit))
                .map(|(_, job)| Arc::new(job.clone()))
                .collect()
        }))
    }

    async fn next_due_time(&self, after: Timestamp) -> Result<Option<Timestamp>> {
        Ok(self.read(|state| {
            let times = state.jobs.values().filter_map(|job| job.next_fire_time);
            times.filter(|time| *time > after).min()
        }))
    }

    async fn unplanned_jobs(&self, zone_version: &str, limit: usize) -> Result<Vec<Arc<Job>>> {
        Ok(self.read(|state| {
            let jobs = state.jobs.values().filter(|job| {
                !job.paused && job.definition.schedule.is_some() && job.zone_version != zone_version
            });
            jobs.take(clamp(limit)).cloned().map(Arc::new).collect()
        }))
    }

    async fn fire(&self, fires: Vec<Fire>) -> Result<Vec<FireOutcome>> {
        self.write_each(fires, State::fire)
    }

    async fn put_records(&self, records: Vec<PutRecord>) -> Result<Vec<PutRecordOutcome>> {
        self.write_each(records, State::put_record)
    }

    async fn get_record(&self, namespace: &str, key: &str) -> Result<Option<Record>> {
        Ok(self.read(|state| {
            let mut records = state.records.iter();
            records
                .find(|record| record.namespace == namespace && record.key == key)
                .cloned()
        }))
    }

    async fn list_records(&self, namespace: &str, request: &PageRequest) -> Result<Page<Record>> {
        Ok(self.read(|state| {
            let records = state.records.iter();
            let mut records: Vec<&Record> = records.filter(|record| record.namespace == namespace).collect();
            records.sort_by_key(|record| &record.key);
            let records = records
                .into_iter()
                .filter(|record| is_after(request, &record.key));
            page(records.map(|record| (&record.key, record.clone())), request)
        }))
    }

    async fn register_executor(&self, registration: RegisterExecutor) -> Result<Registration> {
        self.register(registration)
    }

    async fn list_executors(&self, filter: &ExecutorFilter) -> Result<Vec<ExecutorRecord>> {
        Ok(self.read(|state| state.list_executors(filter)))
    }

    async fn set_executor_status(&self, change: SetExecutorStatus) -> Result<SetExecutorStatusOutcome> {
        self.write(|state| state.set_executor_status(change))
    }
}

fn matches(filter: &JobFilter, job: &Job) -> bool {
    let definition = &job.definition;
    let contains = |text: &str, part: &str| text.to_ascii_lowercase().contains(&part.to_ascii_lowercase());
    let text = filter
        .text
        .as_ref()
        .is_none_or(|text| contains(&definition.name, text) || contains(job.job_id.as_str(), text));
    text && filter.kind.is_none_or(|kind| definition.command.kind == kind)
        && (filter.owner.is_none() || definition.owner == filter.owner)
        && filter
            .pause
            .is_none_or(|pause| job.paused == (pause == PauseState::Paused))
        && filter
            .labels
            .iter()
            .all(|(key, value)| definition.labels.get(key) == Some(value))
}

impl State {
    fn put_job(&mut self, put: PutJob) -> PutJobOutcome {
        let old = self.jobs.get(&put.job_id);
        match (old, put.expected) {
            (Some(job), Expected::Any) if job.definition == put.definition && job.error.is_none() => {
                return PutJobOutcome::Unchanged(Arc::new(job.clone()));
            }
            (Some(job), Expected::Absent) => return PutJobOutcome::VersionConflict { current: job.version },
            (Some(job), Expected::Version(version)) if version != job.version => {
                return PutJobOutcome::VersionConflict { current: job.version };
            }
            (None, Expected::Version(_)) => return PutJobOutcome::NotFound,
            _ => {}
        }
        let is_new = old.is_none();
        let paused = old.is_some_and(|job| job.paused);
        let job = Job {
            version: old.map_or(1, |job| job.version + 1),
            paused,
            next_fire_time: put.next_fire_time.filter(|_| !paused),
            last_fire_time: old.and_then(|job| job.last_fire_time),
            create_time: old.map_or(put.now, |job| job.create_time),
            job_id: put.job_id,
            definition: put.definition,
            zone_version: put.zone_version,
            error: None,
            update_time: put.now,
        };
        let job = self.keep_job(job);
        if is_new {
            PutJobOutcome::Created(job)
        } else {
            PutJobOutcome::Updated(job)
        }
    }

    fn keep_job(&mut self, job: Job) -> Arc<Job> {
        self.jobs.insert(job.job_id.clone(), job.clone());
        self.changes.add(Change::Job {
            job_id: job.job_id.clone(),
            version: Some(job.version),
        });
        Arc::new(job)
    }

    fn pause_job(&mut self, pause: PauseJob) -> PutJobOutcome {
        let Some(job) = self.jobs.get(&pause.job_id) else {
            return PutJobOutcome::NotFound;
        };
        if pause.expected != Expected::Any && pause.expected != Expected::Version(job.version) {
            return PutJobOutcome::VersionConflict { current: job.version };
        }
        let paused = pause.to == PauseState::Paused;
        if job.paused == paused {
            return PutJobOutcome::Unchanged(Arc::new(job.clone()));
        }
        let job = Job {
            paused,
            version: job.version + 1,
            next_fire_time: pause.next_fire_time.filter(|_| !paused),
            update_time: pause.now,
            ..job.clone()
        };
        PutJobOutcome::Updated(self.keep_job(job))
    }

    fn delete_job(&mut self, delete: DeleteJob) -> DeleteJobOutcome {
        let Some(job) = self.jobs.get(&delete.job_id) else {
            return DeleteJobOutcome::NotFound;
        };
        if delete.expected != Expected::Any && delete.expected != Expected::Version(job.version) {
            return DeleteJobOutcome::VersionConflict { current: job.version };
        }
        self.jobs.remove(&delete.job_id);
        self.changes.add(Change::Job {
            job_id: delete.job_id,
            version: None,
        });
        DeleteJobOutcome::Deleted
    }

    fn fire(&mut self, fire: Fire) -> FireOutcome {
        let Some(job) = self.jobs.get_mut(&fire.job_id) else {
            return FireOutcome::Conflict;
        };
        if job.paused || job.version != fire.version || job.next_fire_time != fire.expected_next_fire_time {
            return FireOutcome::Conflict;
        }
        job.next_fire_time = fire.next_fire_time;
        job.last_fire_time = fire.last_fire_time.or(job.last_fire_time);
        job.zone_version = fire.zone_version;
        job.error = fire.error;
        for task in fire.tasks {
            let _ = self.insert_task(task, fire.now);
        }
        for decision in fire.decisions {
            self.decisions.add(decision);
        }
        FireOutcome::Fired
    }

    fn put_record(&mut self, put: PutRecord) -> PutRecordOutcome {
        let same = |record: &&mut Record| record.namespace == put.namespace && record.key == put.key;
        let there = self.records.iter_mut().find(same);
        let current = there.as_ref().map(|record| record.version);
        let expected = match put.expected {
            Expected::Any => current,
            Expected::Absent => None,
            Expected::Version(version) => Some(version),
        };
        if current != expected {
            return PutRecordOutcome::VersionConflict { current };
        }
        let version = current.unwrap_or(0) + 1;
        match (there, put.value) {
            (Some(record), Some(value)) => {
                (record.value, record.version, record.update_time) = (value, version, put.now)
            }
            (None, Some(value)) => self.records.push(Record {
                namespace: put.namespace,
                key: put.key,
                value,
                version,
                update_time: put.now,
            }),
            (_, None) => {
                self.records
                    .retain(|record| record.namespace != put.namespace || record.key != put.key);
                return PutRecordOutcome::Deleted;
            }
        }
        PutRecordOutcome::Written { version }
    }
}
