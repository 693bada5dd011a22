//! Settlements that come again, too late, or all at once.

use std::sync::Arc;

use futures_util::future::join_all;
use jobcore::lease::{Fence, FencingToken, Holder, Incarnation};
use jobcore::store::SettleOutcome;
use jobcore::task::TaskState;

use super::settlements::{finished, live};
use super::starts::attempts;
use crate::conformance::fixture::{Fixture, executor_id, fences, ids_of, settled_state, task_id};

/// Fences that differ from this one in one part each.
pub(super) fn stale(fence: &Fence) -> [Fence; 6] {
    let holder = |id: &str, incarnation| Holder {
        executor_id: executor_id(id),
        incarnation: Incarnation(incarnation),
    };
    let own = &fence.holder;
    [
        Fence {
            token: FencingToken(fence.token.0 - 1),
            ..fence.clone()
        },
        Fence {
            token: FencingToken(fence.token.0 + 1),
            ..fence.clone()
        },
        Fence {
            attempt: fence.attempt + 1,
            ..fence.clone()
        },
        Fence {
            holder: holder("another", own.incarnation.0),
            ..fence.clone()
        },
        Fence {
            holder: holder(own.executor_id.as_str(), own.incarnation.0 + 1),
            ..fence.clone()
        },
        Fence {
            task_id: task_id("unknown"),
            ..fence.clone()
        },
    ]
}

pub(super) async fn a_settlement_counts_once(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let (a, b) = (f.running("a", &node).await, f.running("b", &node).await);
    let (success, retry) = (f.succeeded(&a, f.start), f.retry(&b, f.start));
    let _ = f
        .store
        .settle(vec![success.clone(), retry.clone()], f.start)
        .await
        .expect("settle");
    let before = (f.get("a").await, f.get("b").await, attempts(f, "b").await);
    let again = f.store.settle(vec![success, retry.clone()], f.at(9)).await;
    assert_eq!(
        again.expect("settle"),
        [SettleOutcome::AlreadySettled, SettleOutcome::AlreadySettled]
    );
    assert_eq!(
        (f.get("a").await, f.get("b").await, attempts(f, "b").await),
        before
    );
    f.claim_one("b", &node).await;
    let late = f.settle(retry).await;
    assert_eq!(late, SettleOutcome::AlreadySettled, "also after the next claim");
    assert_eq!(f.get("b").await.failures, 1);
}

pub(super) async fn a_settlement_twice_in_a_batch_counts_once(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.running("a", &node).await;
    let batch = vec![f.succeeded(&fence, f.start), f.succeeded(&fence, f.start)];
    let outcomes = f.store.settle(batch, f.start).await.expect("settle");
    assert_eq!(settled_state(&outcomes[0]), TaskState::Succeeded);
    assert_eq!(outcomes[1], SettleOutcome::AlreadySettled);
}

pub(super) async fn giving_back_twice_is_fenced(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.held("a", &node).await;
    let _ = f.settle(f.hand_back(&fence)).await;
    assert_eq!(f.settle(f.hand_back(&fence)).await, SettleOutcome::Fenced);
}

pub(super) async fn a_stale_fence_settles_nothing(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.running("a", &node).await;
    let before = (f.get("a").await, attempts(f, "a").await);
    for stale in stale(&fence) {
        assert_eq!(
            f.settle(f.succeeded(&stale, f.start)).await,
            SettleOutcome::Fenced,
            "{stale:?}"
        );
        assert_eq!(
            f.settle(f.retry(&stale, f.start)).await,
            SettleOutcome::Fenced,
            "{stale:?}"
        );
        assert_eq!(
            f.settle(f.hand_back(&stale)).await,
            SettleOutcome::Fenced,
            "{stale:?}"
        );
    }
    assert_eq!((f.get("a").await, attempts(f, "a").await), before);
}

pub(super) async fn final_is_final(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.running("a", &node).await;
    f.succeed(&fence).await;
    let before = f.get("a").await;
    let stale = stale(&fence);
    for stale in [&stale[0], &stale[1], &stale[3], &stale[4]] {
        assert_eq!(
            f.settle(f.succeeded(stale, f.at(1))).await,
            SettleOutcome::Fenced,
            "{stale:?}"
        );
    }
    assert_eq!(f.cancel(&["a"]).await.not_live, [task_id("a")]);
    assert_eq!(f.get("a").await, before);
}

pub(super) async fn settlements_are_answered_in_order_and_independently(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.insert_some(&["a", "b", "c"]).await;
    let lease = f.claim(&node, 3).await;
    let [a, b, c] = <[Fence; 3]>::try_from(fences(&lease)).expect("three tasks");
    let [b_stale, ..] = stale(&b);
    let batch = vec![
        f.succeeded(&c, f.start),
        f.succeeded(&b_stale, f.start),
        f.retry(&a, f.start),
    ];
    let outcomes = f.store.settle(batch, f.start).await.expect("settle");
    assert_eq!(settled_state(&outcomes[0]), TaskState::Succeeded);
    assert_eq!(outcomes[1], SettleOutcome::Fenced);
    assert_eq!(settled_state(&outcomes[2]), TaskState::Ready);
    let states = f.states(&["a", "b", "c"]).await;
    assert_eq!(
        states,
        [TaskState::Ready, TaskState::Leased, TaskState::Succeeded]
    );
}

pub(super) async fn one_of_many_concurrent_settlements_counts(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let fence = f.running("a", &node).await;
    let settles = (0..16).map(|n| {
        let settlement = if n % 2 == 0 {
            f.succeeded(&fence, f.start)
        } else {
            f.retry(&fence, f.at(60))
        };
        let (store, now) = (Arc::clone(&f.store), f.start);
        tokio::spawn(async move {
            store
                .settle(vec![settlement], now)
                .await
                .expect("settle")
                .remove(0)
        })
    });
    let outcomes = join_all(settles).await;
    let mut counted = Vec::new();
    for outcome in outcomes {
        match outcome.expect("no settlement panics") {
            SettleOutcome::Settled { state, .. } => counted.push(state),
            SettleOutcome::AlreadySettled => {}
            SettleOutcome::Fenced => panic!("a settlement was recorded under this fence"),
        }
    }
    assert_eq!(counted, [f.state("a").await]);
    assert_eq!(attempts(f, "a").await.len(), 1);
}

pub(super) async fn concurrent_settlements_of_one_lease_all_count(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    let ids: Vec<String> = (0..64).map(|n| format!("t{n:02}")).collect();
    f.insert_some(&ids.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let lease = f.claim(&node, 100).await;
    assert_eq!(ids_of(&lease), ids);
    let fences = fences(&lease);
    let settles = fences.chunks(4).map(|chunk| {
        let settlements = chunk.iter().map(|fence| f.succeeded(fence, f.start)).collect();
        let (store, now) = (Arc::clone(&f.store), f.start);
        tokio::spawn(async move { store.settle(settlements, now).await.expect("settle") })
    });
    for outcomes in join_all(settles).await {
        for outcome in outcomes.expect("no settlement panics") {
            assert_eq!(settled_state(&outcome), TaskState::Succeeded);
        }
    }
    assert_eq!((live(f).await, finished(f).await.len()), (0, 64));
}
