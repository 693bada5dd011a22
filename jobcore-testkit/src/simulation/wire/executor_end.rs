//! An executor's end of the wire, where a guard of the executor's can be switched off: what comes and goes is altered so
//! that the executor does what one without that guard would do.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use jobcore::attempt::LogChunk;
use jobcore::id::TaskId;
use jobcore::lease::{FencingToken, Holder};
use jobcore::transport::{
    Address, Beat, ControlMessage, ExecutorTransport, Join, Joined, Report, ReportEvent, StartMode,
    TaskMessage,
};
use jobcore::{Result, Timestamp};
use parking_lot::Mutex;

use super::super::guard::Guard;
use super::strays::Door;
use super::{End, Fate};

type Executor = dyn ExecutorTransport;

/// From here on, tokens are disguises of others.
const DISGUISE: u64 = 1 << 40;

/// The token behind one that may be a disguise.
pub(in super::super) const fn real(token: FencingToken) -> FencingToken {
    FencingToken(token.0 % DISGUISE)
}

pub(super) struct ExecutorEnd {
    end: End<Executor>,
    strays: Arc<Door>,
    memory: Mutex<Memory>,
}

/// What switching guards off needs to know.
#[derive(Default)]
struct Memory {
    /// As whom it receives.
    opened: Option<Holder>,
    received: BTreeSet<(TaskId, FencingToken)>,
    reported: BTreeSet<(TaskId, FencingToken)>,
}

impl ExecutorEnd {
    pub(super) fn new(end: End<Executor>, strays: Arc<Door>) -> Self {
        let memory = Mutex::default();
        Self { end, strays, memory }
    }

    fn broken(&self) -> Option<Guard> {
        self.end.world.broken
    }

    /// A task message as an executor without the guard takes it.
    fn taken(&self, message: &mut TaskMessage) {
        let mut memory = self.memory.lock();
        match self.broken() {
            Some(Guard::StartBefore) => message.start_before = Timestamp::MAX,
            Some(Guard::ConfirmStart) => message.start = StartMode::AtOnce,
            Some(Guard::InboxIncarnation) => {
                if let Some(holder) = &memory.opened {
                    message.holder = holder.clone();
                }
            }
            Some(Guard::DedupStarts) => {
                // A repetition is taken for another task's message.
                while !memory.received.insert((message.task_id.clone(), message.token)) {
                    message.token.0 += DISGUISE;
                }
            }
            _ => {}
        }
    }

    /// The reports that an executor without the guard sends.
    fn sent(&self, mut reports: Vec<Report>) -> Vec<Report> {
        let mut memory = self.memory.lock();
        match self.broken() {
            Some(Guard::ReportResend) => reports.retain(|report| {
                let ends = matches!(
                    report.event,
                    ReportEvent::Finished(_) | ReportEvent::Returned { .. }
                );
                let lease = report.lease.filter(|_| ends);
                lease.is_none_or(|lease| memory.reported.insert((report.task_id.clone(), lease.token)))
            }),
            Some(Guard::DedupStarts) => {
                for lease in reports.iter_mut().filter_map(|report| report.lease.as_mut()) {
                    lease.token = real(lease.token);
                }
            }
            _ => {}
        }
        reports
    }

    /// The sign of life that an executor without the guard gives.
    fn given(&self, mut beat: Beat) -> Beat {
        match self.broken() {
            Some(Guard::BeatTime) => beat.beat_time = Timestamp::MAX,
            Some(Guard::DedupStarts) => {
                for (_, token) in beat.held.iter_mut().flatten() {
                    *token = real(*token);
                }
            }
            _ => {}
        }
        beat
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ExecutorTransport for ExecutorEnd {
    fn name(&self) -> &'static str {
        "simulated"
    }

    async fn join(&self, join: Join) -> Result<Joined> {
        let ask = async {
            self.end.travel().await;
            match self.end.fate() {
                Fate::Lost => return std::future::pending().await,
                Fate::Late(delay) => tokio::time::sleep(delay).await,
                Fate::Delivered | Fate::Repeated(_) | Fate::Unconfirmed => {}
            }
            self.end.inner.join(join).await
        };
        self.end.receive(ask).await
    }

    async fn open(&self, address: &Address) -> Result<()> {
        self.memory.lock().opened = Some(address.holder.clone());
        self.end.receive(self.end.inner.open(address)).await
    }

    async fn tasks(&self) -> Result<Vec<TaskMessage>> {
        let wait = async {
            tokio::select! {
                biased;
                tasks = self.end.inner.tasks() => tasks,
                strays = self.strays.next() => Ok(strays),
            }
        };
        let mut tasks = self.end.receive(wait).await?;
        tasks.iter_mut().for_each(|task| self.taken(task));
        Ok(tasks)
    }

    async fn control(&self) -> Result<Vec<ControlMessage>> {
        self.end.receive(self.end.inner.control()).await
    }

    async fn report(&self, reports: Vec<Report>) -> Result<()> {
        let reports = self.sent(reports);
        let report = |inner: Arc<Executor>| {
            let reports = reports.clone();
            async move { inner.report(reports).await }
        };
        self.end.send(report).await
    }

    async fn beat(&self, beat: Beat) -> Result<()> {
        let beat = self.given(beat);
        let give = |inner: Arc<Executor>| {
            let beat = beat.clone();
            async move { inner.beat(beat).await }
        };
        self.end.send(give).await
    }

    async fn leave(&self, holder: &Holder) -> Result<()> {
        let leave = |inner: Arc<Executor>| {
            let holder = holder.clone();
            async move { inner.leave(&holder).await }
        };
        self.end.send(leave).await
    }

    async fn log(&self, chunks: Vec<LogChunk>) -> Result<()> {
        let log = |inner: Arc<Executor>| {
            let chunks = chunks.clone();
            async move { inner.log(chunks).await }
        };
        self.end.send(log).await
    }
}
