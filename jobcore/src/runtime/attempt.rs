//! One attempt, from its start to its settlement.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tracing::Instrument;

use super::crew::{Assigned, Crew};
use super::node::{Node, StoreClock};
use crate::clock::Clock;
use crate::engine::attempt::{Ended, Ending, cut_off, decide};
use crate::executor::{AttemptSetup, Executor, Outcome, Output, TaskContext};
use crate::handler::{HandlerError, panic_outcome};
use crate::job::{Delivery, Job};
use crate::lease::Fence;
use crate::store::{Next, Settlement, StartOutcome};
use crate::task::TaskState;
use crate::telemetry;
use crate::time::Timestamp;

/// An attempt that has begun: what cancelling, starting and draining need to know of it.
pub(crate) struct Running {
    pub(crate) cx: TaskContext,
    pub(crate) fence: Fence,
    pub(crate) finished: AtomicBool,
    ending: Mutex<Option<(Ending, Timestamp)>>,
}

impl Running {
    pub(crate) fn new(cx: TaskContext) -> Self {
        Self {
            fence: cx.fence().clone(),
            cx,
            finished: AtomicBool::new(false),
            ending: Mutex::new(None),
        }
    }

    /// Asks the attempt to end, for this reason; it is dropped at `deadline` if it hasn't. The first reason holds, except
    /// that the deadline only ever moves forward.
    pub(crate) fn end(&self, reason: Ending, deadline: Timestamp) {
        let mut ending = self.ending.lock();
        let (reason, deadline) = ending.map_or((reason, deadline), |(first, earlier)| {
            (first, earlier.min(deadline))
        });
        *ending = Some((reason, deadline));
        drop(ending);
        self.cx.cancellation().cancel();
    }

    /// Why and by when it was asked to end.
    pub(crate) fn ending(&self) -> Option<(Ending, Timestamp)> {
        *self.ending.lock()
    }

    pub(crate) fn job(&self) -> &Job {
        self.cx.job()
    }
}

/// Carries out one claimed task, and hands its result to the settler.
pub(crate) async fn carry_out(crew: &Arc<Crew>, assigned: Assigned) {
    let Assigned {
        claimed,
        token,
        holder,
    } = assigned;
    let node = &*crew.node;
    let fence = claimed.fence(token, &holder);
    let job = claimed.job.clone();
    let failures = claimed.task.failures;
    let durable_start = claimed.task.delivery == Delivery::AtMostOnce || claimed.task.is_suspect();
    let start_time = node.now();
    if durable_start {
        match crew.starter.start_now(&fence, start_time).await {
            StartOutcome::Started => {}
            StartOutcome::Fenced => return crew.leases.settled(token, 1),
            StartOutcome::CancelRequested => {
                let next = Next::Final {
                    state: TaskState::Cancelled,
                    reason: None,
                };
                let settlement = Settlement {
                    fence,
                    attempt: None,
                    next,
                    checkpoint: None,
                };
                return crew.settler.push(settlement, &job).await;
            }
        }
    }
    if claimed.task.attempt == 1 {
        metrics::histogram!(telemetry::TRIGGER_LAG)
            .record(start_time.since(claimed.task.due_time).as_secs_f64());
    }
    let cx = TaskContext::new(AttemptSetup {
        claimed,
        fence,
        start_time,
        clock: node.clock.clone(),
        reporter: crew.journal.clone(),
    });
    let running = Arc::new(Running::new(cx));
    crew.starter.began(running.clone(), durable_start);
    let executor = crew.executor(running.job().definition.command.kind);
    let outcome = execute(&node.clock, executor, &running).await;
    running.finished.store(true, std::sync::atomic::Ordering::Release);
    let settlement = settlement(node, &running, outcome, failures, start_time);
    crew.starter.ended(&running.fence.task_id, running.fence.token);
    crew.settler.push(settlement, &job).await;
}

/// Runs the executor until it answers, or until it may run no longer.
pub(crate) async fn execute(
    clock: &StoreClock,
    executor: Option<&Arc<dyn Executor>>,
    running: &Running,
) -> Outcome {
    let Some(executor) = executor else {
        // Lanes keep such tasks away; a profile that changed meanwhile doesn't.
        let (job_id, kind) = (running.cx.job_id(), running.job().definition.command.kind);
        return HandlerError::failure(format_args!(
            "job {job_id} is of kind {kind}, which this node can't carry out"
        ));
    };
    let cx = running.cx.clone();
    let span = tracing::info_span!("attempt", task_id = %cx.task_id(), job_id = %cx.job_id(), attempt = cx.attempt(), token = %cx.fencing_token());
    let work = AssertUnwindSafe(async { executor.execute(cx).await })
        .catch_unwind()
        .instrument(span);
    tokio::select! {
        biased;
        answer = work => answer.unwrap_or_else(|panic| panic_outcome(&*panic)),
        outcome = overdue(clock, running, &**executor) => outcome,
    }
}

/// Returns when the attempt must be dropped: its time is up, or it was asked to end and didn't.
async fn overdue(clock: &StoreClock, running: &Running, executor: &dyn Executor) -> Outcome {
    let time_up = async {
        match running.cx.deadline() {
            Some(deadline) => clock.sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = running.cx.cancelled() => {}
        () = time_up => running.end(Ending::Timeout, clock.now() + executor.end_grace(running.job())),
    }
    // The deadline may move forward meanwhile: look again now and then.
    while let Some((_, deadline)) = running.ending() {
        let now = clock.now();
        if now >= deadline {
            break;
        }
        clock
            .sleep_until(deadline.min(now + Duration::from_millis(500)))
            .await;
    }
    Outcome::Cancelled(Output {
        error: "dropped: it didn't end when asked to".to_owned(),
        ..Output::default()
    })
}

fn settlement(
    node: &Node,
    running: &Running,
    outcome: Outcome,
    failures: u32,
    start_time: Timestamp,
) -> Settlement {
    let end_time = node.now();
    let job = &running.job().definition;
    let ending = running.ending().map(|(reason, _)| reason);
    let (outcome, ending) = cut_off(outcome, ending, job.delivery);
    let ended = Ended {
        retry: &job.retry,
        failures,
        ending,
        start_time,
        end_time,
        random: node.entropy.next_u64(),
    };
    let (attempt, next) = decide(outcome, &ended);
    metrics::counter!(telemetry::ATTEMPTS, "status" => attempt.status.as_str()).increment(1);
    metrics::histogram!(telemetry::ATTEMPT_DURATION, "status" => attempt.status.as_str())
        .record(end_time.since(start_time).as_secs_f64());
    Settlement {
        fence: running.fence.clone(),
        attempt: Some(attempt),
        next,
        checkpoint: None,
    }
}
