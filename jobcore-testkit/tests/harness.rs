//! The harness, as an application's tests would use it.
#![expect(clippy::unwrap_used, reason = "a failure should end the test")]

use std::time::Duration;

use futures_util::FutureExt;
use jobcore::attempt::AttemptStatus;
use jobcore::id::JobId;
use jobcore::misfire::{MisfireAction, MisfirePolicy};
use jobcore::overlap::OverlapPolicy;
use jobcore::retry::RetryPolicy;
use jobcore::schedule::Schedule;
use jobcore::task::TaskState;
use jobcore::{HandlerError, JobBuilder, SchedulerExt, TaskContext, Trigger};
use jobcore_testkit::harness::{Harness, HarnessBuilder};

const SECOND: Duration = Duration::from_secs(1);

async fn double(n: u32, cx: TaskContext) -> Result<u32, HandlerError> {
    cx.log(format!("doubling {n}")).await;
    Ok(n * 2)
}

/// Fails until its third attempt.
async fn flaky((): (), cx: TaskContext) -> Result<u32, HandlerError> {
    if cx.attempt() < 3 {
        cx.save_checkpoint(&cx.attempt()).await?;
        return Err(HandlerError::new("not yet"));
    }
    Ok(cx.checkpoint().map_or(Ok(0), |saved| saved.decode())?)
}

async fn snoozes((): (), cx: TaskContext) -> Result<(), HandlerError> {
    match cx.attempt() {
        1 => Err(HandlerError::snooze(SECOND * 60)),
        _ => panic!("awake"),
    }
}

fn builder() -> HarnessBuilder {
    Harness::builder()
        .handler("double", double)
        .handler("flaky", flaky)
        .handler("snoozes", snoozes)
}

fn trigger(job_id: &str) -> Trigger {
    Trigger::new(JobId::new(job_id).unwrap())
}

#[tokio::test]
async fn a_drain_carries_out_what_is_due_and_leaves_the_rest() {
    let harness = builder().start().await.unwrap();
    harness.put_job(JobBuilder::handler("double")).await.unwrap();
    let task_id = harness
        .trigger_one(trigger("double").arguments(&21).unwrap())
        .await
        .unwrap();
    let later = trigger("double").arguments(&5).unwrap().after(SECOND * 90);
    harness.trigger_one(later).await.unwrap();
    harness.assert_not_ran("double");
    assert_eq!(harness.drain().await, 1);
    let ran = harness.assert_ran("double");
    assert_eq!((ran.arguments::<u32>(), ran.output::<u32>()), (21, 42));
    assert_eq!(
        (ran.task.task_id, ran.logs),
        (task_id, vec!["doubling 21".to_owned()])
    );
    harness.assert_scheduled_with("double", "2026-01-01T00:01:30Z", &5);
    harness.advance(SECOND * 90).await;
    harness.assert_ran_with("double", &5);
    harness.assert_not_scheduled("double");
}

#[tokio::test]
async fn retries_come_at_their_time_and_find_the_checkpoint() {
    let harness = builder().start().await.unwrap();
    let job = JobBuilder::handler("flaky").retry(RetryPolicy::fixed(5, SECOND * 3600));
    harness.put_job(job).await.unwrap();
    harness.trigger_one(trigger("flaky")).await.unwrap();
    assert_eq!(harness.drain().await, 1);
    harness.assert_scheduled("flaky", "2026-01-01T01:00:00Z");
    assert_eq!(harness.assert_ran("flaky").error(), "not yet");
    harness.travel_to("2026-01-01T02:00:00Z").await;
    let ran = harness.assert_ran_times("flaky", 1).remove(0);
    assert_eq!(
        ran.statuses(),
        [
            AttemptStatus::Failed,
            AttemptStatus::Failed,
            AttemptStatus::Success
        ]
    );
    assert_eq!((ran.output::<u32>(), ran.state()), (2, TaskState::Succeeded));
}

#[tokio::test]
async fn a_snooze_is_no_failure_and_a_panic_is_one() {
    let harness = builder().start().await.unwrap();
    harness.put_job(JobBuilder::handler("snoozes")).await.unwrap();
    harness.trigger_one(trigger("snoozes")).await.unwrap();
    harness.advance(SECOND * 60).await;
    let ran = harness.assert_ran("snoozes");
    assert_eq!(ran.statuses(), [AttemptStatus::Released, AttemptStatus::Failed]);
    assert_eq!((ran.error(), ran.state()), ("panicked: awake", TaskState::Failed));
}

#[tokio::test]
async fn schedules_fire_at_their_instants_over_years() {
    let harness = builder().at("2026-03-27T00:00:00Z").start().await.unwrap();
    let nightly = Schedule::cron("30 2 * * *")
        .unwrap()
        .in_zone("Europe/Berlin")
        .unwrap();
    let job = |id| JobBuilder::handler("double").id(id).arguments(1);
    harness.put_job(job("nightly").schedule(nightly)).await.unwrap();
    harness.put_job(job("yearly").cron("0 0 1 1 *")).await.unwrap();
    harness
        .put_job(job("after").schedule(Schedule::every_after(SECOND * 86_400)))
        .await
        .unwrap();
    harness.travel_to("2026-03-30T00:00:00Z").await;
    let times = harness.assert_ran_times("nightly", 3);
    let times: Vec<String> = times
        .iter()
        .map(|ran| ran.attempts[0].start_time.to_string())
        .collect();
    // In the night of the 29th there is no 02:30 in Berlin.
    assert_eq!(
        times,
        [
            "2026-03-27T01:30:00Z",
            "2026-03-28T01:30:00Z",
            "2026-03-29T01:00:00Z"
        ]
    );
    harness.assert_ran_times("after", 3);
    harness.travel_to("2030-06-01T00:00:00Z").await;
    harness.assert_ran_times("yearly", 4);
}

#[tokio::test]
async fn misfires_and_overlaps_are_the_real_ones() {
    let harness = builder().start().await.unwrap();
    let misfire = MisfirePolicy {
        action: MisfireAction::FireAll { limit: 2 },
        ..MisfirePolicy::default()
    };
    let job = JobBuilder::handler("double")
        .arguments(1)
        .every(SECOND * 600)
        .misfire(misfire);
    harness.put_job(job).await.unwrap();
    let alone = JobBuilder::handler("flaky").overlap(OverlapPolicy::Skip);
    harness
        .put_job(alone.retry(RetryPolicy::fixed(2, SECOND * 86_400)))
        .await
        .unwrap();
    harness.sleep_through(SECOND * 3_600);
    harness.drain().await;
    // One of the seven is on time, and the policy makes up for two.
    harness.assert_ran_times("double", 3);
    harness.trigger_one(trigger("flaky")).await.unwrap();
    harness.drain().await;
    let second = harness.trigger_one(trigger("flaky")).await.unwrap();
    harness.drain().await;
    assert_eq!(
        harness.get_task(&second).await.unwrap().unwrap().state,
        TaskState::Skipped
    );
}

#[tokio::test]
async fn inline_triggers_carry_out_and_errors_surface() {
    let harness = builder().inline().start().await.unwrap();
    harness.put_job(JobBuilder::handler("double")).await.unwrap();
    harness
        .trigger_one(trigger("double").arguments(&4).unwrap())
        .await
        .unwrap();
    assert_eq!(harness.assert_ran("double").output::<u32>(), 8);
    let error = harness
        .trigger_one(trigger("double").arguments(&"four").unwrap())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("don't fit handler double"), "{error}");
    harness.put_job(JobBuilder::handler("missing")).await.unwrap();
    let error = harness.trigger_one(trigger("missing")).await.unwrap_err();
    assert!(error.to_string().contains("needs handler missing"), "{error}");
}

#[tokio::test]
async fn a_failed_assertion_shows_what_there_is() {
    let harness = builder().start().await.unwrap();
    let job = JobBuilder::handler("double").arguments(3).cron("0 9 * * *");
    harness.put_job(job).await.unwrap();
    let scheduled = std::panic::AssertUnwindSafe(async {
        harness.assert_scheduled("double", "2026-01-01T08:00:00Z");
    });
    let panic = scheduled.catch_unwind().await.unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(
        message.contains("isn't scheduled for 2026-01-01T08:00:00Z")
            && message.contains("2026-01-01T09:00:00Z double with 3 by its schedule"),
        "{message}"
    );
}
