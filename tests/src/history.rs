//! What the store recorded, read to its end through the public API.

use std::collections::BTreeMap;

use jobcore::attempt::Attempt;
use jobcore::id::{JobId, TaskId};
use jobcore::store::{AttemptFilter, Decision, FinishedFilter, PageRequest, TaskFilter};
use jobcore::task::{Task, TaskState};
use jobcore::{Result, Scheduler, Timestamp};

use crate::journal::Began;

/// Everything that the checker judges.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Tasks whose insert was acknowledged to a client.
    pub accepted: Vec<TaskId>,
    /// Nominal times of scheduled jobs that the store says are dealt with.
    pub fires: BTreeMap<JobId, Vec<Timestamp>>,
    /// Tasks that aren't final.
    pub live: Vec<Task>,
    /// Tasks that are.
    pub finished: Vec<Task>,
    /// Their attempts.
    pub attempts: Vec<Attempt>,
    /// Why fires have no task.
    pub decisions: Vec<Decision>,
    /// What handlers wrote down.
    pub journal: Vec<Began>,
    /// Final tasks as they were seen on the way.
    pub seen_final: Vec<(TaskId, TaskState, Option<Timestamp>)>,
    /// Tasks of which a process is alive although nobody runs them.
    pub shell_children: Vec<TaskId>,
}

const PAGE: usize = 1_000;

macro_rules! read_all {
    (|$page:ident| $list:expr) => {{
        let mut items = Vec::new();
        let mut $page = PageRequest::first(PAGE);
        loop {
            let read = $list.await?;
            items.extend(read.items);
            match read.next {
                Some(cursor) => $page.cursor = Some(cursor),
                None => break items,
            }
        }
    }};
}

impl History {
    /// Reads what the store knows; the rest stays empty.
    ///
    /// # Errors
    /// The store's.
    pub async fn read(scheduler: &dyn Scheduler, scheduled: &[JobId]) -> Result<Self> {
        let (any_live, any_final) = (TaskFilter::default(), FinishedFilter::default());
        let any_attempt = AttemptFilter::default();
        Ok(Self {
            fires: fires(scheduler, scheduled).await?,
            live: read_all!(|page| scheduler.list_tasks(&any_live, &page)),
            finished: read_all!(|page| scheduler.list_finished(&any_final, &page)),
            attempts: read_all!(|page| scheduler.list_attempts(&any_attempt, &page)),
            decisions: read_all!(|page| scheduler.list_decisions(None, &page)),
            ..Self::default()
        })
    }
}

/// All nominal times of the jobs up to the latest that was dealt with.
async fn fires(scheduler: &dyn Scheduler, scheduled: &[JobId]) -> Result<BTreeMap<JobId, Vec<Timestamp>>> {
    let jobs = scheduler.get_jobs(scheduled).await?;
    let nominal = jobs.into_iter().flatten().map(|job| {
        let until = job.last_fire_time.unwrap_or(job.create_time);
        let schedule = job.definition.schedule.iter();
        let times = schedule
            .flat_map(|schedule| schedule.fires_after(job.create_time, job.create_time))
            .map(|fire| fire.scheduled_for)
            .take_while(|time| *time <= until)
            .collect();
        (job.job_id.clone(), times)
    });
    Ok(nominal.collect())
}
