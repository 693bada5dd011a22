//! A scheduler's end of the wire.

use std::time::Duration;

use async_trait::async_trait;
use jobcore::Result;
use jobcore::attempt::LogChunk;
use jobcore::json::Json;
use jobcore::transport::{
    Address, Batch, BatchId, ControlMessage, Heartbeats, JoinMessage, Joined, Report, TaskMessage, Transport,
};

use super::End;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Transport for End<dyn Transport> {
    fn name(&self) -> &'static str {
        "simulated"
    }

    async fn inbox(&self, join: &JoinMessage, taken: &[Json]) -> Result<Json> {
        self.receive(self.inner.inbox(join, taken)).await
    }

    async fn welcome(&self, join: &JoinMessage, answer: Joined) -> Result<()> {
        let welcome = |inner: std::sync::Arc<dyn Transport>| {
            let (join, answer) = (join.clone(), answer.clone());
            async move { inner.welcome(&join, answer).await }
        };
        self.send(welcome).await
    }

    async fn dispatch(&self, to: &Address, tasks: Vec<TaskMessage>) -> Result<()> {
        let astray = self.process.post.lock().astray;
        if self.world.chance.happens(astray) {
            self.world.count("stray_message");
            self.world.wire.strays.bring(&self.world.chance, tasks.clone());
        }
        let dispatch = |inner: std::sync::Arc<dyn Transport>| {
            let (to, tasks) = (to.clone(), tasks.clone());
            async move { inner.dispatch(&to, tasks).await }
        };
        self.send(dispatch).await
    }

    async fn control(&self, to: &Address, messages: Vec<ControlMessage>) -> Result<()> {
        let control = |inner: std::sync::Arc<dyn Transport>| {
            let (to, messages) = (to.clone(), messages.clone());
            async move { inner.control(&to, messages).await }
        };
        self.send(control).await
    }

    async fn reports(&self) -> Result<Batch<Report>> {
        self.receive(self.inner.reports()).await
    }

    async fn heartbeats(&self, wait: Duration) -> Result<Heartbeats> {
        self.receive(self.inner.heartbeats(wait)).await
    }

    async fn logs(&self) -> Result<Batch<LogChunk>> {
        self.receive(self.inner.logs()).await
    }

    async fn acknowledge(&self, batch: BatchId) -> Result<()> {
        self.send(|inner| async move { inner.acknowledge(batch).await })
            .await
    }
}
