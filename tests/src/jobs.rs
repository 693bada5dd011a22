//! What the crash tests run: a job for each promise that a crash could break.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jobcore::misfire::MisfirePolicy;
use jobcore::retry::RetryPolicy;
use jobcore::{EngineBuilder, HandlerError, JobBuilder, TaskContext};
use serde_json::json;

use crate::journal::Journal;

/// Jobs that only triggers run.
pub const TRIGGERED: [&str; 5] = ["work", "flaky", "limited", "once", "shell"];

/// Jobs that fire by themselves.
pub const SCHEDULED: [&str; 2] = ["cron", "every"];

/// Of which a task may begin at most once.
pub const AT_MOST_ONCE: &str = "once";

/// How often `flaky` is retried.
pub const RETRIES: u32 = 3;

/// The definitions. Shell attempts write to the journal themselves.
pub fn definitions(journal: &Path) -> Vec<JobBuilder> {
    let pause = Duration::from_millis(100);
    let misfire = MisfirePolicy {
        threshold: Duration::from_millis(500),
        ..MisfirePolicy::default()
    };
    let line = r#"echo "$JOBCORE_TASK_ID $JOBCORE_ATTEMPT $JOBCORE_FENCING_TOKEN" >>"$CRASH_JOURNAL"; sleep "$JOBCORE_ARGUMENTS""#;
    let environment = json!({ "env": { "CRASH_JOURNAL": journal } });
    vec![
        JobBuilder::handler("work"),
        JobBuilder::handler("flaky").retry(RetryPolicy::fixed(RETRIES, pause)),
        JobBuilder::handler("limited").max_concurrent(2),
        JobBuilder::handler("once").at_most_once(),
        JobBuilder::shell(line).id("shell").options(environment),
        JobBuilder::handler("work")
            .id("cron")
            .cron("* * * * * *")
            .misfire(misfire.clone()),
        JobBuilder::handler("work")
            .id("every")
            .every(pause * 3)
            .misfire(misfire),
    ]
}

/// Gives a worker its handlers. Each writes to the journal first, then takes its time: the argument, in seconds.
pub fn register(builder: EngineBuilder, journal: &Arc<Journal>) -> EngineBuilder {
    let mut builder = builder.shell();
    for name in ["work", "flaky", "limited", "once"] {
        let journal = journal.clone();
        builder = builder.handler(name, move |seconds: Option<f64>, cx: TaskContext| {
            carry_out(journal.clone(), seconds.unwrap_or(0.01), cx)
        });
    }
    builder
}

async fn carry_out(journal: Arc<Journal>, seconds: f64, cx: TaskContext) -> Result<u64, HandlerError> {
    journal.began(&cx)?;
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    if cx.job_id().as_str() == "flaky" && cx.fencing_token().0.is_multiple_of(2) {
        return Err(HandlerError::new("an even token"));
    }
    Ok(cx.fencing_token().0)
}
