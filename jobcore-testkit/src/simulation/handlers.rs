//! Handlers: what attempts do, as the arguments of their tasks tell, and what they note down about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jobcore::{HandlerError, TaskContext};
use serde::{Deserialize, Serialize};

use super::invariants::{AttemptEvent, AttemptEventKind};
use super::process::Process;
use super::wire;
use super::world::World;

/// The names under which handlers are registered; several, so that there are several lanes.
pub(super) const NAMES: [&str; 2] = ["work", "other"];

/// What an attempt does. The first attempts of a task kill, then snooze, then fail, and then it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Work {
    /// How long it takes.
    pub(super) millis: u64,
    pub(super) kills: u32,
    pub(super) snoozes: u32,
    pub(super) failures: u32,
    /// It doesn't listen when it is told to end.
    pub(super) deaf: bool,
    /// It saves checkpoints.
    pub(super) saves: bool,
    /// It panics instead of failing.
    pub(super) panics: bool,
    /// It tells how far it is and writes to its log.
    pub(super) talks: bool,
}

/// What an application does for its jobs.
pub(super) fn handler(
    world: &Arc<World>,
    process: &Arc<Process>,
) -> impl Fn(Work, TaskContext) -> BoxFuture<'static, Result<(), HandlerError>> + Send + Sync + 'static {
    let (world, process) = (world.clone(), process.clone());
    move |work: Work, cx: TaskContext| {
        let attempt = Attempt {
            world: world.clone(),
            process: process.clone(),
            cx,
            ended: AtomicBool::new(false),
        };
        async move { attempt.run(work).await }.boxed()
    }
}

struct Attempt {
    world: Arc<World>,
    process: Arc<Process>,
    cx: TaskContext,
    ended: AtomicBool,
}

impl Drop for Attempt {
    /// It was dropped half-way: its node ended it, or the process has ended.
    fn drop(&mut self) {
        if !self.ended.load(Ordering::Relaxed) {
            self.note(AttemptEventKind::Dropped);
        }
    }
}

impl Attempt {
    async fn run(self, work: Work) -> Result<(), HandlerError> {
        self.note(AttemptEventKind::Began);
        let ended = self.work(work).await;
        self.note(if ended.is_ok() {
            AttemptEventKind::Succeeded
        } else {
            AttemptEventKind::Failed
        });
        ended
    }

    fn note(&self, kind: AttemptEventKind) {
        self.ended
            .store(kind != AttemptEventKind::Began, Ordering::Relaxed);
        self.world.attempt(&AttemptEvent {
            caller: self.process.caller,
            holder: self.cx.fence().holder.clone(),
            task_id: self.cx.task_id().clone(),
            token: wire::real(self.cx.fencing_token()),
            kind,
        });
    }

    async fn work(&self, work: Work) -> Result<(), HandlerError> {
        let run = self.world.runs(self.cx.task_id());
        if work.saves {
            self.cx.save_checkpoint(&run).await?;
        }
        if work.talks {
            self.cx.progress(50.0, "half");
            self.cx.log("working").await;
        }
        self.pass_time(work).await?;
        if run <= work.kills {
            self.note(AttemptEventKind::Killed);
            self.world.count("killed_by_task");
            self.process.die();
            return std::future::pending().await;
        }
        let run = run - work.kills;
        if run <= work.snoozes {
            return Err(HandlerError::snooze(Duration::from_millis(200 * u64::from(run))));
        }
        if run <= work.snoozes + work.failures {
            if work.panics {
                // Without the message that a panic would print.
                std::panic::resume_unwind(Box::new("it was told to"));
            }
            return Err(HandlerError::new("it was told to"));
        }
        Ok(())
    }

    async fn pass_time(&self, work: Work) -> Result<(), HandlerError> {
        if work.millis == 0 {
            return Ok(());
        }
        let clock = self.cx.clock();
        let end = clock.now() + Duration::from_millis(work.millis);
        if work.deaf {
            clock.sleep_until(end).await;
            return Ok(());
        }
        tokio::select! {
            biased;
            () = self.cx.cancelled() => Err(HandlerError::cancelled("told to end")),
            () = clock.sleep_until(end) => Ok(()),
        }
    }
}
