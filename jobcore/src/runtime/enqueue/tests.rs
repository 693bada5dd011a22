//! What is planned, and who is woken.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

use std::time::Duration;

use futures_util::FutureExt as _;

use super::*;
use crate::clock::SystemClock;
use crate::config::{EngineConfig, Roles};
use crate::event::Received;
use crate::memory::MemoryStore;
use crate::scheduler::SchedulerExt as _;
use crate::store::{Expected, JobStore as _, PageRequest, TaskFilter, TaskStore as _};
use crate::{HandlerError, JobBuilder, TaskContext};

const HOUR: Duration = Duration::from_secs(3600);

/// An engine that never looks by itself, and has put `job`.
async fn engine(roles: Roles, job: JobBuilder) -> (Arc<MemoryStore>, Engine) {
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock::new())));
    let configure = |config: &mut EngineConfig| {
        config.poll_interval = HOUR;
        config.roles = roles;
    };
    let done = |(): (), _: TaskContext| async { Ok::<_, HandlerError>(()) };
    let builder = Engine::builder(store.clone()).configure(configure);
    let engine = builder.handler("work", done).start().await.unwrap();
    engine.put_job(job).await.unwrap();
    // Every loop takes its first look now, before there is anything to find.
    tokio::task::yield_now().await;
    (store, engine)
}

fn trigger() -> Trigger {
    Trigger::new(JobId::new("work").unwrap())
}

fn put(job: JobBuilder) -> PutJobRequest {
    PutJobRequest {
        job: job.build().unwrap(),
        expected: Expected::Any,
    }
}

async fn live(store: &MemoryStore) -> usize {
    let all = TaskFilter::default();
    let tasks = store.list_tasks(&all, &PageRequest::first(10)).await.unwrap();
    tasks.items.len()
}

async fn insert(store: &MemoryStore, plan: &TriggerPlan) -> Written<Triggered> {
    let outcomes = store.insert_tasks(plan.tasks().to_vec(), plan.now()).await;
    plan.inserted(outcomes.unwrap())
}

#[tokio::test]
async fn planning_writes_nothing() {
    let (store, engine) = engine(Roles::Scheduler, JobBuilder::handler("work")).await;
    let plan = engine.plan_triggers(vec![trigger(), trigger()]).await.unwrap();
    assert_eq!(plan.tasks().len(), 2);
    let plan = engine
        .plan_jobs(vec![put(JobBuilder::handler("other"))])
        .await
        .unwrap();
    assert_eq!(plan.jobs().len(), 1);
    assert_eq!(live(&store).await, 0);
    let other = store.get_jobs(&[JobId::new("other").unwrap()]).await.unwrap();
    assert_eq!(other, [None]);
}

#[tokio::test]
async fn a_plan_is_what_a_trigger_inserts() {
    let (store, engine) = engine(Roles::Scheduler, JobBuilder::handler("work").priority(3)).await;
    let (planned, triggered) = (TaskId::new("planned").unwrap(), TaskId::new("triggered").unwrap());
    let later = || trigger().after(HOUR).arguments(&7).unwrap();
    let plan = engine.plan_triggers(vec![later().task_id(planned.clone())]).await;
    let Written { outcomes, .. } = insert(&store, &plan.unwrap()).await;
    assert_eq!(
        outcomes,
        [Triggered::Made {
            task_id: planned.clone()
        }]
    );
    engine
        .trigger_one(later().task_id(triggered.clone()))
        .await
        .unwrap();
    let tasks = store.get_tasks(&[planned, triggered]).await.unwrap();
    let [planned, triggered] = tasks
        .try_into()
        .map(|tasks: [_; 2]| tasks.map(Option::unwrap))
        .unwrap();
    let same = Task {
        task_id: planned.task_id.clone(),
        create_time: planned.create_time,
        due_time: planned.due_time,
        rank: planned.rank,
        ..triggered
    };
    assert_eq!(planned, same);
    assert_eq!(planned.due_time, planned.create_time + HOUR);
}

#[tokio::test]
async fn a_plan_that_is_written_again_makes_no_second_task() {
    let (store, engine) = engine(Roles::Scheduler, JobBuilder::handler("work")).await;
    let plan = engine.plan_triggers(vec![trigger()]).await.unwrap();
    let task_id = plan.tasks()[0].task_id.clone();
    let Written { outcomes: first, .. } = insert(&store, &plan).await;
    let Written { outcomes: again, .. } = insert(&store, &plan).await;
    assert_eq!(
        first,
        [Triggered::Made {
            task_id: task_id.clone()
        }]
    );
    assert_eq!(again, [Triggered::Existing { task_id }]);
    assert_eq!(live(&store).await, 1);
}

#[tokio::test]
async fn a_wake_up_starts_what_nobody_looks_for() {
    let (store, engine) = engine(Roles::All, JobBuilder::handler("work")).await;
    let plan = engine.plan_triggers(vec![trigger()]).await.unwrap();
    let Written { outcomes, wake_up } = insert(&store, &plan).await;
    wake_up.wake();
    let done = tokio::time::timeout(Duration::from_secs(20), engine.wait(outcomes[0].task_id())).await;
    let task = done.expect("the task was not claimed").unwrap();
    assert_eq!(task.state, TaskState::Succeeded);
}

#[tokio::test]
async fn a_wake_up_tells_those_who_claim() {
    // Nobody claims here, so that the signal stays to be seen.
    let (store, engine) = engine(Roles::Scheduler, JobBuilder::handler("work")).await;
    let claim = &engine.shared.node.wake.claim;
    let plan = engine.plan_triggers(vec![trigger()]).await.unwrap();
    let Written { wake_up, .. } = insert(&store, &plan).await;
    assert_eq!(claim.notified().now_or_never(), None);
    wake_up.wake();
    assert_eq!(claim.notified().now_or_never(), Some(()));
    let later = engine.plan_triggers(vec![trigger().after(HOUR)]).await.unwrap();
    insert(&store, &later).await.wake_up.wake();
    assert_eq!(claim.notified().now_or_never(), None);
}

#[tokio::test]
async fn a_wake_up_names_the_gates_and_what_comes_due() {
    // Nobody promotes here, so that the hints stay to be seen.
    let (store, engine) = engine(Roles::Executor, JobBuilder::handler("work").max_concurrent(1)).await;
    let triggers = vec![trigger(), trigger().after(HOUR), trigger().after(HOUR * 2)];
    let plan = engine.plan_triggers(triggers).await.unwrap();
    let Written { wake_up, .. } = insert(&store, &plan).await;
    let before = engine.shared.node.wake.promote.take();
    assert!(before.gates.is_empty() && before.due.is_none());
    wake_up.wake();
    let hinted = engine.shared.node.wake.promote.take();
    assert_eq!(
        hinted.gates.into_iter().collect::<Vec<_>>(),
        [GateKey::of_job(&JobId::new("work").unwrap())]
    );
    assert_eq!(hinted.due, Some(plan.now() + HOUR));
}

#[tokio::test]
async fn a_wake_up_tells_of_jobs_that_changed() {
    let (store, engine) = engine(Roles::Scheduler, JobBuilder::handler("work")).await;
    let jobs = ["work", "other"].map(JobBuilder::handler).map(put);
    let plan = engine.plan_jobs(jobs.into()).await.unwrap();
    let outcomes = store.put_jobs(plan.jobs().to_vec()).await.unwrap();
    let mut events = engine.subscribe();
    let Written { outcomes, wake_up } = plan.written(outcomes);
    assert!(matches!(
        outcomes[..],
        [PutJobOutcome::Unchanged(_), PutJobOutcome::Created(_)]
    ));
    wake_up.wake();
    let job_id = JobId::new("other").unwrap();
    // `wake` returns with the event sent.
    let event = events.next().now_or_never();
    assert_eq!(event, Some(Some(Received::Event(Event::Job { job_id }))));
}

#[tokio::test]
async fn a_wake_up_outlives_its_engine() {
    let (store, engine) = engine(Roles::Scheduler, JobBuilder::handler("work")).await;
    let plan = engine.plan_triggers(vec![trigger()]).await.unwrap();
    drop(engine);
    let Written { wake_up, .. } = insert(&store, &plan).await;
    wake_up.wake();
}

#[tokio::test]
async fn what_cannot_be_triggered_is_not_planned() {
    let (_store, engine) = engine(Roles::Scheduler, JobBuilder::handler("work")).await;
    let missing = Trigger::new(JobId::new("missing").unwrap());
    let error = engine.plan_triggers(vec![trigger(), missing]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    engine.drain(Duration::ZERO).await;
    let error = engine.plan_triggers(vec![trigger()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShuttingDown);
    let error = engine.plan_jobs(Vec::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ShuttingDown);
}
