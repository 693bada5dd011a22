use std::sync::Arc;

use jobcore::lease::Incarnation;
use jobcore::transport::HeartbeatMessage;

use super::fixture::{Fixture, beat, join, task};

pub(super) async fn a_join_reaches_every_scheduler(f: &Fixture) {
    let other = f.place().scheduler().await;
    let end = f.place().executor().await;
    let asked = join("e1", 7);
    let asking = tokio::spawn({
        let (end, asked) = (Arc::clone(&end), asked.clone());
        async move { end.join(asked).await }
    });
    for scheduler in [&f.scheduler, &other] {
        let seen = f.next_join(&**scheduler, &asked.executor_id).await;
        assert_eq!(seen.join, asked, "a join arrives whole");
    }
    asking.abort();
}

pub(super) async fn an_answer_reaches_who_asked(f: &Fixture) {
    let (one, two) = (f.place().executor().await, f.place().executor().await);
    let ask = |end: &Arc<dyn jobcore::transport::ExecutorTransport>, id: &str, nonce| {
        let (end, join) = (Arc::clone(end), join(id, nonce));
        tokio::spawn(async move { end.join(join).await })
    };
    let (first, second) = (ask(&one, "e1", 11), ask(&two, "e2", 22));
    let mut joins = Vec::new();
    while joins.len() < 2 {
        let seen = f
            .scheduler
            .heartbeats(f.place().quiet())
            .await
            .expect("heartbeats");
        joins.extend(seen.messages.into_iter().filter_map(|message| match message {
            HeartbeatMessage::Join(join) => Some(join),
            _ => None,
        }));
    }
    for message in joins.iter().rev() {
        let answer = f.answer(message, message.join.key.nonce).await;
        f.scheduler.welcome(message, answer).await.expect("welcome");
    }
    for (asking, id, nonce) in [(first, "e1", 11), (second, "e2", 22)] {
        let joined = f
            .soon("the answer", asking)
            .await
            .expect("no panic")
            .expect("join");
        assert_eq!(joined.address.holder.executor_id.as_str(), id);
        assert_eq!(joined.address.holder.incarnation, Incarnation(nonce));
    }
}

pub(super) async fn an_executor_joins_again(f: &Fixture) {
    let member = f.member("e1").await;
    let again = f.join(&member.end, join("e1", 8)).await;
    member.end.open(&again.address).await.expect("open");
    f.dispatch(&again.address, vec![task(1, &again.address.holder)])
        .await;
    assert_eq!(f.tasks(&member, 1).await[0].task_id.as_str(), "task-1");
}

pub(super) async fn beats_reach_every_scheduler(f: &Fixture) {
    let other = f.place().scheduler().await;
    let member = f.member("e1").await;
    let sent = beat(&member.address, 3);
    member.end.beat(sent.clone()).await.expect("beat");
    for scheduler in [&f.scheduler, &other] {
        let seen = f
            .next_heartbeat(&**scheduler, |message| match message {
                HeartbeatMessage::Beat(beat) => Some(beat),
                _ => None,
            })
            .await;
        assert_eq!(seen, sent, "a sign of life arrives whole");
    }
}

pub(super) async fn a_leave_reaches_every_scheduler(f: &Fixture) {
    let other = f.place().scheduler().await;
    let member = f.member("e1").await;
    member.end.leave(&member.address.holder).await.expect("leave");
    for scheduler in [&f.scheduler, &other] {
        let seen = f
            .next_heartbeat(&**scheduler, |message| match message {
                HeartbeatMessage::Leave(holder) => Some(holder),
                _ => None,
            })
            .await;
        assert_eq!(seen, member.address.holder);
    }
}

pub(super) async fn a_quiet_lane_says_that_it_was_read_to_its_end(f: &Fixture) {
    let member = f.member("e1").await;
    f.drain_heartbeats(&*f.scheduler).await;
    for sequence in 0..3 {
        member
            .end
            .beat(beat(&member.address, sequence))
            .await
            .expect("beat");
    }
    let seen = f.drain_heartbeats(&*f.scheduler).await;
    assert_eq!(
        seen.len(),
        3,
        "what arrived before comes before the end: {seen:?}"
    );
}

pub(super) async fn a_dropped_wait_loses_no_heartbeat(f: &Fixture) {
    let member = f.member("e1").await;
    f.drain_heartbeats(&*f.scheduler).await;
    f.never("a heartbeat", async {
        loop {
            let seen = f
                .scheduler
                .heartbeats(f.place().patience())
                .await
                .expect("heartbeats");
            if !seen.messages.is_empty() {
                return seen;
            }
        }
    })
    .await;
    member.end.beat(beat(&member.address, 1)).await.expect("beat");
    f.next_heartbeat(&*f.scheduler, |message| {
        matches!(message, HeartbeatMessage::Beat(_)).then_some(())
    })
    .await;
}
