//! The executor's end.

use std::sync::Arc;

use async_trait::async_trait;

use super::inbox::Inbox;
use super::{Hub, NAME};
use crate::attempt::LogChunk;
use crate::error::Result;
use crate::json::Json;
use crate::lease::Holder;
use crate::transport::{
    Address, Beat, ControlMessage, ExecutorTransport, HeartbeatMessage, Join, JoinMessage, Joined, Report,
    TaskMessage,
};

pub(super) struct ExecutorEnd {
    hub: Arc<Hub>,
    number: u64,
    inbox: Arc<Inbox>,
}

impl ExecutorEnd {
    pub(super) fn new(hub: Arc<Hub>) -> Self {
        let inbox = Arc::new(Inbox::new(hub.config.inbox));
        let number = hub.add_inbox(&inbox);
        Self { hub, number, inbox }
    }
}

impl Drop for ExecutorEnd {
    fn drop(&mut self) {
        self.hub.remove(self.number);
    }
}

#[async_trait]
impl ExecutorTransport for ExecutorEnd {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn join(&self, join: Join) -> Result<Joined> {
        let nonce = join.key.nonce;
        let message = JoinMessage {
            join,
            reply_to: Json::encode(&self.number)?,
        };
        self.hub.heartbeat(&HeartbeatMessage::Join(message));
        loop {
            let answers = self.inbox.joined.next(|_| true).await;
            if let Some(answer) = answers.into_iter().rfind(|answer| answer.nonce == nonce) {
                return Ok(answer);
            }
        }
    }

    async fn open(&self, address: &Address) -> Result<()> {
        self.inbox.open(&address.holder);
        Ok(())
    }

    async fn tasks(&self) -> Result<Vec<TaskMessage>> {
        Ok(self.inbox.next_tasks().await)
    }

    async fn control(&self) -> Result<Vec<ControlMessage>> {
        Ok(self.inbox.next_control().await)
    }

    async fn report(&self, reports: Vec<Report>) -> Result<()> {
        self.hub.reports.push_all(reports).await;
        Ok(())
    }

    async fn beat(&self, beat: Beat) -> Result<()> {
        self.hub.heartbeat(&HeartbeatMessage::Beat(beat));
        Ok(())
    }

    async fn leave(&self, holder: &Holder) -> Result<()> {
        self.hub.heartbeat(&HeartbeatMessage::Leave(holder.clone()));
        Ok(())
    }

    async fn log(&self, chunks: Vec<LogChunk>) -> Result<()> {
        self.hub.logs.push_all(chunks).await;
        Ok(())
    }
}
