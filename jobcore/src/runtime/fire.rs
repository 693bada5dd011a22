//! Firing: reads ahead what comes due, waits for the instant in a local timer, and writes when it is due.
//!
//! Nothing is inserted or leased before its time, so a change, pause or delete just before the instant holds.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};

use super::claim::Lanes;
use super::node::Node;
use crate::engine::fire;
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::id::{ExecutorId, JobId};
use crate::job::Job;
use crate::placement::Strategy;
use crate::schedule::zone_data_version;
use crate::store::{
    DueJobs, ExecutorFilter, FinishedFilter, Fire, FireOutcome, MAX_BATCH, PageRequest, TaskFilter,
};
use crate::telemetry;
use crate::time::Timestamp;

/// How far ahead due jobs are read. Longer costs memory and gains nothing; shorter reads more often.
const HORIZON: Duration = Duration::from_secs(1);

/// How often they are read anew: half the horizon, so that one read may fail.
const READ_EVERY: Duration = Duration::from_millis(500);

/// How many jobs the horizon holds at the most; later ones are read when these are done.
const MOST_READ: usize = 20_000;

/// How many fires are written together at first: enough to share a flush, few enough that the first needn't wait for the
/// last. While more are due it doubles, up to [`MAX_BATCH`].
const FIRE_BATCH: usize = 250;

/// How often jobs without a plan are looked for: rows written by hand, and all after new zone data.
const PLAN_EVERY: Duration = Duration::from_secs(5);

/// Jobs by when they come due.
type Ahead = BTreeMap<(Timestamp, JobId), Arc<Job>>;

/// The fire loop.
pub(crate) struct Firer {
    node: Arc<Node>,
    lanes: Arc<Lanes>,
    /// What comes due within the horizon.
    ahead: Ahead,
    /// The read that is on its way, beside which firing goes on.
    reading: JoinSet<Result<Ahead>>,
    /// What was fired meanwhile, of which the read may tell how it was before.
    fired_meanwhile: HashSet<JobId>,
    read_next: Timestamp,
    plan_next: Timestamp,
}

impl Firer {
    pub(crate) fn new(node: Arc<Node>, lanes: Arc<Lanes>) -> Self {
        let now = node.now();
        Self {
            node,
            lanes,
            ahead: Ahead::new(),
            reading: JoinSet::new(),
            fired_meanwhile: HashSet::new(),
            read_next: now,
            plan_next: now,
        }
    }

    /// Runs until the node drains.
    pub(crate) async fn run(mut self) {
        let node = self.node.clone();
        while !node.draining.is_cancelled() {
            let round = self.round().await;
            match round {
                Ok(()) => node.health.works("fire"),
                Err(error) => node.back_off("fire", &error).await,
            }
            self.rest().await;
        }
    }

    async fn rest(&mut self) {
        let first_due = self.ahead.first_key_value().map(|((due_time, _), _)| *due_time);
        // The next read waits for the one that is on its way.
        let read_next = Some(self.read_next).filter(|_| self.reading.is_empty());
        let until = first_due
            .into_iter()
            .chain(read_next)
            .min()
            .unwrap_or(Timestamp::MAX);
        tokio::select! {
            biased;
            () = self.node.draining.cancelled() => {}
            // Before the wake-ups, which may come without a pause and wait for the next read anyway.
            Some(read) = self.reading.join_next() => self.take_in(read),
            () = self.node.wake.fire.notified() => self.read_next = self.node.now(),
            () = self.node.sleep_until(until) => {}
        }
    }

    async fn round(&mut self) -> Result<()> {
        let now = self.node.now();
        if now >= self.plan_next {
            self.plan_unplanned(now).await?;
            self.plan_next = now + PLAN_EVERY;
        }
        if now >= self.read_next && self.reading.is_empty() {
            self.begin_read(now);
        }
        let mut most = FIRE_BATCH;
        while !self.node.draining.is_cancelled() && self.fire_due(most).await? {
            most = (most * 2).min(MAX_BATCH);
        }
        Ok(())
    }

    /// Reads anew, beside the firing.
    fn begin_read(&mut self, now: Timestamp) {
        self.fired_meanwhile.clear();
        self.reading.spawn(read_ahead(Arc::clone(&self.node), now));
        self.read_next = now + READ_EVERY;
    }

    /// Takes over what was read, but for what was fired meanwhile: of that we know more than the read.
    fn take_in(&mut self, read: Result<Result<Ahead>, JoinError>) {
        let read = match read {
            Ok(Ok(read)) => read,
            Ok(Err(error)) => return self.retry_read(&error),
            Err(error) => return self.retry_read(&Error::new(ErrorKind::Unavailable, error.to_string())),
        };
        self.node.health.works("read_ahead");
        let fired = &self.fired_meanwhile;
        self.ahead.retain(|(_, job_id), _| fired.contains(job_id));
        let newer = read
            .into_iter()
            .filter(|((_, job_id), _)| !fired.contains(job_id));
        self.ahead.extend(newer);
    }

    fn retry_read(&mut self, error: &Error) {
        let pause = self
            .node
            .health
            .failed("read_ahead", error, self.node.now(), &*self.node.entropy);
        self.read_next = self.node.now() + pause;
    }

    /// Fires at most this many jobs that are due; says whether any were.
    async fn fire_due(&mut self, most: usize) -> Result<bool> {
        let now = self.node.now();
        let mut batch = Vec::new();
        while batch.len() < most
            && let Some(entry) = self.ahead.first_entry().filter(|entry| entry.key().0 <= now)
        {
            batch.push(entry.remove());
        }
        if batch.is_empty() {
            return Ok(false);
        }
        let mut planned = Vec::with_capacity(batch.len());
        for job in batch {
            let fire = self.plan(&job, now).await.inspect_err(|_| self.read_next = now)?;
            planned.push((job, fire));
        }
        self.write(planned, now).await?;
        Ok(true)
    }

    async fn plan(&self, job: &Job, now: Timestamp) -> Result<Fire> {
        if fire::counts_from_end(job)
            && let Some(wait_until) = self.previous_end(job, now).await?
        {
            return Ok(fire::reschedule(job, Some(wait_until), now));
        }
        let online = match job.definition.placement.strategy {
            Strategy::Broadcast => self.online(job).await?,
            _ => Vec::new(),
        };
        let plan = fire::plan(job, &online, &*self.node.entropy, now);
        Ok(plan.unwrap_or_else(|error| fire::refuse(job, error.to_string(), now)))
    }

    /// When a fixed delay comes due again: never before its last task ended. `None`: now.
    async fn previous_end(&self, job: &Job, now: Timestamp) -> Result<Option<Timestamp>> {
        let store = &self.node.store;
        let live = TaskFilter {
            job_id: Some(job.job_id.clone()),
            ..TaskFilter::default()
        };
        if let Some(task) = store
            .list_tasks(&live, &PageRequest::first(1))
            .await?
            .items
            .first()
        {
            // The task's end will set the true time; this one only makes sure that somebody looks again.
            return Ok(fire::next_after_end(job, now.max(task.due_time)));
        }
        let finished = FinishedFilter {
            job_id: Some(job.job_id.clone()),
            states: Vec::new(),
        };
        let last = store
            .list_finished(&finished, &PageRequest::first(1))
            .await?
            .items
            .into_iter()
            .next();
        let next = last.and_then(|task| fire::next_after_end(job, task.end_time?));
        Ok(next.filter(|next| *next > now))
    }

    async fn online(&self, job: &Job) -> Result<Vec<ExecutorId>> {
        let group = Some(job.definition.placement.group.clone());
        let executors = self
            .node
            .store
            .list_executors(&ExecutorFilter {
                group,
                ..ExecutorFilter::default()
            })
            .await?;
        Ok(fire::broadcast_targets(job, &executors))
    }

    /// Writes planned fires, in transactions of at most a batch of tasks.
    async fn write(&mut self, planned: Vec<(Arc<Job>, Fire)>, now: Timestamp) -> Result<()> {
        let mut planned = planned.into_iter().peekable();
        while planned.peek().is_some() {
            let (mut jobs, mut fires, mut tasks) = (Vec::new(), Vec::new(), 0);
            while let Some((_, fire)) = planned.peek()
                && (fires.is_empty() || tasks + fire.tasks.len() <= MAX_BATCH)
            {
                let (job, fire) = planned.next().expect("invariant: it was peeked");
                tasks += fire.tasks.len();
                jobs.push(job);
                fires.push(fire);
            }
            self.write_batch(jobs, fires, now).await?;
        }
        Ok(())
    }

    async fn write_batch(&mut self, jobs: Vec<Arc<Job>>, fires: Vec<Fire>, now: Timestamp) -> Result<()> {
        for task in fires.iter().flat_map(|fire| &fire.tasks) {
            self.lanes.heard_of(&self.node, &task.lane);
        }
        let plans: Vec<_> = fires
            .iter()
            .map(|fire| (fire.next_fire_time, fire.tasks.len(), fire.decisions.clone()))
            .collect();
        let gated: Vec<_> = fires
            .iter()
            .flat_map(|fire| &fire.tasks)
            .flat_map(|task| task.gates.iter().map(|gate| gate.key.clone()))
            .collect();
        // Whether an answer that got lost was a yes is found out by reading anew: a fire's identity is unique.
        let fire = self.node.then_claim(self.node.store.fire(fires));
        let outcomes = fire.await.inspect_err(|_| self.read_next = now)?;
        self.node.wake.promote.gates(&gated);
        for ((job, (next, tasks, decisions)), outcome) in jobs.into_iter().zip(plans).zip(outcomes) {
            match outcome {
                FireOutcome::Fired => {
                    metrics::counter!(telemetry::FIRES).increment(tasks as u64);
                    for decision in decisions {
                        self.node.emit(|| Event::Decision(decision));
                    }
                    self.look_forward(job, next);
                }
                // Somebody else changed or fired it: the next read shows how it is now.
                FireOutcome::Conflict => {}
            }
        }
        Ok(())
    }

    /// Keeps the fired job in sight if it comes due again before the next read.
    fn look_forward(&mut self, job: Arc<Job>, next_fire_time: Option<Timestamp>) {
        if !self.reading.is_empty() {
            self.fired_meanwhile.insert(job.job_id.clone());
        }
        if next_fire_time.is_none_or(|next| next > self.read_next + HORIZON) {
            return;
        }
        let job = Job {
            next_fire_time,
            last_fire_time: job.next_fire_time,
            ..Arc::unwrap_or_clone(job)
        };
        if let Some(due_time) = fire::due_time(&job) {
            self.ahead.insert((due_time, job.job_id.clone()), Arc::new(job));
        }
    }

    async fn plan_unplanned(&self, now: Timestamp) -> Result<()> {
        loop {
            let jobs = self
                .node
                .store
                .unplanned_jobs(zone_data_version(), MAX_BATCH)
                .await?;
            let last_page = jobs.len() < MAX_BATCH;
            let plans: Vec<_> = jobs.iter().map(|job| first_plan(job, now)).collect();
            if !plans.is_empty() {
                // A conflict means that somebody planned it already.
                let _ = self.node.store.fire(plans).await?;
            }
            if last_page {
                return Ok(());
            }
        }
    }
}

/// Reads what comes due within the horizon.
async fn read_ahead(node: Arc<Node>, now: Timestamp) -> Result<Ahead> {
    let mut due = DueJobs {
        until: now + HORIZON,
        after: None,
        limit: MAX_BATCH,
    };
    let mut ahead = Ahead::new();
    loop {
        let page = node.store.due_jobs(&due).await?;
        let last_page = page.len() < due.limit;
        due.after = page
            .last()
            .and_then(|job| Some((job.next_fire_time?, job.job_id.clone())));
        ahead.extend(
            page.into_iter()
                .filter_map(|job| Some(((fire::due_time(&job)?, job.job_id.clone()), job))),
        );
        if last_page || ahead.len() >= MOST_READ {
            return Ok(ahead);
        }
    }
}

/// The plan of a job that was never planned, or with other zone data. A next fire time that is due stays: changing rules
/// don't make a fire disappear.
fn first_plan(job: &Job, now: Timestamp) -> Fire {
    if let Err(error) = job.definition.validate() {
        return fire::refuse(job, error.to_string(), now);
    }
    let due = job.next_fire_time.filter(|next| *next <= now);
    let schedule = job.definition.schedule.as_ref();
    let next = due.or_else(|| fire::first_fire_time(schedule, job.create_time, now));
    fire::reschedule(job, next, now)
}

/// Tasks of fixed-delay jobs ended: their next fires count from then.
pub(crate) async fn reschedule_after(node: &Node, ended: &[(JobId, Timestamp)]) {
    let rescheduled = async {
        let job_ids: Vec<JobId> = ended.iter().map(|(job_id, _)| job_id.clone()).collect();
        let jobs = node.store.get_jobs(&job_ids).await?;
        let now = node.now();
        let plan = |(job, (_, end_time)): (Option<Arc<Job>>, &(JobId, Timestamp))| {
            // The job may have got another schedule since the claim: that one goes by itself.
            let job =
                job.filter(|job| fire::counts_from_end(job) && !job.paused && job.next_fire_time.is_some())?;
            let next = fire::next_after_end(&job, *end_time);
            (next != job.next_fire_time).then(|| fire::reschedule(&job, next, now))
        };
        let plans: Vec<Fire> = jobs.into_iter().zip(ended).filter_map(plan).collect();
        // On a conflict somebody else set it; without an answer the fire loop looks again at the time that is set.
        let _ = node.store.fire(plans).await?;
        node.wake.fire.notify_one();
        Result::Ok(())
    };
    if let Err(error) = rescheduled.await {
        node.health
            .failed("reschedule", &error, node.now(), &*node.entropy);
    }
}
