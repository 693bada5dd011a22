//! The engine end to end, over the in-memory store and with real time.

#![expect(clippy::unwrap_used, reason = "a failure should end the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jobcore::clock::SystemClock;
use jobcore::event::{Event, Received};
use jobcore::id::ExecutorId;
use jobcore::memory::MemoryStore;
use jobcore::retry::RetryPolicy;
use jobcore::scheduler::{Cancel, Triggered};
use jobcore::store::{AttemptFilter, ExecutorFilter, PageRequest, ReadLogs};
use jobcore::task::{Task, TaskState};
use jobcore::{
    Engine, EngineBuilder, HandlerError, JobBuilder, Scheduler, SchedulerExt, TaskContext, Trigger,
};

fn builder() -> EngineBuilder {
    Engine::builder(Arc::new(MemoryStore::new(Arc::new(SystemClock::new()))))
}

async fn run_one(engine: &Engine, job: JobBuilder) -> Task {
    let job = engine.put_job(job).await.unwrap();
    let task_id = engine
        .trigger_one(Trigger::new(job.job_id.clone()))
        .await
        .unwrap();
    bounded(engine.wait(&task_id)).await.unwrap()
}

async fn bounded<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work)
        .await
        .expect("it takes too long")
}

async fn error_of(engine: &Engine, task: &Task) -> String {
    let filter = AttemptFilter {
        task_id: Some(task.task_id.clone()),
        ..AttemptFilter::default()
    };
    let attempts = engine
        .list_attempts(&filter, &PageRequest::first(10))
        .await
        .unwrap();
    attempts.items[0].error.clone()
}

#[tokio::test]
async fn a_triggered_task_succeeds_and_its_result_is_recorded() {
    let engine = builder()
        .handler("double", |n: u32, _: TaskContext| async move {
            Ok::<_, HandlerError>(n * 2)
        })
        .start()
        .await
        .unwrap();
    let task = run_one(&engine, JobBuilder::handler("double").arguments(21)).await;
    assert_eq!((task.state, task.attempt), (TaskState::Succeeded, 1));
    let filter = AttemptFilter {
        task_id: Some(task.task_id),
        ..AttemptFilter::default()
    };
    let attempts = engine
        .list_attempts(&filter, &PageRequest::first(10))
        .await
        .unwrap();
    assert_eq!(attempts.items[0].output, "42");
}

#[tokio::test]
async fn a_failing_task_is_retried_until_it_works() {
    let tries = Arc::new(AtomicU32::new(0));
    let engine = {
        let tries = tries.clone();
        builder()
            .handler("flaky", move |(): (), _: TaskContext| {
                let n = tries.fetch_add(1, Ordering::SeqCst);
                async move {
                    if n < 2 {
                        Err(HandlerError::new("not yet"))
                    } else {
                        Ok(())
                    }
                }
            })
            .start()
            .await
            .unwrap()
    };
    let job = JobBuilder::handler("flaky").retry(RetryPolicy::fixed(3, Duration::from_millis(20)));
    let task = run_one(&engine, job).await;
    assert_eq!(
        (task.state, task.attempt, task.failures),
        (TaskState::Succeeded, 3, 2)
    );
}

#[tokio::test]
async fn a_panic_and_unfit_arguments_are_failed_attempts_with_their_message() {
    let engine = builder()
        .handler("panics", |(): (), _: TaskContext| async move {
            if true {
                panic!("nothing here");
            }
            Ok::<(), HandlerError>(())
        })
        .handler("typed", |_: u32, _: TaskContext| async move {
            Ok::<_, HandlerError>(())
        })
        .start()
        .await
        .unwrap();
    let task = run_one(&engine, JobBuilder::handler("panics")).await;
    assert_eq!(task.state, TaskState::Failed);
    assert_eq!(error_of(&engine, &task).await, "panicked: nothing here");
    let task = run_one(&engine, JobBuilder::handler("typed").arguments("text")).await;
    let error = error_of(&engine, &task).await;
    assert!(
        error.contains("job typed") && error.contains("handler typed"),
        "{error}"
    );
}

#[tokio::test]
async fn a_schedule_fires_and_a_delayed_task_waits_for_its_time() {
    let (sender, mut fired) = tokio::sync::mpsc::unbounded_channel();
    let engine = builder()
        .handler("note", move |(): (), cx: TaskContext| {
            let _ = sender.send((cx.scheduled_for(), cx.start_time()));
            async { Ok::<_, HandlerError>(()) }
        })
        .start()
        .await
        .unwrap();
    let job = engine
        .put_job(JobBuilder::handler("note").every(Duration::from_millis(100)))
        .await
        .unwrap();
    let mut last = None;
    for _ in 0..5 {
        let (scheduled_for, start_time) = bounded(fired.recv()).await.unwrap();
        assert!(
            scheduled_for.is_some() && scheduled_for > last,
            "{scheduled_for:?} after {last:?}"
        );
        assert!(start_time >= scheduled_for.unwrap(), "it fired early");
        last = scheduled_for;
    }
    engine
        .delete_jobs(vec![jobcore::store::DeleteJob {
            job_id: job.job_id.clone(),
            expected: jobcore::store::Expected::Any,
        }])
        .await
        .unwrap();

    engine.put_job(JobBuilder::handler("note")).await.unwrap();
    while fired.try_recv().is_ok() {}
    let trigger = Trigger::new(job.job_id.clone()).after(Duration::from_millis(200));
    let task_id = engine.trigger_one(trigger).await.unwrap();
    let task = bounded(engine.wait(&task_id)).await.unwrap();
    assert!(task.start_time.unwrap().since(task.create_time) >= Duration::from_millis(200));
}

#[tokio::test]
async fn running_tasks_are_cancelled_cooperatively_or_by_force() {
    let engine = builder()
        .handler("listens", |(): (), cx: TaskContext| async move {
            cx.cancelled().await;
            Err::<(), _>(HandlerError::cancelled("heard it"))
        })
        .handler("deaf", |(): (), _: TaskContext| async move {
            std::future::pending::<()>().await;
            Ok::<_, HandlerError>(())
        })
        .start()
        .await
        .unwrap();
    for name in ["listens", "deaf"] {
        let job = JobBuilder::handler(name).cancel_grace(Duration::from_millis(50));
        let job = engine.put_job(job).await.unwrap();
        let task_id = engine
            .trigger_one(Trigger::new(job.job_id.clone()))
            .await
            .unwrap();
        while engine.get_task(&task_id).await.unwrap().unwrap().state != TaskState::Running {
            tokio::task::yield_now().await;
        }
        let summary = engine
            .cancel(Cancel::task(task_id.clone(), "enough"))
            .await
            .unwrap();
        assert_eq!(summary.requested, 1);
        assert_eq!(
            bounded(engine.wait(&task_id)).await.unwrap().state,
            TaskState::Cancelled,
            "{name}"
        );
    }
}

#[tokio::test]
async fn an_attempt_over_its_time_times_out() {
    let engine = builder()
        .handler("slow", |(): (), _: TaskContext| async move {
            std::future::pending::<()>().await;
            Ok::<_, HandlerError>(())
        })
        .start()
        .await
        .unwrap();
    let task = run_one(
        &engine,
        JobBuilder::handler("slow").timeout(Duration::from_millis(50)),
    )
    .await;
    assert_eq!(task.state, TaskState::TimedOut);
}

#[tokio::test]
async fn a_second_trigger_with_the_same_key_finds_the_first_task() {
    let engine = builder()
        .handler("once", |(): (), _: TaskContext| async move {
            Ok::<_, HandlerError>(())
        })
        .start()
        .await
        .unwrap();
    let job = engine.put_job(JobBuilder::handler("once")).await.unwrap();
    let trigger = || Trigger::new(job.job_id.clone()).unique("order-1").unwrap();
    let first = engine.trigger_one(trigger()).await.unwrap();
    bounded(engine.wait(&first)).await.unwrap();
    let second = engine.trigger(vec![trigger()]).await.unwrap();
    assert_eq!(second, [Triggered::Existing { task_id: first }]);
}

#[tokio::test]
async fn a_limit_of_one_never_runs_two() {
    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let engine = {
        let (running, most) = (running.clone(), most.clone());
        builder()
            .handler("alone", move |(): (), _: TaskContext| {
                let (running, most) = (running.clone(), most.clone());
                async move {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    running.fetch_sub(1, Ordering::SeqCst);
                    Ok::<_, HandlerError>(())
                }
            })
            .start()
            .await
            .unwrap()
    };
    let job = engine
        .put_job(JobBuilder::handler("alone").max_concurrent(1))
        .await
        .unwrap();
    let triggers = vec![Trigger::new(job.job_id.clone()); 20];
    for triggered in engine.trigger(triggers).await.unwrap() {
        let task = bounded(engine.wait(triggered.task_id())).await.unwrap();
        assert_eq!(task.state, TaskState::Succeeded);
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_checkpoint_reaches_the_next_attempt_and_logs_are_kept() {
    let engine = builder()
        .handler("resumes", |(): (), cx: TaskContext| async move {
            cx.log(format!("attempt {}", cx.attempt())).await;
            match cx.checkpoint() {
                None => {
                    cx.save_checkpoint(&17).await?;
                    Err(HandlerError::new("interrupted"))
                }
                Some(saved) => Ok(saved.decode::<u32>()?),
            }
        })
        .start()
        .await
        .unwrap();
    let job = JobBuilder::handler("resumes").retry(RetryPolicy::fixed(1, Duration::ZERO));
    let task = run_one(&engine, job).await;
    assert_eq!((task.state, task.attempt), (TaskState::Succeeded, 2));
    engine.drain(Duration::from_secs(5)).await;
    for attempt in [1, 2] {
        let read = ReadLogs {
            task_id: task.task_id.clone(),
            attempt,
            first_sequence: 0,
            limit: 10,
        };
        assert_eq!(
            engine.read_logs(&read).await.unwrap()[0].text,
            format!("attempt {attempt}")
        );
    }
}

#[tokio::test]
async fn a_drain_finishes_what_runs_and_hands_back_the_rest() {
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock::new())));
    let engine = Engine::builder(store.clone())
        .configure(|config| config.capacity = 1)
        .handler("wait", |(): (), cx: TaskContext| async move {
            cx.cancelled().await;
            Err::<(), _>(HandlerError::new("interrupted"))
        })
        .start()
        .await
        .unwrap();
    let job = engine.put_job(JobBuilder::handler("wait")).await.unwrap();
    let tasks = engine
        .trigger(vec![Trigger::new(job.job_id.clone()); 3])
        .await
        .unwrap();
    while engine.get_task(tasks[0].task_id()).await.unwrap().unwrap().state != TaskState::Running {
        tokio::task::yield_now().await;
    }
    bounded(engine.drain(Duration::from_millis(10))).await;
    for task in &tasks {
        let task = engine.get_task(task.task_id()).await.unwrap().unwrap();
        assert_eq!(
            (task.state, task.failures),
            (TaskState::Ready, 0),
            "handed back without using up a retry"
        );
    }
    assert!(
        engine
            .trigger_one(Trigger::new(job.job_id.clone()))
            .await
            .is_err(),
        "a drained engine takes nothing new"
    );
}

#[tokio::test]
async fn a_drain_does_not_repeat_what_began_at_most_once() {
    let engine = builder()
        .handler("wait", |(): (), cx: TaskContext| async move {
            cx.cancelled().await;
            Err::<(), _>(HandlerError::new("interrupted"))
        })
        .start()
        .await
        .unwrap();
    let job = JobBuilder::handler("wait")
        .at_most_once()
        .retry(RetryPolicy::fixed(3, Duration::ZERO));
    let job = engine.put_job(job).await.unwrap();
    let task_id = engine
        .trigger_one(Trigger::new(job.job_id.clone()))
        .await
        .unwrap();
    while engine.get_task(&task_id).await.unwrap().unwrap().state != TaskState::Running {
        tokio::task::yield_now().await;
    }
    bounded(engine.drain(Duration::from_millis(10))).await;
    let task = engine.get_task(&task_id).await.unwrap().unwrap();
    assert_eq!(task.state, TaskState::Failed);
    assert!(error_of(&engine, &task).await.contains("at most once"));
}

#[tokio::test]
async fn a_crashed_nodes_tasks_are_carried_out_by_another() {
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock::new())));
    let start = |name: &'static str| {
        Engine::builder(store.clone())
            .configure(|config| {
                config.lease_duration = Duration::from_millis(300);
                config.heartbeat_interval = Duration::from_millis(100);
            })
            .handler("work", move |(): (), _: TaskContext| async move {
                if name == "first" {
                    std::future::pending::<()>().await;
                }
                Ok::<_, HandlerError>(name)
            })
            .start()
    };
    let first = start("first").await.unwrap();
    let job = first.put_job(JobBuilder::handler("work")).await.unwrap();
    let task_id = first.trigger_one(Trigger::new(job.job_id.clone())).await.unwrap();
    while first.get_task(&task_id).await.unwrap().unwrap().state != TaskState::Running {
        tokio::task::yield_now().await;
    }
    first.abort();
    let second = start("second").await.unwrap();
    let task = bounded(second.wait(&task_id)).await.unwrap();
    assert_eq!(
        (task.state, task.attempt, task.orphanings),
        (TaskState::Succeeded, 2, 1)
    );
}

#[tokio::test]
async fn events_tell_of_logs_and_recovery_and_end_with_the_engine() {
    let store = Arc::new(MemoryStore::new(Arc::new(SystemClock::new())));
    let start = |name: &'static str| {
        Engine::builder(store.clone())
            .configure(move |config| {
                config.executor_id = ExecutorId::new(name).ok();
                config.lease_duration = Duration::from_millis(300);
                config.heartbeat_interval = Duration::from_millis(100);
            })
            .handler("work", move |(): (), cx: TaskContext| async move {
                if name == "first" {
                    std::future::pending::<()>().await;
                }
                cx.log("here").await;
                Ok::<_, HandlerError>(())
            })
            .start()
    };
    let first = start("first").await.unwrap();
    let job = first.put_job(JobBuilder::handler("work")).await.unwrap();
    let task_id = first.trigger_one(Trigger::new(job.job_id.clone())).await.unwrap();
    while first.get_task(&task_id).await.unwrap().unwrap().state != TaskState::Running {
        tokio::task::yield_now().await;
    }
    first.abort();
    let second = start("second").await.unwrap();
    let mut events = second.subscribe();
    bounded(second.wait(&task_id)).await.unwrap();
    second.drain(Duration::from_secs(1)).await;
    let (mut recovered, mut logged) = (false, None);
    while let Some(received) = bounded(events.next()).await {
        match received {
            Received::Event(Event::Recovered { executor_id, .. }) => {
                recovered = executor_id.as_str() == "first";
            }
            Received::Event(Event::Log {
                attempt,
                first_sequence,
                ..
            }) => logged = Some((attempt, first_sequence)),
            _ => {}
        }
    }
    assert!(recovered, "no event told of the recovery");
    assert_eq!(logged, Some((2, 0)));
}

#[tokio::test]
async fn a_node_reports_its_resources_with_its_first_heartbeat() {
    let own = std::collections::BTreeMap::from([("gpus".to_owned(), 2)]);
    for (engine, name) in [
        (builder().start().await.unwrap(), "cpus"),
        (builder().resources(own).start().await.unwrap(), "gpus"),
    ] {
        let reported = async {
            loop {
                let nodes = engine.list_executors(&ExecutorFilter::default()).await.unwrap();
                if let Some(resources) = &nodes[0].resources {
                    return resources.as_str().to_owned();
                }
                tokio::task::yield_now().await;
            }
        };
        let reported = bounded(reported).await;
        assert!(reported.contains(&format!("\"{name}\":")), "{reported}");
    }
}
