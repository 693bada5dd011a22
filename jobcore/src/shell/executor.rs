//! The executor of shell jobs.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use super::bounds::StopReason;
use super::command::ShellCommand;
use super::directory::WorkRoot;
use super::output::OutputSink;
use super::run::{DRAIN_PATIENCE, ShellEnd, ShellReport, ShellRequest, run};
use crate::attempt::LogStream;
use crate::error::{Error, ErrorKind, Result};
use crate::executor::{Executor, Failure, Outcome, Output, Repeat, TaskContext};
use crate::job::{Delivery, Job, JobKind};
use crate::lane::Capability;
use crate::time::Timestamp;

/// How often the end of the lease is looked up. Heartbeats renew it about once a second.
const LEASE_LOOK: Duration = Duration::from_millis(100);

/// Carries out jobs of kind `shell`: the job's command is the command line, its options are
/// [`ShellOptions`](super::ShellOptions).
///
/// The command finds [`TaskContext::environment`] in its environment, among it `JOBCORE_FENCING_TOKEN`. What becomes
/// of it:
///
/// | end of the command | outcome | exit code | error class, for the retry policy |
/// |---|---|---|---|
/// | exit 0 | success | 0 | |
/// | exit *n* | failure | *n* | `exit:n` |
/// | killed by signal *n*, not by us | failure | 128 + *n* | `signal:n` |
/// | its deadline came | timed out | | |
/// | cancelled | cancelled | | |
/// | its lease ran out | snoozed for no time; at most once: failure, never repeated | | `lease_lost` |
/// | couldn't be started for lack of something | failure | | `unavailable` |
/// | the job is wrong | failure, never repeated | | `invalid_input` |
///
/// The output is standard output. The error is standard error, for a failure below a line that says what happened.
/// Where the job says `stop` when the lease can't be renewed, the command is dead before the lease ends, even if this
/// process is frozen. A job's `cancel_grace` should be longer than the options' `grace`, since the node doesn't wait
/// for longer than that.
#[derive(Debug)]
pub struct ShellExecutor {
    work_root: WorkRoot,
}

impl ShellExecutor {
    /// An executor whose tasks have their private directories in [`std::env::temp_dir`].
    ///
    /// # Errors
    /// As [`in_directory`](Self::in_directory).
    pub fn new() -> Result<Self> {
        Self::in_directory(std::env::temp_dir())
    }

    /// An executor whose tasks have their private directories in `base`.
    ///
    /// # Errors
    /// `InvalidInput` if no directory can be made in `base`.
    pub fn in_directory(base: impl AsRef<Path>) -> Result<Self> {
        Ok(Self {
            work_root: WorkRoot::create_in(base.as_ref())?,
        })
    }

    async fn run(&self, cx: &TaskContext) -> Result<ShellReport> {
        let command = ShellCommand::of_job(&cx.job().definition.command)?;
        let (lease, holds) = watch::channel(cx.lease_until().unwrap_or(Timestamp::MAX));
        let request = ShellRequest {
            command: &command,
            task_env: &cx.environment(),
            work_root: &self.work_root,
            clock: cx.clock(),
            deadline: cx.deadline(),
            lease: cx.lease_until().map(|_| holds),
            cancellation: cx.cancellation(),
            sink: &Log(cx),
        };
        tokio::select! {
            report = run(request) => report,
            never = follow_lease(cx, &lease) => match never {},
        }
    }
}

/// Passes on each renewal of the lease. Never returns.
async fn follow_lease(cx: &TaskContext, lease: &watch::Sender<Timestamp>) -> Infallible {
    loop {
        tokio::select! {
            // Nobody listens: the job may finish without its lease.
            () = lease.closed() => return std::future::pending().await,
            () = tokio::time::sleep(LEASE_LOOK) => {}
        }
        if let Some(until) = cx.lease_until() {
            lease.send_if_modified(|known| std::mem::replace(known, until) != until);
        }
    }
}

/// The attempt's log.
struct Log<'a>(&'a TaskContext);

#[async_trait]
impl OutputSink for Log<'_> {
    async fn write(&self, stream: LogStream, text: &str) {
        self.0.log_to(stream, text.to_owned()).await;
    }
}

#[async_trait]
impl Executor for ShellExecutor {
    fn capabilities(&self) -> Vec<Capability> {
        vec![Capability::of_kind(JobKind::Shell)]
    }

    async fn execute(&self, cx: TaskContext) -> Outcome {
        match self.run(&cx).await {
            Ok(report) => outcome(report, cx.job().definition.delivery),
            Err(error) => not_run(&cx, &error),
        }
    }

    /// The command's own grace, and the time to collect what it printed.
    fn end_grace(&self, job: &Job) -> Duration {
        let command = ShellCommand::of_job(&job.definition.command);
        command.map_or(Duration::ZERO, |command| command.options.grace + DRAIN_PATIENCE)
    }
}

fn outcome(report: ShellReport, delivery: Delivery) -> Outcome {
    let output = Output {
        output: report.stdout.text,
        error: report.stderr.text,
        exit_code: None,
    };
    match report.end {
        ShellEnd::Exited(0) => Outcome::Success(Output {
            exit_code: Some(0),
            ..output
        }),
        ShellEnd::Exited(code) => {
            let output = Output {
                exit_code: Some(code),
                ..output
            };
            failure(
                &format!("exit code {code}"),
                format!("exit:{code}"),
                Repeat::ByPolicy,
                output,
            )
        }
        ShellEnd::Killed(signal) => {
            let output = Output {
                exit_code: Some(128 + signal),
                ..output
            };
            failure(
                &format!("killed by signal {signal}"),
                format!("signal:{signal}"),
                Repeat::ByPolicy,
                output,
            )
        }
        ShellEnd::Stopped(StopReason::TimedOut) => Outcome::TimedOut(output),
        ShellEnd::Stopped(StopReason::Cancelled) => Outcome::Cancelled(output),
        // Mostly fenced. Where the lease was renewed after all, it ends as recovery would have it.
        ShellEnd::Stopped(StopReason::LeaseLost) => match delivery {
            Delivery::AtLeastOnce => Outcome::Snooze(Duration::ZERO),
            Delivery::AtMostOnce => failure(
                "its lease ran out",
                "lease_lost".to_owned(),
                Repeat::Never,
                output,
            ),
        },
    }
}

fn failure(what: &str, class: String, repeat: Repeat, output: Output) -> Outcome {
    let line_end = if output.error.is_empty() { "" } else { "\n" };
    let error = format!("{what}{line_end}{}", output.error);
    let output = Output { error, ..output };
    Outcome::Failure(Failure {
        output,
        class: Some(class),
        repeat,
    })
}

fn not_run(cx: &TaskContext, error: &Error) -> Outcome {
    let cause = std::error::Error::source(error).map_or(String::new(), |cause| format!(": {cause}"));
    let wrong = error.kind() == ErrorKind::InvalidInput;
    Outcome::Failure(Failure {
        output: Output {
            error: format!("job `{}`: {error}{cause}", cx.job_id()),
            ..Output::default()
        },
        class: Some(error.kind().as_str().to_owned()),
        repeat: if wrong { Repeat::Never } else { Repeat::ByPolicy },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::executor::{ContextInner, Reporter};
    use crate::id::{ExecutorId, JobId, TaskId};
    use crate::job::{Command, Job, JobDefinition, OnLeaseLost};
    use crate::json::Json;
    use crate::lease::{Fence, FencingToken, Holder, Incarnation};
    use crate::task::Progress;
    use std::sync::atomic::AtomicU64;

    #[derive(Default)]
    struct Report {
        log: Mutex<String>,
        lease_until: Mutex<Option<Timestamp>>,
    }

    #[async_trait]
    impl Reporter for Report {
        async fn log(&self, _: &TaskContext, stream: LogStream, text: String) {
            self.log.lock().push_str(&format!("{stream:?} {text}"));
        }
        fn progress(&self, _: &TaskContext, _: Progress) {}
        async fn checkpoint(&self, _: &TaskContext, _: Json) -> Result<()> {
            Ok(())
        }
        fn lease_until(&self) -> Option<Timestamp> {
            *self.lease_until.lock()
        }
    }

    fn context(command: Command, report: Arc<Report>, deadline: Option<Duration>) -> TaskContext {
        let clock = SystemClock::new();
        let mut definition = JobDefinition::new("test", command);
        definition.on_lease_lost = OnLeaseLost::Stop;
        let job = Job {
            job_id: JobId::new("job-1").unwrap(),
            definition,
            paused: false,
            version: 1,
            next_fire_time: None,
            last_fire_time: None,
            zone_version: String::new(),
            error: None,
            create_time: clock.now(),
            update_time: clock.now(),
        };
        TaskContext {
            inner: Arc::new(ContextInner {
                fence: Fence {
                    task_id: TaskId::new("task-1").unwrap(),
                    token: FencingToken(7),
                    attempt: 2,
                    holder: Holder {
                        executor_id: ExecutorId::new("node-1").unwrap(),
                        incarnation: Incarnation(1),
                    },
                },
                log_sequence: AtomicU64::new(0),
                job: Arc::new(job),
                arguments: Json::parse("[1]").unwrap(),
                attempt: 2,
                part: 0,
                parts: 1,
                scheduled_for: None,
                start_time: clock.now(),
                deadline: deadline.map(|time| clock.now() + time),
                checkpoint: None,
                cancellation: CancellationToken::new(),
                clock: Arc::new(clock),
                reporter: report,
            }),
        }
    }

    async fn execute(line: &str, deadline: Option<Duration>) -> (Outcome, String) {
        let report = Arc::new(Report::default());
        let base = tempfile::tempdir().unwrap();
        let executor = ShellExecutor::in_directory(base.path()).unwrap();
        let outcome = executor
            .execute(context(Command::shell(line), Arc::clone(&report), deadline))
            .await;
        let log = report.log.lock().clone();
        (outcome, log)
    }

    #[tokio::test]
    async fn a_command_knows_its_task_and_its_output_is_the_result() {
        let line = "echo $JOBCORE_TASK_ID $JOBCORE_ATTEMPT $JOBCORE_FENCING_TOKEN $JOBCORE_ARGUMENTS";
        let (outcome, log) = execute(line, None).await;
        let output = Output {
            output: "task-1 2 7 [1]\n".into(),
            error: String::new(),
            exit_code: Some(0),
        };
        assert_eq!(outcome, Outcome::Success(output));
        assert_eq!(log, "Stdout task-1 2 7 [1]\n");
    }

    #[tokio::test]
    async fn failures_say_what_happened() {
        for (line, error, code, class) in [
            ("echo oh >&2; exit 3", "exit code 3\noh\n", 3, "exit:3"),
            ("kill -KILL $$", "killed by signal 9", 137, "signal:9"),
        ] {
            let output = Output {
                output: String::new(),
                error: error.into(),
                exit_code: Some(code),
            };
            let failure = Failure {
                output,
                class: Some(class.into()),
                repeat: Repeat::ByPolicy,
            };
            assert_eq!(execute(line, None).await.0, Outcome::Failure(failure), "{line}");
        }
    }

    #[tokio::test]
    async fn a_wrong_job_fails_for_good_and_names_the_field() {
        let mut command = Command::shell("true");
        command.options = Json::parse(r#"{"nice":1}"#).unwrap();
        let executor = ShellExecutor::new().unwrap();
        let Outcome::Failure(failure) = executor.execute(context(command, Arc::default(), None)).await else {
            panic!("a job with unknown options fails");
        };
        assert_eq!(failure.repeat, Repeat::Never);
        assert!(
            failure
                .output
                .error
                .starts_with("job `job-1`: options: unknown field `nice`"),
            "{failure:?}"
        );
    }

    #[tokio::test]
    async fn the_deadline_is_a_time_out() {
        let (outcome, _) = execute("echo begun; sleep 1000", Some(Duration::from_millis(200))).await;
        let output = Output {
            output: "begun\n".into(),
            ..Output::default()
        };
        assert_eq!(outcome, Outcome::TimedOut(output));
    }

    #[tokio::test]
    async fn a_cancelled_attempt_is_cancelled() {
        let cx = context(Command::shell("sleep 1000"), Arc::default(), None);
        let executor = ShellExecutor::new().unwrap();
        let (outcome, ()) = tokio::join!(executor.execute(cx.clone()), async { cx.cancellation().cancel() });
        assert_eq!(outcome, Outcome::Cancelled(Output::default()));
    }

    #[tokio::test]
    async fn a_lease_is_followed_until_it_is_not_renewed() {
        let report = Arc::new(Report::default());
        let cx = context(
            Command::shell("while :; do echo on; sleep 0.1; done"),
            Arc::clone(&report),
            None,
        );
        let term = Duration::from_secs(2);
        let start = cx.clock().now();
        *report.lease_until.lock() = Some(start + term);
        let renew = async {
            for _ in 0..8 {
                tokio::time::sleep(term / 8).await;
                *report.lease_until.lock() = Some(cx.clock().now() + term);
            }
        };
        let executor = ShellExecutor::new().unwrap();
        let (outcome, ()) = tokio::join!(executor.execute(cx.clone()), renew);
        assert_eq!(outcome, Outcome::Snooze(Duration::ZERO));
        let lived = cx.clock().now().since(start);
        assert!(
            lived >= term * 3 / 2 && cx.clock().now() < report.lease_until.lock().unwrap(),
            "{lived:?}"
        );
    }
}
