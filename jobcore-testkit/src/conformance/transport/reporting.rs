use std::collections::BTreeSet;

use jobcore::transport::{Checkpoint, ReportEvent};

use super::fixture::{Fixture, beat, chunk, finished, json, progress, report, started};

pub(super) async fn reports_arrive_whole(f: &Fixture) {
    let member = f.member("e1").await;
    let from = &member.address.holder;
    let checkpoint = Checkpoint {
        value: json(r#"{"page":7}"#),
        sequence: 2,
    };
    let events = vec![
        ReportEvent::Started {
            start_time: super::fixture::at(2),
        },
        ReportEvent::Progress {
            progress: progress(),
            checkpoint: Some(checkpoint),
        },
        ReportEvent::Finished(finished()),
        ReportEvent::Returned {
            reason: "no room".into(),
        },
    ];
    let sent: Vec<_> = events.into_iter().map(|event| report(1, from, event)).collect();
    member.end.report(sent.clone()).await.expect("report");
    assert_eq!(f.reports(&*f.scheduler).await.messages, sent);
}

pub(super) async fn a_report_without_a_lease_arrives(f: &Fixture) {
    let member = f.member("e1").await;
    let mut sent = report(1, &member.address.holder, ReportEvent::Finished(finished()));
    sent.lease = None;
    member.end.report(vec![sent.clone()]).await.expect("report");
    assert_eq!(f.reports(&*f.scheduler).await.messages, [sent]);
}

pub(super) async fn reports_of_one_executor_come_in_order(f: &Fixture) {
    let member = f.member("e1").await;
    let sent: Vec<_> = (0..100).map(|n| started(n, &member.address.holder)).collect();
    for batch in sent.chunks(30) {
        member.end.report(batch.to_vec()).await.expect("report");
    }
    let mut got = Vec::new();
    while got.len() < sent.len() {
        let batch = f.reports(&*f.scheduler).await;
        f.scheduler.acknowledge(batch.id).await.expect("acknowledge");
        got.extend(batch.messages);
    }
    assert_eq!(got, sent);
}

pub(super) async fn an_open_batch_comes_again_when_its_reader_is_gone(f: &Fixture) {
    let member = f.member("e1").await;
    let sent = started(1, &member.address.holder);
    let doomed = f.place().scheduler().await;
    member.end.report(vec![sent.clone()]).await.expect("report");
    assert_eq!(f.reports(&*doomed).await.messages, std::slice::from_ref(&sent));
    drop(doomed);
    assert_eq!(f.reports(&*f.scheduler).await.messages, [sent]);
}

pub(super) async fn an_acknowledged_batch_does_not_come_again(f: &Fixture) {
    let member = f.member("e1").await;
    let doomed = f.place().scheduler().await;
    member
        .end
        .report(vec![started(1, &member.address.holder)])
        .await
        .expect("report");
    let batch = f.reports(&*doomed).await;
    doomed.acknowledge(batch.id).await.expect("acknowledge");
    doomed
        .acknowledge(batch.id)
        .await
        .expect("acknowledging twice is harmless");
    drop(doomed);
    f.never("an acknowledged report", f.scheduler.reports()).await;
}

pub(super) async fn batches_are_acknowledged_in_any_order(f: &Fixture) {
    let member = f.member("e1").await;
    let doomed = f.place().scheduler().await;
    let mut batches = Vec::new();
    for n in 0..3 {
        member
            .end
            .report(vec![started(n, &member.address.holder)])
            .await
            .expect("report");
        batches.push(f.reports(&*doomed).await);
    }
    for n in [2, 0, 1] {
        doomed.acknowledge(batches[n].id).await.expect("acknowledge");
    }
    drop(doomed);
    f.never("an acknowledged report", f.scheduler.reports()).await;
}

pub(super) async fn schedulers_share_the_reports_and_none_is_lost(f: &Fixture) {
    let other = f.place().scheduler().await;
    let (one, two) = (f.member("e1").await, f.member("e2").await);
    for n in 0..100 {
        let member = if n % 2 == 0 { &one } else { &two };
        member
            .end
            .report(vec![started(n, &member.address.holder)])
            .await
            .expect("report");
    }
    let mut seen = BTreeSet::new();
    while seen.len() < 100 {
        let (scheduler, batch) = f
            .soon("the reports", async {
                tokio::select! {
                    batch = f.scheduler.reports() => (&f.scheduler, batch.expect("reports")),
                    batch = other.reports() => (&other, batch.expect("reports")),
                }
            })
            .await;
        scheduler.acknowledge(batch.id).await.expect("acknowledge");
        seen.extend(batch.messages.into_iter().map(|report| report.task_id));
    }
}

pub(super) async fn a_dropped_wait_loses_no_report(f: &Fixture) {
    let member = f.member("e1").await;
    f.never("a report", f.scheduler.reports()).await;
    f.never("a log chunk", f.scheduler.logs()).await;
    member
        .end
        .report(vec![started(1, &member.address.holder)])
        .await
        .expect("report");
    member.end.log(vec![chunk(0)]).await.expect("log");
    assert_eq!(f.reports(&*f.scheduler).await.messages.len(), 1);
    assert_eq!(f.logs(&*f.scheduler).await.messages.len(), 1);
}

pub(super) async fn beats_do_not_wait_behind_reports_and_logs(f: &Fixture) {
    let member = f.member("e1").await;
    let reports = (0..500).map(|n| started(n, &member.address.holder)).collect();
    member.end.report(reports).await.expect("report");
    member.end.log((0..500).map(chunk).collect()).await.expect("log");
    member.end.beat(beat(&member.address, 1)).await.expect("beat");
    f.next_heartbeat(&*f.scheduler, |message| {
        matches!(message, jobcore::transport::HeartbeatMessage::Beat(_)).then_some(())
    })
    .await;
}

pub(super) async fn log_chunks_arrive_whole_and_in_order(f: &Fixture) {
    let member = f.member("e1").await;
    let sent: Vec<_> = (0..10).map(chunk).collect();
    member.end.log(sent.clone()).await.expect("log");
    assert_eq!(f.logs(&*f.scheduler).await.messages, sent);
}

pub(super) async fn open_log_batches_come_again_when_their_reader_is_gone(f: &Fixture) {
    let member = f.member("e1").await;
    let doomed = f.place().scheduler().await;
    member.end.log(vec![chunk(0)]).await.expect("log");
    assert_eq!(f.logs(&*doomed).await.messages, [chunk(0)]);
    drop(doomed);
    let again = f.logs(&*f.scheduler).await;
    assert_eq!(again.messages, [chunk(0)]);
    f.scheduler.acknowledge(again.id).await.expect("acknowledge");
}
