//! Promoting: moves on what waits for its time or a gate.

use std::sync::Arc;
use std::time::Duration;

use super::crew::Crew;
use super::node::Node;
use crate::error::Result;
use crate::event::Event;
use crate::store::{MAX_BATCH, PromoteRequest, Promoted};
use crate::time::Timestamp;

/// How often everything is looked at, hinted or not: heals a wake-up that was missed, and finds what others made.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The shortest time between two looks at everything.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

/// The promote loop.
pub(crate) struct Promoter {
    node: Arc<Node>,
    /// What runs here, so that a cancel by an overlap policy reaches it at once.
    crew: Arc<Crew>,
    sweep_next: Timestamp,
}

impl Promoter {
    pub(crate) fn new(node: Arc<Node>, crew: Arc<Crew>) -> Self {
        let sweep_next = node.now();
        Self {
            node,
            crew,
            sweep_next,
        }
    }

    /// Runs until the node drains.
    pub(crate) async fn run(mut self) {
        let node = self.node.clone();
        while !node.draining.is_cancelled() {
            match self.round().await {
                Ok(()) => node.health.works("promote"),
                Err(error) => {
                    // What was hinted is found by the sweep.
                    self.sweep_next = node.now();
                    node.back_off("promote", &error).await;
                }
            }
            tokio::select! {
                biased;
                () = node.draining.cancelled() => {}
                () = node.wake.promote.signal.notified() => {}
                () = node.sleep_until(self.sweep_next) => {}
            }
        }
    }

    async fn round(&mut self) -> Result<()> {
        let now = self.node.now();
        let wanted = self.node.wake.promote.take();
        if let Some(due) = wanted.due {
            self.sweep_next = self.sweep_next.min(due);
        }
        let gates = wanted.named_gates();
        if now >= self.sweep_next || gates.is_none() {
            let next_due = self.promote_all(None).await?;
            let regular = now + SWEEP_EVERY;
            self.sweep_next = next_due.map_or(regular, |due| due.clamp(now + SHORTEST_PAUSE, regular));
        } else if let Some(gates) = gates.filter(|gates| !gates.is_empty()) {
            let next_due = self.promote_all(Some(gates)).await?;
            self.sweep_next = next_due.map_or(self.sweep_next, |due| due.min(self.sweep_next));
        }
        Ok(())
    }

    /// Promotes until nothing more can move; says when something will.
    async fn promote_all(&self, gates: Option<Vec<crate::gate::GateKey>>) -> Result<Option<Timestamp>> {
        let mut next_due = None;
        loop {
            let request = PromoteRequest {
                now: self.node.now(),
                gates: gates.clone(),
                limit: MAX_BATCH,
            };
            let promoted = self.node.store.promote(request).await?;
            self.tell(&promoted);
            // Each call may have looked at other gates.
            next_due = next_due.into_iter().chain(promoted.next_due_time).min();
            if !promoted.more || self.node.draining.is_cancelled() {
                return Ok(next_due);
            }
        }
    }

    fn tell(&self, promoted: &Promoted) {
        if promoted.ready > 0 {
            self.node.wake.claim.notify_one();
        }
        self.crew.starter.cancel(&promoted.cancelling, None);
        for (task_id, job_id, state) in &promoted.settled {
            let (task_id, job_id, state) = (task_id.clone(), job_id.clone(), *state);
            self.node.emit(|| Event::Task {
                task_id,
                job_id,
                state,
                attempt: 0,
            });
        }
    }
}
