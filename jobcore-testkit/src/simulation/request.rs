//! Requests: what people and programs ask of the cluster, of whatever node they happen to reach.

use std::sync::Arc;
use std::time::Duration;

use jobcore::gate::{KeyLimit, Rate};
use jobcore::id::{JobId, TaskId};
use jobcore::job::{NewJob, OnLeaseLost};
use jobcore::misfire::{MisfireAction, MisfirePolicy};
use jobcore::overlap::OverlapPolicy;
use jobcore::placement::{Placement, Strategy};
use jobcore::retry::RetryPolicy;
use jobcore::scheduler::{
    Cancel, Due, ExecutorOrder, PauseRequest, PutJobRequest, Scheduler, Trigger, Triggered,
};
use jobcore::store::{ChangeTask, DeleteJob, Expected, PauseState};
use jobcore::{Engine, JobBuilder, Result, Schedule};

use super::chance::Chance;
use super::cluster::Cluster;
use super::handlers::{NAMES, Work};
use super::time::ORIGIN;
use super::world::World;

/// How many jobs there are at the most.
const JOBS: u64 = 6;

/// Something that is asked of the cluster.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request {
    PutJob,
    Pause,
    Resume,
    Delete,
    Trigger,
    CancelTask,
    CancelJob,
    ChangeTask,
    Retry,
    Disable,
    Enable,
    Drain,
}

impl Request {
    pub(super) fn draw(chance: &Chance) -> Self {
        match chance.between(0, 31) {
            0..=3 => Self::PutJob,
            4 => Self::Pause,
            5 | 6 => Self::Resume,
            7 => Self::Delete,
            8..=21 => Self::Trigger,
            22..=24 => Self::CancelTask,
            25 => Self::CancelJob,
            26 | 27 => Self::ChangeTask,
            28 => Self::Retry,
            29 => Self::Disable,
            30 => Self::Enable,
            _ => Self::Drain,
        }
    }

    /// Asks a node. What comes of it is the invariants' concern; a refusal is as good as any answer.
    pub(super) async fn ask(self, cluster: Arc<Cluster>) {
        let Some(engine) = cluster.some_engine() else {
            return;
        };
        let world = cluster.world.clone();
        world.tell(|| format!("REQUEST {self:?} to {:?}", engine.holder()));
        let asked = self.ask_engine(&cluster, &engine).await;
        world.tell(|| format!("ANSWER to {self:?}: {asked:?}"));
    }

    async fn ask_engine(self, cluster: &Arc<Cluster>, engine: &Engine) -> Result<()> {
        let world = &cluster.world;
        let chance = &world.chance;
        match self {
            Self::PutJob => {
                let job = job(chance)?;
                let expected = *chance.pick(&[
                    Expected::Any,
                    Expected::Absent,
                    Expected::Version(1),
                    Expected::Version(2),
                ]);
                let expected = if world.look(|mirror| mirror.jobs.is_empty()) {
                    Expected::Any
                } else {
                    expected
                };
                let _ = engine.put_jobs(vec![PutJobRequest { job, expected }]).await?;
            }
            Self::Pause | Self::Resume => {
                let to = if matches!(self, Self::Pause) {
                    PauseState::Paused
                } else {
                    PauseState::Active
                };
                let job_id = some_job(chance)?;
                let expected = Expected::Any;
                let _ = engine
                    .pause_jobs(vec![PauseRequest { job_id, expected, to }])
                    .await?;
            }
            Self::Delete => {
                let job_id = some_job(chance)?;
                let expected = Expected::Any;
                let _ = engine.delete_jobs(vec![DeleteJob { job_id, expected }]).await?;
            }
            Self::Trigger => trigger(cluster, engine).await?,
            Self::CancelTask => {
                if let Some(task_id) = some_task(world) {
                    let mut cancel = Cancel::task(task_id, "simulated");
                    cancel.grace = chance.happens(500).then(|| chance.millis(0, 3_000));
                    engine.cancel(cancel).await?;
                }
            }
            Self::CancelJob => {
                engine.cancel(Cancel::job(some_job(chance)?, "simulated")).await?;
            }
            Self::ChangeTask => {
                if let Some(task_id) = some_task(world) {
                    let change = ChangeTask {
                        task_id,
                        priority: chance.happens(500).then(|| chance.between(0, 5) as i32),
                        due_time: chance
                            .happens(500)
                            .then(|| ORIGIN + world.time.passed() + chance.millis(0, 3_000)),
                    };
                    let _ = engine.change_tasks(vec![change]).await?;
                }
            }
            Self::Retry => {
                let ended = world.look(|mirror| {
                    let mut ended: Vec<TaskId> = mirror.ended.keys().cloned().collect();
                    ended.sort_unstable();
                    ended
                });
                if !ended.is_empty() {
                    engine.retry(std::slice::from_ref(chance.pick(&ended))).await?;
                }
            }
            Self::Disable | Self::Enable | Self::Drain => {
                let order = match self {
                    Self::Disable => ExecutorOrder::Disable,
                    Self::Enable => ExecutorOrder::Enable,
                    _ => ExecutorOrder::Drain,
                };
                let executor_id = cluster.some_executor();
                let _ = engine.order_executor(&executor_id, order).await?;
            }
        }
        Ok(())
    }
}

/// Triggers a job under a task id of the caller's, and asks again elsewhere until the answer is known.
async fn trigger(cluster: &Arc<Cluster>, engine: &Engine) -> Result<()> {
    let world = &cluster.world;
    let chance = &world.chance;
    let task_id = TaskId::new(format!("t{}", world.number()))?;
    let mut trigger = Trigger::new(some_job(chance)?).task_id(task_id);
    if chance.happens(300) {
        trigger = trigger.arguments(&work(chance))?;
    }
    trigger.priority = chance.happens(300).then(|| chance.between(0, 3) as i32);
    trigger.due = chance.happens(400).then(|| Due::In(chance.millis(0, 6_000)));
    if chance.happens(400) {
        trigger = trigger.unique(format!("u{}", chance.between(0, 1)))?;
    }
    let mut answer = engine.trigger(vec![trigger.clone()]).await;
    while !cluster.is_healed() {
        match &answer {
            Ok(triggered) => {
                note_accepted(world, triggered);
                return Ok(());
            }
            Err(error) if error.is_indeterminate() || error.is_retryable() => {}
            Err(_) => break,
        }
        tokio::time::sleep(chance.millis(50, 500)).await;
        let Some(other) = cluster.some_engine() else {
            continue;
        };
        answer = other.trigger(vec![trigger.clone()]).await;
    }
    answer.map(|triggered| note_accepted(world, &triggered))
}

/// What a caller was told that it is there must be there.
fn note_accepted(world: &World, triggered: &[Triggered]) {
    for accepted in triggered {
        let task_id = accepted.task_id();
        if world.look(|mirror| mirror.task(task_id).is_none()) {
            world.report(
                "no accepted task is ever lost",
                format!("accepted, and not there: {accepted:?}"),
            );
        }
    }
}

fn some_job(chance: &Chance) -> Result<JobId> {
    JobId::new(format!("j{}", chance.between(0, JOBS - 1)))
}

fn some_task(world: &World) -> Option<TaskId> {
    let live = world.look(|mirror| mirror.live.keys().cloned().collect::<Vec<_>>());
    (!live.is_empty()).then(|| world.chance.pick(&live).clone())
}

/// A job with policies of all kinds.
fn job(chance: &Chance) -> Result<NewJob> {
    let schedule = schedule(chance)?;
    let mut work = work(chance);
    if schedule.is_some() {
        // Or a job that fires quickly keeps a small cluster dead, however well each of its tasks is contained.
        work.kills = work.kills.min(1);
    }
    let mut job = JobBuilder::handler(chance.pick::<&str>(&NAMES))
        .id(some_job(chance)?.as_str())
        .arguments(work)
        .priority(chance.between(0, 2) as i32)
        .cancel_grace(chance.millis(0, 3_000))
        .misfire(misfire(chance))
        .retry(retry(chance));
    if let Some(schedule) = schedule {
        job = job.schedule(schedule);
    }
    if chance.happens(400) {
        job = job.overlap(*chance.pick(&[
            OverlapPolicy::Skip,
            OverlapPolicy::QueueOne,
            OverlapPolicy::QueueAll,
            OverlapPolicy::CancelPrevious,
        ]));
    }
    if chance.happens(250) {
        job = job.max_concurrent(chance.between(1, 3) as u32);
    }
    if chance.happens(400) {
        job = job.limit(limit(chance));
    }
    if chance.happens(200) {
        job = job.at_most_once();
    }
    if chance.happens(150) {
        job = job.on_lease_lost(OnLeaseLost::Stop);
    }
    if chance.happens(200) {
        job = job.timeout(chance.millis(100, 2_000));
    }
    if chance.happens(200) {
        job = job.placement(Placement {
            strategy: *chance.pick(&[
                Strategy::Broadcast,
                Strategy::Shard { parts: 3 },
                Strategy::RoundRobin,
                Strategy::LeastLoaded,
            ]),
            ..Placement::default()
        });
    }
    job.build()
}

fn work(chance: &Chance) -> Work {
    Work {
        millis: *chance.pick(&[0, 0, 5, 30, 30, 300, 300, 1_000, 1_000, 5_000]),
        kills: if chance.happens(80) {
            *chance.pick(&[1, 2, 1_000])
        } else {
            0
        },
        snoozes: if chance.happens(100) {
            chance.between(1, 3) as u32
        } else {
            0
        },
        failures: if chance.happens(300) {
            chance.between(1, 4) as u32
        } else {
            0
        },
        deaf: chance.happens(200),
        saves: chance.happens(150),
        panics: chance.happens(300),
        talks: chance.happens(100),
    }
}

fn schedule(chance: &Chance) -> Result<Option<Schedule>> {
    let schedule = match chance.between(0, 6) {
        0 | 1 => Schedule::every(chance.millis(300, 4_000)),
        2 => Schedule::every_after(chance.millis(300, 3_000)),
        3 => Schedule::once(ORIGIN + chance.millis(0, 20_000)),
        4 => Schedule::cron(chance.pick::<&str>(&["* * * * * *", "*/2 * * * * *", "*/5 * * * * *"]))?,
        5 => Schedule::every(chance.millis(500, 3_000)).jitter(chance.millis(1, 400)),
        _ => return Ok(None),
    };
    Ok(Some(schedule))
}

fn misfire(chance: &Chance) -> MisfirePolicy {
    MisfirePolicy {
        action: *chance.pick(&[
            MisfireAction::FireOnce,
            MisfireAction::FireAll { limit: 3 },
            MisfireAction::Skip,
        ]),
        threshold: chance.millis(100, 5_000),
        window: chance.happens(200).then(|| chance.millis(500, 5_000)),
    }
}

fn retry(chance: &Chance) -> RetryPolicy {
    let count = chance.between(0, 3) as u32;
    if chance.happens(500) {
        RetryPolicy::fixed(count, chance.millis(0, 1_000))
    } else {
        RetryPolicy::exponential(count, chance.millis(50, 500))
    }
}

fn limit(chance: &Chance) -> KeyLimit {
    // What a key means doesn't change, or two jobs would have two opinions about it.
    match chance.between(0, 3) {
        0 => KeyLimit {
            key: "one".to_owned(),
            max_concurrent: Some(1),
            rate: None,
        },
        1 => KeyLimit {
            key: "two".to_owned(),
            max_concurrent: Some(2),
            rate: None,
        },
        _ => KeyLimit {
            key: "rate".to_owned(),
            max_concurrent: None,
            rate: Some(Rate {
                count: 5,
                per: Duration::from_secs(1),
                burst: 2,
            }),
        },
    }
}
