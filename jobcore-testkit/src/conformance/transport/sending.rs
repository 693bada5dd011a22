use jobcore::id::ExecutorId;
use jobcore::lease::{FencingToken, Holder, Incarnation};
use jobcore::store::ExecutorStatus;
use jobcore::transport::{Address, ControlMessage};

use super::fixture::{Fixture, Member, at, join, task, task_id};

async fn control(f: &Fixture, member: &Member, count: usize) -> Vec<ControlMessage> {
    f.soon("control", async {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(member.end.control().await.expect("control"));
        }
        all
    })
    .await
}

fn cancel(n: usize) -> ControlMessage {
    ControlMessage::Cancel {
        task_id: task_id(n),
        token: FencingToken(n as u64),
    }
}

/// The same inbox in another life.
fn incarnation(address: &Address, incarnation: u64) -> Address {
    Address {
        holder: Holder {
            incarnation: Incarnation(incarnation),
            ..address.holder.clone()
        },
        ..address.clone()
    }
}

pub(super) async fn tasks_arrive_whole_and_in_order(f: &Fixture) {
    let member = f.member("e1").await;
    let sent: Vec<_> = (0..50).map(|n| task(n, &member.address.holder)).collect();
    for batch in sent.chunks(20) {
        f.dispatch(&member.address, batch.to_vec()).await;
    }
    assert_eq!(f.tasks(&member, 50).await, sent);
}

pub(super) async fn an_executor_gets_only_its_own(f: &Fixture) {
    let (one, two) = (f.member("e1").await, f.member("e2").await);
    f.dispatch(&one.address, vec![task(1, &one.address.holder)]).await;
    f.dispatch(&two.address, vec![task(2, &two.address.holder)]).await;
    f.scheduler
        .control(&one.address, vec![cancel(1)])
        .await
        .expect("control");
    f.scheduler
        .control(&two.address, vec![cancel(2)])
        .await
        .expect("control");
    for (member, n) in [(&one, 1), (&two, 2)] {
        assert_eq!(f.tasks(member, 1).await, [task(n, &member.address.holder)]);
        assert_eq!(control(f, member, 1).await, [cancel(n)]);
        f.never("another's task", member.end.tasks()).await;
    }
}

pub(super) async fn messages_for_another_incarnation_are_dropped(f: &Fixture) {
    let member = f.member("e1").await;
    let (old, new) = (incarnation(&member.address, 1), incarnation(&member.address, 2));
    f.dispatch(&old, vec![task(1, &old.holder)]).await;
    f.scheduler.control(&old, vec![cancel(1)]).await.expect("control");
    member.end.open(&new).await.expect("open");
    f.dispatch(&old, vec![task(2, &old.holder)]).await;
    f.scheduler.control(&old, vec![cancel(2)]).await.expect("control");
    f.dispatch(&new, vec![task(3, &new.holder)]).await;
    f.scheduler.control(&new, vec![cancel(3)]).await.expect("control");
    assert_eq!(f.tasks(&member, 1).await, [task(3, &new.holder)]);
    assert_eq!(control(f, &member, 1).await, [cancel(3)]);
}

pub(super) async fn another_executors_messages_are_dropped(f: &Fixture) {
    let member = f.member("e1").await;
    let stranger = Address {
        holder: Holder {
            executor_id: ExecutorId::new("e9").expect("a good id"),
            ..member.address.holder.clone()
        },
        ..member.address.clone()
    };
    f.dispatch(&stranger, vec![task(1, &stranger.holder)]).await;
    f.dispatch(&member.address, vec![task(2, &member.address.holder)])
        .await;
    assert_eq!(f.tasks(&member, 1).await, [task(2, &member.address.holder)]);
}

pub(super) async fn a_dropped_wait_loses_no_task(f: &Fixture) {
    let member = f.member("e1").await;
    f.never("a task", member.end.tasks()).await;
    f.never("control", member.end.control()).await;
    f.dispatch(&member.address, vec![task(1, &member.address.holder)])
        .await;
    f.scheduler
        .control(&member.address, vec![cancel(1)])
        .await
        .expect("control");
    assert_eq!(f.tasks(&member, 1).await.len(), 1);
    assert_eq!(control(f, &member, 1).await.len(), 1);
}

pub(super) async fn control_does_not_wait_behind_tasks(f: &Fixture) {
    let member = f.member("e1").await;
    let tasks: Vec<_> = (0..500).map(|n| task(n, &member.address.holder)).collect();
    f.dispatch(&member.address, tasks).await;
    f.scheduler
        .control(&member.address, vec![cancel(1)])
        .await
        .expect("control");
    assert_eq!(control(f, &member, 1).await, [cancel(1)]);
}

pub(super) async fn control_messages_arrive_whole(f: &Fixture) {
    let member = f.member("e1").await;
    let (task_id, token) = (task_id(1), FencingToken(u64::MAX >> 1));
    let sent = vec![
        ControlMessage::Alive {
            sequence: 5,
            now: at(9),
            status: ExecutorStatus::Draining,
        },
        ControlMessage::Dead,
        ControlMessage::Superseded,
        ControlMessage::Cancel {
            task_id: task_id.clone(),
            token,
        },
        ControlMessage::Go {
            task_id: task_id.clone(),
            token,
        },
        ControlMessage::Saved {
            task_id: task_id.clone(),
            token,
            sequence: 3,
        },
        ControlMessage::Closed { task_id, token },
    ];
    f.scheduler
        .control(&member.address, sent.clone())
        .await
        .expect("control");
    assert_eq!(control(f, &member, sent.len()).await, sent);
}

pub(super) async fn an_executor_that_joins_again_gets_nothing_old(f: &Fixture) {
    let member = f.member("e1").await;
    f.dispatch(&member.address, vec![task(1, &member.address.holder)])
        .await;
    let again = f.join(&member.end, join("e1", 8)).await;
    let address = incarnation(&again.address, 2);
    member.end.open(&address).await.expect("open");
    f.never("a task of its former life", member.end.tasks()).await;
}
