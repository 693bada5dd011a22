//! What ends a command from outside: cancellation, its deadline, the end of its lease.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::watcher::Orders;
use crate::clock::Clock;
use crate::time::Timestamp;

/// The command is dead this long before its lease ends: the time that killing takes on a busy machine.
const LEASE_LEAD: Duration = Duration::from_millis(50);
/// What a command gets between SIGTERM and SIGKILL at most when its lease runs out. Taken off the end of the lease,
/// where the next renewal may still be on its way, so it is short.
const LEASE_GRACE: Duration = Duration::from_millis(500);
/// How long the watcher leaves us to stop a command at its deadline in good order, before it does so itself.
const WATCHER_PATIENCE: Duration = Duration::from_secs(1);

/// Why a command was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopReason {
    /// It was cancelled.
    Cancelled,
    /// Its deadline came.
    TimedOut,
    /// Its lease ran out, or was about to.
    LeaseLost,
}

/// The bounds of one command.
pub(super) struct Bounds<'a> {
    pub(super) clock: &'a dyn Clock,
    pub(super) deadline: Option<Timestamp>,
    pub(super) lease: Option<watch::Receiver<Timestamp>>,
    pub(super) grace: Duration,
    pub(super) cancellation: &'a CancellationToken,
    /// When the watcher kills the group, as it was last told, and for what.
    pub(super) order: Mutex<Option<(Timestamp, StopReason)>>,
}

impl Bounds<'_> {
    /// Why the command must not run any longer now, or why the watcher has killed it.
    pub(super) fn passed(&self) -> Option<StopReason> {
        let now = self.clock.now();
        let ends = [
            *self.order.lock(),
            self.lease_end().map(|end| (end, StopReason::LeaseLost)),
            self.deadline.map(|end| (end, StopReason::TimedOut)),
        ];
        let passed = ends.into_iter().flatten().find(|(end, _)| *end <= now);
        let cancelled = self.cancellation.is_cancelled().then_some(StopReason::Cancelled);
        passed.map(|(_, reason)| reason).or(cancelled)
    }

    /// Returns when the command has to be stopped.
    pub(super) async fn over(&self) -> StopReason {
        let deadline = async {
            match self.deadline {
                Some(deadline) => self.clock.sleep_until(deadline).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.lease_within(self.grace.min(LEASE_GRACE)) => StopReason::LeaseLost,
            () = deadline => StopReason::TimedOut,
            // At a deadline the node cancels as well, and may be the first to notice.
            () = self.cancellation.cancelled() => self.passed().unwrap_or(StopReason::Cancelled),
        }
    }

    /// Returns when a command that was told to end has had its time.
    pub(super) async fn grace_over(&self) {
        tokio::select! {
            () = self.clock.sleep_until(self.clock.now() + self.grace) => {}
            () = self.lease_within(Duration::ZERO) => {}
        }
    }

    /// Tells the watcher by when to kill the group at the latest.
    pub(super) async fn give(&self, orders: &mut Orders) {
        let now = self.clock.now();
        let lease = self.lease_end().map(|end| (end, StopReason::LeaseLost));
        let deadline = self
            .deadline
            .map(|end| (end + self.grace + WATCHER_PATIENCE, StopReason::TimedOut));
        let Some(latest) = lease.into_iter().chain(deadline).min_by_key(|(end, _)| *end) else {
            return;
        };
        {
            let mut order = self.order.lock();
            if order.is_some_and(|(end, _)| end <= now) {
                // We were frozen, and the lease renewed too late: the group is being killed, and this is why.
                return;
            }
            *order = Some(latest);
        }
        // An error says that the watcher is gone, and that is noticed elsewhere.
        let _ = orders.kill_in(latest.0.since(now)).await;
    }

    /// Tells the watcher again whenever the lease is renewed. Never returns.
    pub(super) async fn keep_giving(&self, orders: &mut Orders) -> Infallible {
        if let Some(mut lease) = self.lease.clone() {
            while lease.changed().await.is_ok() {
                self.give(orders).await;
            }
        }
        pending().await
    }

    fn lease_end(&self) -> Option<Timestamp> {
        self.lease.as_ref().map(|lease| *lease.borrow() - LEASE_LEAD)
    }

    /// Returns when the lease ends within `lead`; never without a lease.
    async fn lease_within(&self, lead: Duration) {
        let Some(mut lease) = self.lease.clone() else {
            return pending().await;
        };
        loop {
            let end = *lease.borrow_and_update() - LEASE_LEAD - lead;
            tokio::select! {
                biased;
                () = self.clock.sleep_until(end) => return,
                renewed = lease.changed() => {
                    if renewed.is_err() {
                        return self.clock.sleep_until(end).await;
                    }
                }
            }
        }
    }
}
