//! Jobs written in code: `JobBuilder::handler("report").cron("0 9 * * *")`.

use std::time::Duration;

use serde::Serialize;

use super::{Command, Delivery, JobDefinition, NewJob, OnLeaseLost};
use crate::error::{Error, Result};
use crate::gate::KeyLimit;
use crate::id::JobId;
use crate::json::Json;
use crate::misfire::MisfirePolicy;
use crate::overlap::OverlapPolicy;
use crate::placement::Placement;
use crate::retry::RetryPolicy;
use crate::schedule::Schedule;

/// Writes a job in code, with further settings chained.
///
/// The first setting that can't be used is reported by [`build`](Self::build), or by the scheduler that gets the builder.
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built and put"]
pub struct JobBuilder {
    job_id: Option<JobId>,
    definition: JobDefinition,
    error: Option<Error>,
}

impl JobBuilder {
    /// A job that calls the handler `name`; its id and name are the handler's until changed.
    pub fn handler(name: &str) -> Self {
        Self::new(name, Command::handler(name)).id(name)
    }

    /// A job that runs a command line with `/bin/sh -c`; its name is the line (its first 255 characters) until changed.
    pub fn shell(line: &str) -> Self {
        Self::new(&line.chars().take(255).collect::<String>(), Command::shell(line))
    }

    /// A job with any command.
    pub fn new(name: &str, command: Command) -> Self {
        Self {
            job_id: None,
            definition: JobDefinition::new(name, command),
            error: None,
        }
    }

    /// Its id. Putting a job with an id again changes it, instead of making another.
    pub fn id(mut self, job_id: &str) -> Self {
        let job_id = self.check(JobId::new(job_id));
        self.job_id = job_id.or(self.job_id);
        self
    }

    /// Its name for people.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.definition.name = name.into();
        self
    }

    /// What the handler gets.
    pub fn arguments(mut self, arguments: impl Serialize) -> Self {
        if let Some(arguments) = self.check(Json::encode(&arguments)) {
            self.definition.command.arguments = arguments;
        }
        self
    }

    /// Settings of its kind, such as [`ShellCommand`](crate::shell::ShellCommand)'s for a shell job.
    pub fn options(mut self, options: impl Serialize) -> Self {
        if let Some(options) = self.check(Json::encode(&options)) {
            self.definition.command.options = options;
        }
        self
    }

    /// When it runs: a cron expression with 5, 6 (seconds first) or 7 (years last) fields, in UTC.
    pub fn cron(mut self, expression: &str) -> Self {
        if let Some(schedule) = self.check(Schedule::cron(expression)) {
            self.definition.schedule = Some(schedule);
        }
        self
    }

    /// When it runs: at a fixed rate.
    pub fn every(self, interval: Duration) -> Self {
        self.schedule(Schedule::every(interval))
    }

    /// When it runs.
    pub fn schedule(mut self, schedule: Schedule) -> Self {
        self.definition.schedule = Some(schedule);
        self
    }

    /// Its priority; higher goes first.
    pub fn priority(mut self, priority: i32) -> Self {
        self.definition.priority = priority;
        self
    }

    /// What follows a failure.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.definition.retry = retry;
        self
    }

    /// How long an attempt may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.definition.timeout = Some(timeout);
        self
    }

    /// How long a cancelled attempt may take to end.
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.definition.cancel_grace = grace;
        self
    }

    /// What becomes of fire times that went by.
    pub fn misfire(mut self, misfire: MisfirePolicy) -> Self {
        self.definition.misfire = misfire;
        self
    }

    /// What becomes of a task while an earlier one isn't final.
    pub fn overlap(mut self, overlap: OverlapPolicy) -> Self {
        self.definition.overlap = overlap;
        self
    }

    /// Never repeat a task whose node died after its start.
    pub fn at_most_once(mut self) -> Self {
        self.definition.delivery = Delivery::AtMostOnce;
        self
    }

    /// What becomes of running attempts when the lease can't be renewed.
    pub fn on_lease_lost(mut self, on_lease_lost: OnLeaseLost) -> Self {
        self.definition.on_lease_lost = on_lease_lost;
        self
    }

    /// Where it may run.
    pub fn placement(mut self, placement: Placement) -> Self {
        self.definition.placement = placement;
        self
    }

    /// How many of its tasks may be eligible or running at once.
    pub fn max_concurrent(mut self, most: u32) -> Self {
        self.definition.max_concurrent = Some(most);
        self
    }

    /// A limit shared by all tasks with the same key.
    pub fn limit(mut self, limit: KeyLimit) -> Self {
        self.definition.limit = Some(limit);
        self
    }

    /// The user who created it.
    pub fn owner(mut self, owner: impl Into<String>) -> Self {
        self.definition.owner = Some(owner.into());
        self
    }

    /// A label for filters.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.definition.labels.insert(key.into(), value.into());
        self
    }

    /// The finished job.
    ///
    /// # Errors
    /// `InvalidInput` names the first field that can't be used, and what would be right.
    pub fn build(self) -> Result<NewJob> {
        if let Some(error) = self.error {
            return Err(error);
        }
        self.definition.validate()?;
        Ok(NewJob {
            job_id: self.job_id,
            definition: self.definition,
        })
    }

    fn check<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.error.get_or_insert(error)).ok()
    }
}

impl TryFrom<JobBuilder> for NewJob {
    type Error = Error;
    fn try_from(builder: JobBuilder) -> Result<Self> {
        builder.build()
    }
}
