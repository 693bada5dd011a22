//! Work: carries attempts out with the runner that local ones have.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio_util::sync::CancellationToken;

use super::link::Link;
use crate::clock::Clock;
use crate::engine::attempt::cut_off;
use crate::engine::remote::finished;
use crate::executor::{ContextInner, Outcome, TaskContext};
use crate::lease::Fence;
use crate::runtime::attempt::{Running, execute};
use crate::runtime::remote::ledger::{key, report};
use crate::telemetry;
use crate::transport::{ReportEvent, StartMode, TaskMessage};

/// Begins as many queued tasks as there is room for.
pub(super) fn begin_more(link: &Arc<Link>) {
    loop {
        let begun = link
            .ledger
            .lock()
            .begin(link.config.capacity as usize, link.now());
        let Some(message) = begun else { break };
        spawn(link, message);
    }
    // Those that wait for their confirmation must be told.
    link.report.notify_one();
}

pub(super) fn spawn(link: &Arc<Link>, message: TaskMessage) {
    let own = link.clone();
    link.spawn(async move { carry_out(&own, message).await });
}

async fn carry_out(link: &Arc<Link>, message: TaskMessage) {
    let key = key(&message);
    let running = Arc::new(Running::new(context(link, &message)));
    link.running.lock().insert(key.clone(), running.clone());
    let outcome = run(link, &running, &message).await;
    link.running.lock().remove(&key);
    let (start_time, end_time) = (running.cx.start_time(), link.now());
    let ending = running.ending().map(|(reason, _)| reason);
    let (outcome, ending) = cut_off(outcome, ending, running.job().definition.delivery);
    let mut end = finished(outcome, ending, start_time, end_time);
    end.checkpoint = link.reporter.forget(&key);
    metrics::counter!(telemetry::ATTEMPTS, "status" => end.status.as_str()).increment(1);
    metrics::histogram!(telemetry::ATTEMPT_DURATION, "status" => end.status.as_str())
        .record(end_time.since(start_time).as_secs_f64());
    link.ledger.lock().over(&key, ReportEvent::Finished(end));
    link.report.notify_one();
    link.changed.notify_waiters();
    begin_more(link);
}

/// Runs the attempt, and tells that it started if it takes long enough to be worth a message.
async fn run(link: &Link, running: &Running, message: &TaskMessage) -> Outcome {
    let executor = link.executor(running.job().definition.command.kind);
    let mut work = pin!(execute(&link.clock, executor, running));
    if message.start == StartMode::AtOnce {
        let start_time = running.cx.start_time();
        tokio::select! {
            biased;
            outcome = &mut work => return outcome,
            () = link.clock.sleep_until(start_time + link.config.start_delay) => {}
        }
        link.tell_once(report(message, ReportEvent::Started { start_time }));
    }
    work.await
}

fn context(link: &Link, message: &TaskMessage) -> TaskContext {
    let definition = &message.job.definition;
    let arguments = message.arguments.clone();
    let start_time = link.now();
    let fence = Fence {
        task_id: message.task_id.clone(),
        token: message.token,
        attempt: message.attempt,
        holder: message.holder.clone(),
    };
    let inner = ContextInner {
        fence,
        arguments: arguments.unwrap_or_else(|| definition.command.arguments.clone()),
        attempt: message.attempt,
        part: message.part,
        parts: message.parts,
        scheduled_for: message.scheduled_for,
        start_time,
        deadline: definition.timeout.map(|timeout| start_time + timeout),
        checkpoint: message.checkpoint.clone(),
        cancellation: CancellationToken::new(),
        clock: link.clock.clone(),
        reporter: link.reporter.clone(),
        log_sequence: AtomicU64::new(0),
        job: message.job.clone(),
    };
    TaskContext {
        inner: Arc::new(inner),
    }
}
