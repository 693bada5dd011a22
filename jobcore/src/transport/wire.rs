//! Messages as JSON, as brokers and foreign executors see them: the basic fields of tasks and results, and further ones
//! beside them. Unknown fields are ignored.
//!
//! A task:
//!
//! ```json
//! {"task_id": "task-1", "job_id": "job-1", "command": "echo hi", "timeout": 3600, "retry_count": 3,
//!  "retry_interval": 60, "priority": 10, "create_time": "2026-01-01T12:00:00Z",
//!  "type": "shell", "attempt": 1, "token": 7, "executor_id": "e1", "incarnation": 1, "start_before": "…", "job": {…}}
//! ```
//!
//! A result; one of `status` 0 says that the attempt started:
//!
//! ```json
//! {"task_id": "task-1", "job_id": "job-1", "executor_id": "e1", "status": 1, "start_time": "2026-01-01T12:00:00Z",
//!  "end_time": "2026-01-01T12:01:00Z", "output": "hi\n", "error": "", "exit_code": 0,
//!  "attempt": 1, "token": 7, "incarnation": 1}
//! ```
//!
//! An executor that answers with the basic fields only is understood: the task's row then stands in for the lease.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::message::{
    Checkpoint, Finished, RemoteRepeat, Report, ReportEvent, ReportLease, StartMode, TaskMessage,
};
use crate::attempt::AttemptStatus;
use crate::error::Error;
use crate::id::{ExecutorId, JobId, TaskId};
use crate::job::{Job, JobKind};
use crate::json::Json;
use crate::lease::{FencingToken, Holder, Incarnation};
use crate::task::Progress;
use crate::time::Timestamp;

/// A task message in JSON.
#[derive(Serialize, Deserialize)]
pub(super) struct WireTask {
    task_id: TaskId,
    job_id: JobId,
    command: String,
    /// 0: none.
    #[serde(with = "crate::duration")]
    timeout: Duration,
    retry_count: u32,
    #[serde(with = "crate::duration")]
    retry_interval: Duration,
    priority: i32,
    create_time: Timestamp,
    #[serde(rename = "type")]
    kind: JobKind,
    /// The trigger's or else the job's.
    arguments: Json,
    attempt: u32,
    token: FencingToken,
    executor_id: ExecutorId,
    incarnation: Incarnation,
    part: u32,
    parts: u32,
    scheduled_for: Option<Timestamp>,
    checkpoint: Option<Json>,
    start_before: Timestamp,
    start: StartMode,
    job: Arc<Job>,
}

impl From<TaskMessage> for WireTask {
    fn from(message: TaskMessage) -> Self {
        let definition = &message.job.definition;
        let own = || definition.command.arguments.clone();
        Self {
            job_id: message.job.job_id.clone(),
            command: definition.command.command.clone(),
            timeout: definition.timeout.unwrap_or_default(),
            retry_count: definition.retry.retry_count,
            retry_interval: definition.retry.retry_interval,
            kind: definition.command.kind,
            arguments: message.arguments.unwrap_or_else(own),
            task_id: message.task_id,
            priority: message.priority,
            create_time: message.create_time,
            attempt: message.attempt,
            token: message.token,
            executor_id: message.holder.executor_id,
            incarnation: message.holder.incarnation,
            part: message.part,
            parts: message.parts,
            scheduled_for: message.scheduled_for,
            checkpoint: message.checkpoint,
            start_before: message.start_before,
            start: message.start,
            job: message.job,
        }
    }
}

impl From<WireTask> for TaskMessage {
    fn from(wire: WireTask) -> Self {
        let arguments = Some(wire.arguments);
        Self {
            arguments: arguments.filter(|arguments| *arguments != wire.job.definition.command.arguments),
            task_id: wire.task_id,
            job: wire.job,
            priority: wire.priority,
            attempt: wire.attempt,
            token: wire.token,
            holder: Holder {
                executor_id: wire.executor_id,
                incarnation: wire.incarnation,
            },
            part: wire.part,
            parts: wire.parts,
            scheduled_for: wire.scheduled_for,
            checkpoint: wire.checkpoint,
            start_before: wire.start_before,
            start: wire.start,
            create_time: wire.create_time,
        }
    }
}

/// A report in JSON: a result, or what came before one.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct WireReport {
    task_id: String,
    job_id: String,
    executor_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<i16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<FencingToken>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incarnation: Option<Incarnation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat: Option<RemoteRepeat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<Json>,
    /// Of a checkpoint before the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    /// Why the task is handed back.
    #[serde(skip_serializing_if = "Option::is_none")]
    returned: Option<String>,
}

impl From<Report> for WireReport {
    fn from(report: Report) -> Self {
        let wire = Self {
            task_id: report.task_id.to_string(),
            job_id: report.job_id.to_string(),
            executor_id: report.executor_id.to_string(),
            attempt: report.lease.map(|lease| lease.attempt),
            token: report.lease.map(|lease| lease.token),
            incarnation: report.lease.map(|lease| lease.incarnation),
            ..Self::default()
        };
        wire.with(report.event)
    }
}

impl WireReport {
    fn with(self, event: ReportEvent) -> Self {
        match event {
            ReportEvent::Started { start_time } => Self {
                status: Some(AttemptStatus::Running.code()),
                start_time: Some(start_time),
                ..self
            },
            ReportEvent::Progress { progress, checkpoint } => Self {
                progress,
                sequence: checkpoint.as_ref().map(|checkpoint| checkpoint.sequence),
                checkpoint: checkpoint.map(|checkpoint| checkpoint.value),
                ..self
            },
            ReportEvent::Finished(finished) => Self {
                status: Some(finished.status.code()),
                start_time: Some(finished.start_time),
                end_time: Some(finished.end_time),
                output: Some(finished.output),
                error: Some(finished.error),
                exit_code: finished.exit_code,
                class: finished.class,
                repeat: (finished.repeat != RemoteRepeat::ByPolicy).then_some(finished.repeat),
                checkpoint: finished.checkpoint,
                ..self
            },
            ReportEvent::Returned { reason } => Self {
                returned: Some(reason),
                ..self
            },
        }
    }

    fn event(self) -> Result<ReportEvent, Error> {
        let Some(status) = self.status else {
            return Ok(match self.returned {
                Some(reason) => ReportEvent::Returned { reason },
                None => ReportEvent::Progress {
                    progress: self.progress,
                    checkpoint: self.checkpoint.map(|value| Checkpoint {
                        value,
                        sequence: self.sequence.unwrap_or_default(),
                    }),
                },
            });
        };
        let status = AttemptStatus::from_code(status)?;
        let start_time = self
            .start_time
            .ok_or_else(|| Error::invalid("start_time", "a result needs it"))?;
        if status == AttemptStatus::Running {
            return Ok(ReportEvent::Started { start_time });
        }
        let end_time = self
            .end_time
            .ok_or_else(|| Error::invalid("end_time", "a result needs it, unless its status is 0"))?;
        Ok(ReportEvent::Finished(Finished {
            status,
            start_time,
            end_time,
            exit_code: self.exit_code,
            output: self.output.unwrap_or_default(),
            error: self.error.unwrap_or_default(),
            class: self.class,
            repeat: self.repeat.unwrap_or_default(),
            checkpoint: self.checkpoint,
        }))
    }
}

impl TryFrom<WireReport> for Report {
    type Error = Error;

    fn try_from(wire: WireReport) -> Result<Self, Error> {
        let lease = match (wire.token, wire.attempt, wire.incarnation) {
            (Some(token), Some(attempt), Some(incarnation)) => Some(ReportLease {
                token,
                attempt,
                incarnation,
            }),
            // Part of a lease proves nothing.
            _ => None,
        };
        Ok(Self {
            task_id: TaskId::new(&wire.task_id)?,
            job_id: JobId::new(&wire.job_id)?,
            executor_id: ExecutorId::new(&wire.executor_id)?,
            lease,
            event: wire.event()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Command, JobDefinition};
    use crate::retry::RetryPolicy;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn task() -> TaskMessage {
        let mut definition = JobDefinition::new("Greet", Command::shell("echo 'Hello World'"));
        definition.timeout = Some(Duration::from_secs(3_600));
        definition.retry = RetryPolicy::fixed(3, Duration::from_secs(60));
        let time = at("2023-01-01T12:00:00Z");
        let job = Job {
            job_id: JobId::new("job-123456").unwrap(),
            definition,
            paused: false,
            version: 1,
            next_fire_time: None,
            last_fire_time: None,
            zone_version: String::new(),
            error: None,
            create_time: time,
            update_time: time,
        };
        TaskMessage {
            task_id: TaskId::new("task-123456").unwrap(),
            job: Arc::new(job),
            arguments: None,
            priority: 10,
            attempt: 2,
            token: FencingToken(7),
            holder: Holder {
                executor_id: ExecutorId::new("executor-123456").unwrap(),
                incarnation: Incarnation(4),
            },
            part: 0,
            parts: 1,
            scheduled_for: Some(time),
            checkpoint: Some(Json::parse("[1]").unwrap()),
            start_before: time + Duration::from_secs(5),
            start: StartMode::Confirm,
            create_time: time,
        }
    }

    #[test]
    fn a_task_has_the_basic_fields_in_their_types() {
        let json = serde_json::to_value(task()).unwrap();
        let basic = serde_json::json!({
            "task_id": "task-123456", "job_id": "job-123456", "command": "echo 'Hello World'", "timeout": 3600,
            "retry_count": 3, "retry_interval": 60, "priority": 10, "create_time": "2023-01-01T12:00:00Z"
        });
        for (field, value) in basic.as_object().unwrap() {
            assert_eq!(&json[field], value, "{field}");
        }
        for message in [
            task(),
            TaskMessage {
                arguments: Some(Json::parse("{}").unwrap()),
                ..task()
            },
        ] {
            let text = serde_json::to_string(&message).unwrap();
            assert_eq!(serde_json::from_str::<TaskMessage>(&text).unwrap(), message);
        }
    }

    #[test]
    fn a_result_with_the_basic_fields_alone_is_understood() {
        let text = r#"{"task_id": "task-123456", "job_id": "job-123456", "executor_id": "executor-123456", "status": 1,
            "start_time": "2023-01-01T12:00:00Z", "end_time": "2023-01-01T12:01:00Z", "output": "Hello World",
            "error": "", "exit_code": 0, "unknown": [1]}"#;
        let report: Report = serde_json::from_str(text).unwrap();
        assert_eq!(report.lease, None);
        let ReportEvent::Finished(finished) = report.event else {
            panic!("it is a result: {:?}", report.event);
        };
        assert_eq!(
            (finished.status, finished.exit_code),
            (AttemptStatus::Success, Some(0))
        );
        assert_eq!(finished.end_time, at("2023-01-01T12:01:00Z"));
    }

    #[test]
    fn every_report_round_trips() {
        let time = at("2023-01-01T12:00:00Z");
        let value = || Json::parse(r#"{"page":7}"#).unwrap();
        let finished = Finished {
            status: AttemptStatus::Failed,
            start_time: time,
            end_time: time,
            exit_code: None,
            output: String::new(),
            error: "no".into(),
            class: Some("io".into()),
            repeat: RemoteRepeat::AfterMillis(1_500),
            checkpoint: Some(value()),
        };
        let progress = Progress {
            percent: 12.5,
            message: "an eighth".into(),
        };
        let checkpoint = Checkpoint {
            value: value(),
            sequence: 3,
        };
        let events = [
            ReportEvent::Started { start_time: time },
            ReportEvent::Progress {
                progress: Some(progress),
                checkpoint: None,
            },
            ReportEvent::Progress {
                progress: None,
                checkpoint: Some(checkpoint),
            },
            ReportEvent::Finished(finished),
            ReportEvent::Returned {
                reason: "no room".into(),
            },
        ];
        let lease = ReportLease {
            token: FencingToken(7),
            attempt: 2,
            incarnation: Incarnation(4),
        };
        for event in events {
            for lease in [Some(lease), None] {
                let report = Report {
                    task_id: TaskId::new("t").unwrap(),
                    job_id: JobId::new("j").unwrap(),
                    executor_id: ExecutorId::new("e").unwrap(),
                    lease,
                    event: event.clone(),
                };
                let text = serde_json::to_string(&report).unwrap();
                assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report, "{text}");
            }
        }
    }

    #[test]
    fn what_cannot_be_a_report_says_why() {
        for (text, why) in [
            (r#"{"job_id":"j","executor_id":"e","status":0}"#, "task_id"),
            (
                r#"{"task_id":"t","job_id":"j","executor_id":"e","status":1}"#,
                "start_time",
            ),
            (
                r#"{"task_id":"t","job_id":"j","executor_id":"e","status":77}"#,
                "77",
            ),
        ] {
            let error = serde_json::from_str::<Report>(text).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }
}
