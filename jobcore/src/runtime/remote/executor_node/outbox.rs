//! The outbox: sends reports in batches, and again until the store is known to have closed the lease.

use std::sync::Arc;
use std::time::Duration;

use super::link::Link;
use crate::clock::Clock;
use crate::store::MAX_BATCH;
use crate::transport::{Report, ReportEvent};

/// How long an answer is waited for before a report is sent again: longer than a scheduler takes to record a batch.
const RESEND: Duration = Duration::from_secs(2);

/// Sends reports; runs until the node ends.
pub(super) async fn run(link: Arc<Link>) {
    loop {
        tokio::select! {
            biased;
            () = link.report.notified() => {}
            () = link.clock.sleep_until(link.now() + RESEND / 2) => {}
        }
        link.clock
            .sleep_until(link.now() + link.config.settle_delay)
            .await;
        while send_some(&link).await {}
    }
}

/// Sends a batch; says whether there may be more.
async fn send_some(link: &Link) -> bool {
    let batch = collect(link);
    if batch.is_empty() {
        return false;
    }
    match link.transport.report(batch.clone()).await {
        Ok(()) => link.health.works("report"),
        Err(error) => {
            put_back(link, batch);
            link.back_off("report", &error).await;
        }
    }
    true
}

fn collect(link: &Link) -> Vec<Report> {
    let mut batch = Vec::new();
    let mut once = link.once.lock();
    let count = once.len().min(MAX_BATCH);
    batch.extend(once.drain(..count));
    drop(once);
    let mut ledger = link.ledger.lock();
    // The end of an attempt says that it started.
    batch.retain(|report| !matches!(report.event, ReportEvent::Started { .. }) || runs(&ledger, report));
    batch.extend(link.reporter.updates(link.now(), RESEND, MAX_BATCH - batch.len()));
    let room = MAX_BATCH - batch.len();
    batch.extend(ledger.tell(link.now(), RESEND, room));
    batch
}

fn runs(ledger: &crate::runtime::remote::ledger::Ledger, report: &Report) -> bool {
    report
        .lease
        .is_some_and(|lease| ledger.runs(&(report.task_id.clone(), lease.token)))
}

/// What couldn't be sent is sent later; progress is not, as newer progress follows.
fn put_back(link: &Link, batch: Vec<Report>) {
    link.ledger.lock().untell(&batch);
    let once = |report: &Report| {
        matches!(report.event, ReportEvent::Started { .. }) && runs(&link.ledger.lock(), report)
    };
    batch
        .into_iter()
        .filter(once)
        .for_each(|report| link.tell_once(report));
}
