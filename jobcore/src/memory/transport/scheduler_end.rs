//! The scheduler's end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::queue::Queue;
use super::{Hub, NAME, unavailable};
use crate::attempt::LogChunk;
use crate::error::Result;
use crate::transport::{
    Address, Batch, BatchId, ControlMessage, HeartbeatMessage, Heartbeats, JoinMessage, Joined, LaneEnd,
    Report, TaskMessage, Transport,
};

pub(super) struct SchedulerEnd {
    hub: Arc<Hub>,
    number: u64,
    heartbeats: Arc<Queue<HeartbeatMessage>>,
    batches: AtomicU64,
}

impl SchedulerEnd {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        let heartbeats = Arc::new(Queue::new(hub.config.lane));
        let number = hub.add_scheduler(&heartbeats);
        Self {
            hub,
            number,
            heartbeats,
            batches: AtomicU64::new(0),
        }
    }

    /// Batches are named across ends and lanes, so that an acknowledgement can't hit another's.
    fn name_batch(&self) -> BatchId {
        let count = self.batches.fetch_add(1, Ordering::Relaxed);
        BatchId((self.number << 40) | count)
    }
}

impl Drop for SchedulerEnd {
    fn drop(&mut self) {
        self.hub.remove(self.number);
        self.hub.reports.leave(self.number);
        self.hub.logs.leave(self.number);
    }
}

#[async_trait]
impl Transport for SchedulerEnd {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn welcome(&self, join: &JoinMessage, answer: Joined) -> Result<()> {
        self.hub.inbox(&join.reply_to)?.joined.push_over_oldest(answer);
        Ok(())
    }

    async fn dispatch(&self, to: &Address, tasks: Vec<TaskMessage>) -> Result<()> {
        match self.hub.inbox(&to.inbox)?.push_tasks(&to.holder, tasks) {
            true => Ok(()),
            false => Err(unavailable(format!(
                "the inbox of {} is full",
                to.holder.executor_id
            ))),
        }
    }

    async fn control(&self, to: &Address, messages: Vec<ControlMessage>) -> Result<()> {
        match self.hub.inbox(&to.inbox)?.push_control(&to.holder, messages) {
            true => Ok(()),
            false => Err(unavailable(format!(
                "the control lane of {} is full",
                to.holder.executor_id
            ))),
        }
    }

    async fn reports(&self) -> Result<Batch<Report>> {
        Ok(self.hub.reports.next(self.number, || self.name_batch()).await)
    }

    async fn heartbeats(&self, wait: Duration) -> Result<Heartbeats> {
        let (mut messages, mut empty) = self.heartbeats.take(|_| true);
        if messages.is_empty() {
            let end = self.hub.clock.now() + wait;
            tokio::select! {
                biased;
                taken = self.heartbeats.next(|_| true) => messages = taken,
                () = self.hub.clock.sleep_until(end) => {}
            }
            empty = true;
        }
        let end = if empty { LaneEnd::Reached } else { LaneEnd::Ahead };
        Ok(Heartbeats { messages, end })
    }

    async fn logs(&self) -> Result<Batch<LogChunk>> {
        Ok(self.hub.logs.next(self.number, || self.name_batch()).await)
    }

    async fn acknowledge(&self, batch: BatchId) -> Result<()> {
        self.hub.reports.acknowledge(batch);
        self.hub.logs.acknowledge(batch);
        Ok(())
    }
}
