//! Jobs: durable definitions of what to run, when, and with which policies.

mod builder;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::gate::KeyLimit;
use crate::id::{JobId, check_name};
use crate::json::Json;
use crate::lane::{Capability, RESERVED};
use crate::misfire::MisfirePolicy;
use crate::overlap::OverlapPolicy;
use crate::placement::Placement;
use crate::retry::RetryPolicy;
use crate::schedule::Schedule;
use crate::shell::ShellCommand;
use crate::time::Timestamp;

pub use builder::JobBuilder;

/// What carries a job out. The numbers are the codes in column `type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum JobKind {
    /// A command line for `/bin/sh`.
    Shell = 1,
    /// A function of the executor's process, registered under a name.
    Handler = 2,
    /// An HTTP request.
    Http = 3,
    /// A workflow: each task is a workflow run.
    Workflow = 4,
    /// A container.
    Container = 5,
    /// An SQL statement.
    Sql = 6,
    /// A command on another machine over SSH.
    Ssh = 7,
}

impl JobKind {
    const ALL: [Self; 7] = [
        Self::Shell,
        Self::Handler,
        Self::Http,
        Self::Workflow,
        Self::Container,
        Self::Sql,
        Self::Ssh,
    ];

    /// The code in column `type`.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// The kind with this code.
    ///
    /// # Errors
    /// `InvalidInput` for any other number.
    pub fn from_code(code: i16) -> Result<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code).ok_or_else(|| {
            Error::invalid("type", format_args!("{code} is no job type; 1 shell, 2 handler, 3 http, 4 workflow, 5 container, 6 sql, 7 ssh"))
        })
    }

    /// The name in JSON, lanes and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Handler => "handler",
            Self::Http => "http",
            Self::Workflow => "workflow",
            Self::Container => "container",
            Self::Sql => "sql",
            Self::Ssh => "ssh",
        }
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// What carries it out.
    #[serde(rename = "type")]
    pub kind: JobKind,
    /// The handler's name, the command line, the URL, …; at most 65,535 bytes.
    pub command: String,
    /// What the handler gets, unless a trigger brings its own; `null` by default.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub arguments: Json,
    /// Settings of the kind, such as the environment of a shell command; `null` by default.
    #[serde(default, skip_serializing_if = "Json::is_null")]
    pub options: Json,
}

impl Command {
    /// The longest command, in bytes.
    pub const MAX_LENGTH: usize = 65_535;

    /// A call of the handler `name` without arguments.
    pub fn handler(name: impl Into<String>) -> Self {
        Self {
            kind: JobKind::Handler,
            command: name.into(),
            arguments: Json::NULL,
            options: Json::NULL,
        }
    }

    /// A command line for `/bin/sh -c`.
    pub fn shell(line: impl Into<String>) -> Self {
        Self {
            kind: JobKind::Shell,
            command: line.into(),
            arguments: Json::NULL,
            options: Json::NULL,
        }
    }
}

/// How often a task may be carried out when nodes die.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Repeated after its node died: at least once. Default.
    #[default]
    AtLeastOnce,
    /// The start is durable before the handler runs, and a task whose node died after it fails: at most once.
    AtMostOnce,
}

/// What a node does with running attempts when it can't renew its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnLeaseLost {
    /// Finish, and let the settle decide: right for a store that is away for a while. Default.
    #[default]
    Finish,
    /// Stop before the lease ends, so that hardly two attempts overlap. Best effort: the fencing token is what counts.
    Stop,
}

/// What people write: everything about a job but its id and what changes by itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobDefinition {
    /// For people; 1 to 255 characters.
    pub name: String,
    /// What to run.
    #[serde(flatten)]
    pub command: Command,
    /// When to run by itself; without one only triggers make tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Higher goes first; a step is worth [`PRIORITY_STEP`](crate::task::PRIORITY_STEP) of waiting, so low ones age
    /// past it. Default 0.
    #[serde(default)]
    pub priority: i32,
    /// What to do about fire times that went by. Default: fire once.
    #[serde(default)]
    pub misfire: MisfirePolicy,
    /// What to do when an earlier task of the job isn't final. Default: allow.
    #[serde(default)]
    pub overlap: OverlapPolicy,
    /// How long an attempt may take; `None` (default, and 0 in SQL and JSON): as long as it wants.
    #[serde(
        default,
        with = "crate::duration::option",
        skip_serializing_if = "Option::is_none"
    )]
    pub timeout: Option<Duration>,
    /// How long a cancelled attempt may take to end before it is settled without it. Default 30 s.
    #[serde(default = "default_cancel_grace", with = "crate::duration")]
    pub cancel_grace: Duration,
    /// What follows a failure. Default: nothing.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// How often a task may be carried out when nodes die. Default: at least once.
    #[serde(default)]
    pub delivery: Delivery,
    /// What becomes of running attempts when the lease can't be renewed. Default: finish.
    #[serde(default)]
    pub on_lease_lost: OnLeaseLost,
    /// Where it may run. Default: anywhere in group `default`.
    #[serde(default)]
    pub placement: Placement,
    /// How many of its tasks may be eligible or running at once; `None` (default): any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// A limit shared by all tasks with the same key, whatever their job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<KeyLimit>,
    /// The user who created it; ordinary users manage only their own jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Free labels for filters. Not for placement.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

const fn default_cancel_grace() -> Duration {
    Duration::from_secs(30)
}

impl JobDefinition {
    /// A definition with all policies at their defaults and no schedule.
    pub fn new(name: impl Into<String>, command: Command) -> Self {
        Self {
            name: name.into(),
            command,
            schedule: None,
            priority: 0,
            misfire: MisfirePolicy::default(),
            overlap: OverlapPolicy::default(),
            timeout: None,
            cancel_grace: default_cancel_grace(),
            retry: RetryPolicy::default(),
            delivery: Delivery::default(),
            on_lease_lost: OnLeaseLost::default(),
            placement: Placement::default(),
            max_concurrent: None,
            limit: None,
            owner: None,
            labels: BTreeMap::new(),
        }
    }

    /// Refuses what can't work.
    ///
    /// # Errors
    /// `InvalidInput` that names the field and what would be right.
    pub fn validate(&self) -> Result<()> {
        let length = self.name.chars().count();
        if !(1..=255).contains(&length) {
            return Err(Error::invalid(
                "name",
                format_args!("must have 1 to 255 characters, has {length}"),
            ));
        }
        let length = self.command.command.len();
        if !(1..=Command::MAX_LENGTH).contains(&length) {
            return Err(Error::invalid(
                "command",
                format_args!("must have 1 to 65535 bytes, has {length}"),
            ));
        }
        Capability::needed_by(&self.command)?;
        if self.command.kind == JobKind::Shell {
            ShellCommand::of_job(&self.command)?;
        }
        if self.timeout == Some(Duration::ZERO) {
            return Err(Error::invalid(
                "timeout",
                "must be positive; leave it out for none",
            ));
        }
        if self.max_concurrent == Some(0) {
            return Err(Error::invalid(
                "max_concurrent",
                "must be at least 1; pause the job to stop it",
            ));
        }
        if let Some(owner) = &self.owner {
            check_name("owner", owner, &[])?;
        }
        for (key, value) in &self.labels {
            check_name("labels", key, RESERVED)?;
            check_name("labels", value, RESERVED)?;
        }
        if let Some(schedule) = &self.schedule {
            schedule.validate()?;
        }
        self.retry.validate()?;
        self.placement.validate()?;
        self.limit.as_ref().map_or(Ok(()), KeyLimit::validate)
    }
}

/// A job as the store holds it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub job_id: JobId,
    /// What people wrote.
    pub definition: JobDefinition,
    /// A paused job makes no tasks by itself; tasks that exist go on, and triggers work.
    pub paused: bool,
    /// Counts the changes by people, from 1; firing never touches it. The compare-and-set of every change.
    pub version: u64,
    /// The next nominal fire time; `None` when there is none (no schedule, paused, ended, or awaiting the end of the
    /// running task of a fixed-delay schedule).
    pub next_fire_time: Option<Timestamp>,
    /// The nominal time of the latest fire.
    pub last_fire_time: Option<Timestamp>,
    /// The version of the time zone data that `next_fire_time` was computed with; empty when it was never computed,
    /// as in a row written by hand.
    pub zone_version: String,
    /// Why the job can't be scheduled, for a row written by hand that can't be read.
    pub error: Option<String>,
    /// When it was created.
    pub create_time: Timestamp,
    /// When people last changed it.
    pub update_time: Timestamp,
}

/// A job to create or change: an id and its definition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewJob {
    /// Its id; generated when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// What people wrote.
    #[serde(flatten)]
    pub definition: JobDefinition,
}
