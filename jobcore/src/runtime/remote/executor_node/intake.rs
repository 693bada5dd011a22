//! Intake: takes tasks and control messages in.

use std::sync::Arc;

use super::NodeState;
use super::link::Link;
use super::work;
use crate::engine::attempt::Ending;
use crate::runtime::remote::ledger::{Closed, Key, Receipt, report};
use crate::store::ExecutorStatus;
use crate::transport::{ControlMessage, ReportEvent, TaskMessage};

/// How many tasks an executor holds at the most, beyond its capacity: more than any scheduler prefetches.
const MOST_WAITING: usize = 10_000;

/// Takes tasks in; runs until the node ends.
pub(super) async fn tasks(link: Arc<Link>) {
    loop {
        match link.transport.tasks().await {
            Ok(messages) => {
                link.health.works("tasks");
                messages.into_iter().for_each(|message| take(&link, message));
                work::begin_more(&link);
            }
            Err(error) => link.back_off("tasks", &error).await,
        }
    }
}

fn take(link: &Arc<Link>, message: TaskMessage) {
    if link.holder().as_ref() != Some(&message.holder) {
        return;
    }
    let drains = link.draining.is_cancelled();
    let most = if drains {
        0
    } else {
        link.config.capacity as usize + MOST_WAITING
    };
    // The ledger knows repetitions: nobody may hand back what runs, also while the executor drains.
    let refused = match link.ledger.lock().receive(message.clone(), link.now(), most) {
        Receipt::Taken | Receipt::Repeat => return,
        Receipt::Late => "the message came too late",
        Receipt::Full if drains => "the executor drains",
        Receipt::Full => "the executor has no room",
    };
    // Told once: if that gets lost, the task is taken back because nobody names it.
    let reason = refused.to_owned();
    link.tell_once(report(&message, ReportEvent::Returned { reason }));
}

/// Takes control messages in; runs until the node ends.
pub(super) async fn control(link: Arc<Link>) {
    loop {
        match link.transport.control().await {
            Ok(messages) => {
                link.health.works("control");
                messages.into_iter().for_each(|message| obey(&link, message));
                link.changed.notify_waiters();
            }
            Err(error) => link.back_off("control", &error).await,
        }
    }
}

fn obey(link: &Arc<Link>, message: ControlMessage) {
    match message {
        ControlMessage::Alive {
            sequence,
            now,
            status,
        } => {
            let mut standing = link.standing.lock();
            standing.status = status;
            if let Some(sent) = standing.sent.remove(&sequence) {
                standing.beat_time = standing.beat_time.max(sent);
                drop(standing);
                link.clock.observe(sent, now);
            }
            if status == ExecutorStatus::Draining && !link.draining.is_cancelled() {
                link.close();
            }
        }
        ControlMessage::Dead => {
            tracing::warn!(executor_id = %link.executor_id, "declared dead by others: joining anew");
            link.ledger.lock().forget_waiting();
            link.standing.lock().joined = false;
            link.heartbeat.notify_one();
        }
        ControlMessage::Superseded => {
            let executor_id = &link.executor_id;
            tracing::error!(%executor_id, "another process joined under the same id: this node stops");
            link.stop(NodeState::Superseded);
        }
        ControlMessage::Cancel { task_id, token } => cancel(link, &(task_id, token)),
        ControlMessage::Go { task_id, token } => {
            let begun = link.ledger.lock().go(&(task_id, token));
            if let Some(message) = begun {
                work::spawn(link, message);
            }
        }
        ControlMessage::Saved {
            task_id,
            token,
            sequence,
        } => link.reporter.saved(&(task_id, token), sequence),
        ControlMessage::Closed { task_id, token } => close(link, &(task_id, token)),
    }
}

/// What waits is handed back, and cancelled by the store; what runs is asked to end.
fn cancel(link: &Link, key: &Key) {
    if let Some(running) = link.running.lock().get(key) {
        running.end(Ending::Cancel, link.now() + running.job().definition.cancel_grace);
        return;
    }
    link.ledger.lock().hand_back(key, "cancelled before it began");
    link.report.notify_one();
}

fn close(link: &Arc<Link>, key: &Key) {
    let closed = link.ledger.lock().close(key);
    link.reporter.closed(key);
    match closed {
        Some(Closed::StillRuns) => {
            if let Some(running) = link.running.lock().get(key) {
                running.end(
                    Ending::LeaseLost,
                    link.now() + running.job().definition.cancel_grace,
                );
            }
        }
        Some(Closed::Done) => work::begin_more(link),
        None => {}
    }
}
