//! Faulty transports: messages get lost, arrive late, in another order or twice, and so do their acknowledgements.

use std::time::Duration;

use async_trait::async_trait;
use jobcore::Result;
use jobcore::attempt::LogChunk;
use jobcore::json::Json;
use jobcore::lease::Holder;
use jobcore::transport::{
    Address, Batch, BatchId, Beat, ControlMessage, ExecutorTransport, Heartbeats, Join, JoinMessage, Joined,
    Report, TaskMessage, Transport,
};

use super::Faulty;

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: Transport + ?Sized> Transport for Faulty<T> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn inbox(&self, join: &JoinMessage, taken: &[Json]) -> Result<Json> {
        self.read("inbox", self.inner.inbox(join, taken)).await
    }

    async fn welcome(&self, join: &JoinMessage, answer: Joined) -> Result<()> {
        let join = join.clone();
        self.send("welcome", move |inner| {
            let (join, answer) = (join.clone(), answer.clone());
            async move { inner.welcome(&join, answer).await }
        })
        .await
    }

    async fn dispatch(&self, to: &Address, tasks: Vec<TaskMessage>) -> Result<()> {
        let to = to.clone();
        self.send("dispatch", move |inner| {
            let (to, tasks) = (to.clone(), tasks.clone());
            async move { inner.dispatch(&to, tasks).await }
        })
        .await
    }

    async fn control(&self, to: &Address, messages: Vec<ControlMessage>) -> Result<()> {
        let to = to.clone();
        self.send("control", move |inner| {
            let (to, messages) = (to.clone(), messages.clone());
            async move { inner.control(&to, messages).await }
        })
        .await
    }

    async fn reports(&self) -> Result<Batch<Report>> {
        self.receive("reports", self.inner.reports()).await
    }

    async fn heartbeats(&self, wait: Duration) -> Result<Heartbeats> {
        self.receive("heartbeats", self.inner.heartbeats(wait)).await
    }

    async fn logs(&self) -> Result<Batch<LogChunk>> {
        self.receive("logs", self.inner.logs()).await
    }

    async fn acknowledge(&self, batch: BatchId) -> Result<()> {
        self.send("acknowledge", move |inner| async move {
            inner.acknowledge(batch).await
        })
        .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: ExecutorTransport + ?Sized> ExecutorTransport for Faulty<T> {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn join(&self, join: Join) -> Result<Joined> {
        self.receive("join", self.inner.join(join)).await
    }

    async fn open(&self, address: &Address) -> Result<()> {
        self.read("open", self.inner.open(address)).await
    }

    async fn tasks(&self) -> Result<Vec<TaskMessage>> {
        self.receive("tasks", self.inner.tasks()).await
    }

    async fn control(&self) -> Result<Vec<ControlMessage>> {
        self.receive("control", self.inner.control()).await
    }

    async fn report(&self, reports: Vec<Report>) -> Result<()> {
        self.send("report", move |inner| {
            let reports = reports.clone();
            async move { inner.report(reports).await }
        })
        .await
    }

    async fn beat(&self, beat: Beat) -> Result<()> {
        self.send("beat", move |inner| {
            let beat = beat.clone();
            async move { inner.beat(beat).await }
        })
        .await
    }

    async fn leave(&self, holder: &Holder) -> Result<()> {
        let holder = holder.clone();
        self.send("leave", move |inner| {
            let holder = holder.clone();
            async move { inner.leave(&holder).await }
        })
        .await
    }

    async fn log(&self, chunks: Vec<LogChunk>) -> Result<()> {
        self.send("log", move |inner| {
            let chunks = chunks.clone();
            async move { inner.log(chunks).await }
        })
        .await
    }
}
