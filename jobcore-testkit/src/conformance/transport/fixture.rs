//! What cases of transports have in common: ends that have met, and messages with little ceremony.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jobcore::Timestamp;
use jobcore::attempt::{AttemptStatus, LogChunk, LogStream};
use jobcore::id::{ExecutorId, JobId, TaskId};
use jobcore::job::{Command, Job, JobDefinition};
use jobcore::json::Json;
use jobcore::lane::{Capability, ExecutorProfile};
use jobcore::lease::{FencingToken, Holder, Incarnation};
use jobcore::store::JoinKey;
use jobcore::task::Progress;
use jobcore::transport::{
    Address, Batch, Beat, ExecutorTransport, Finished, HeartbeatMessage, Join, JoinMessage, Joined, LaneEnd,
    RemoteRepeat, Report, ReportEvent, ReportLease, StartMode, Taking, TaskMessage, Transport,
};

use super::{TransportPlace, TransportUnderTest};

/// An executor's end that has joined.
pub(crate) struct Member {
    pub(crate) end: Arc<dyn ExecutorTransport>,
    pub(crate) address: Address,
}

pub(crate) struct Fixture {
    tested: TransportUnderTest,
    pub(crate) scheduler: Arc<dyn Transport>,
}

impl Fixture {
    pub(crate) async fn new(tested: TransportUnderTest) -> Self {
        let scheduler = tested.place.scheduler().await;
        Self { tested, scheduler }
    }

    pub(crate) fn place(&self) -> &dyn TransportPlace {
        &*self.tested.place
    }

    /// Waits for what must come.
    pub(crate) async fn soon<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        match tokio::time::timeout(self.place().patience(), future).await {
            Ok(value) => value,
            Err(_) => panic!("{what} should have come within {:?}", self.place().patience()),
        }
    }

    /// Waits for what must not come.
    pub(crate) async fn never<T: std::fmt::Debug>(&self, what: &str, future: impl Future<Output = T>) {
        if let Ok(value) = tokio::time::timeout(self.place().quiet(), future).await {
            panic!("{what} should not have come: {value:?}");
        }
    }

    /// A new executor that has joined as its first incarnation.
    pub(crate) async fn member(&self, id: &str) -> Member {
        let end = self.place().executor().await;
        let address = self.join(&end, join(id, 7)).await.address;
        end.open(&address).await.expect("open");
        Member { end, address }
    }

    /// Carries a join through: the answer as the executor's end got it.
    pub(crate) async fn join(&self, end: &Arc<dyn ExecutorTransport>, join: Join) -> Joined {
        let asking = tokio::spawn({
            let (end, join) = (Arc::clone(end), join.clone());
            async move { end.join(join).await }
        });
        let message = self.next_join(&*self.scheduler, &join.executor_id).await;
        let answer = self.answer(&message, 1).await;
        self.scheduler
            .welcome(&message, answer.clone())
            .await
            .expect("welcome");
        let got = self
            .soon("the answer to the join", asking)
            .await
            .expect("no panic");
        let got = got.expect("join");
        assert_eq!(got, answer);
        got
    }

    pub(crate) async fn answer(&self, message: &JoinMessage, incarnation: u64) -> Joined {
        let inbox = self.scheduler.inbox(message, &[]).await.expect("inbox");
        let holder = Holder {
            executor_id: message.join.executor_id.clone(),
            incarnation: Incarnation(incarnation),
        };
        Joined {
            nonce: message.join.key.nonce,
            address: Address { holder, inbox },
            now: at(1),
        }
    }

    /// The join of this executor, as `scheduler` sees it.
    pub(crate) async fn next_join(&self, scheduler: &dyn Transport, id: &ExecutorId) -> JoinMessage {
        self.next_heartbeat(scheduler, |message| match message {
            HeartbeatMessage::Join(join) if join.join.executor_id == *id => Some(join),
            _ => None,
        })
        .await
    }

    /// The next heartbeat that `pick` wants, as `scheduler` sees it.
    pub(crate) async fn next_heartbeat<T>(
        &self,
        scheduler: &dyn Transport,
        pick: impl Fn(HeartbeatMessage) -> Option<T>,
    ) -> T {
        self.soon("the heartbeat", async {
            loop {
                let batch = scheduler
                    .heartbeats(self.place().quiet())
                    .await
                    .expect("heartbeats");
                if let Some(found) = batch.messages.into_iter().find_map(&pick) {
                    return found;
                }
            }
        })
        .await
    }

    /// Reads heartbeats until the lane is at its end.
    pub(crate) async fn drain_heartbeats(&self, scheduler: &dyn Transport) -> Vec<HeartbeatMessage> {
        self.soon("the end of the heartbeat lane", async {
            let mut all = Vec::new();
            loop {
                let batch = scheduler
                    .heartbeats(self.place().quiet())
                    .await
                    .expect("heartbeats");
                let last = batch.messages.is_empty() && batch.end == LaneEnd::Reached;
                all.extend(batch.messages);
                if last {
                    return all;
                }
            }
        })
        .await
    }

    pub(crate) async fn dispatch(&self, to: &Address, tasks: Vec<TaskMessage>) {
        self.scheduler.dispatch(to, tasks).await.expect("dispatch");
    }

    /// The next `count` tasks of an executor, in the order in which they came.
    pub(crate) async fn tasks(&self, member: &Member, count: usize) -> Vec<TaskMessage> {
        self.soon("the tasks", async {
            let mut all = Vec::new();
            while all.len() < count {
                all.extend(member.end.tasks().await.expect("tasks"));
            }
            all
        })
        .await
    }

    pub(crate) async fn reports(&self, scheduler: &dyn Transport) -> Batch<Report> {
        self.soon("the reports", scheduler.reports())
            .await
            .expect("reports")
    }

    pub(crate) async fn logs(&self, scheduler: &dyn Transport) -> Batch<LogChunk> {
        self.soon("the logs", scheduler.logs()).await.expect("logs")
    }
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(1_767_225_600 + second)
}

pub(crate) fn task_id(n: usize) -> TaskId {
    TaskId::new(format!("task-{n}")).expect("a good id")
}

fn job_id() -> JobId {
    JobId::new("job-1").expect("a good id")
}

pub(crate) fn join(id: &str, nonce: u64) -> Join {
    Join {
        executor_id: ExecutorId::new(id).expect("a good id"),
        profile: ExecutorProfile {
            group: "default".into(),
            capabilities: vec![Capability::handler("greet").expect("a good name")],
            labels: BTreeMap::from([("zone".to_owned(), "eu".to_owned())]),
            capacity: 3,
        },
        key: JoinKey {
            nonce,
            previous: Some(Incarnation(4)),
        },
        host: "host".into(),
        port: 7,
        lease_duration: Duration::from_millis(2_500),
    }
}

pub(crate) fn beat(from: &Address, sequence: u64) -> Beat {
    Beat {
        from: from.clone(),
        sequence,
        beat_time: at(5),
        taking: Taking::Nothing,
        held: Some(vec![(task_id(1), FencingToken(9))]),
        resources: Some(json(r#"{"memory_mb":512}"#)),
    }
}

pub(crate) fn json(text: &str) -> Json {
    Json::parse(text).expect("JSON")
}

/// A task message with something in every field.
pub(crate) fn task(n: usize, holder: &Holder) -> TaskMessage {
    let mut definition = JobDefinition::new("Greet", Command::shell("echo 'Hello World'"));
    definition.timeout = Some(Duration::from_secs(3_600));
    definition.command.options = json(r#"{"environment":{"A":"b"}}"#);
    TaskMessage {
        task_id: task_id(n),
        job: Arc::new(Job {
            job_id: job_id(),
            definition,
            paused: false,
            version: 3,
            next_fire_time: Some(at(60)),
            last_fire_time: Some(at(0)),
            zone_version: "2026a".into(),
            error: None,
            create_time: at(-9),
            update_time: at(-8),
        }),
        arguments: Some(json(r#"{"name":"wörld"}"#)),
        priority: 10,
        attempt: 2,
        token: FencingToken(90 + n as u64),
        holder: holder.clone(),
        part: 1,
        parts: 4,
        scheduled_for: Some(at(0)),
        checkpoint: Some(json("[1,2]")),
        start_before: at(30),
        start: StartMode::Confirm,
        create_time: at(-1),
    }
}

pub(crate) fn report(n: usize, from: &Holder, event: ReportEvent) -> Report {
    Report {
        task_id: task_id(n),
        job_id: job_id(),
        executor_id: from.executor_id.clone(),
        lease: Some(ReportLease {
            token: FencingToken(90 + n as u64),
            attempt: 2,
            incarnation: from.incarnation,
        }),
        event,
    }
}

pub(crate) fn started(n: usize, from: &Holder) -> Report {
    report(n, from, ReportEvent::Started { start_time: at(2) })
}

pub(crate) fn finished() -> Finished {
    Finished {
        status: AttemptStatus::Failed,
        start_time: at(2),
        end_time: at(3),
        exit_code: Some(1),
        output: "Hello World\n".into(),
        error: "no such \"file\"".into(),
        class: Some("io".into()),
        repeat: RemoteRepeat::AfterMillis(1_500),
        checkpoint: Some(json("3")),
    }
}

pub(crate) fn progress() -> Option<Progress> {
    Some(Progress {
        percent: 12.5,
        message: "an eighth".into(),
    })
}

pub(crate) fn chunk(n: u64) -> LogChunk {
    LogChunk {
        task_id: task_id(1),
        attempt: 2,
        sequence: n,
        stream: LogStream::Stderr,
        log_time: at(2),
        text: format!("line {n}\n\u{1b}[0m"),
    }
}
