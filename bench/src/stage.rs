//! What a benchmark runs on: a fresh store and its clock, and engines over it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jobcore::clock::{Clock, SystemClock};
use jobcore::config::{EngineConfig, Roles};
use jobcore::executor::TaskContext;
use jobcore::handler::HandlerError;
use jobcore::job::{Command, JobDefinition, NewJob};
use jobcore::memory::MemoryStore;
use jobcore::scheduler::{PutJobRequest, Scheduler as _};
use jobcore::store::{Expected, Store};
use jobcore::{Engine, Schedule};
use jobcore_sqlite::SqliteConfig;
use tempfile::TempDir;

use crate::backend::{Backend, Kind};
use crate::failure::Result;
use crate::observed::Observed;
use crate::workload::HANDLER;

/// How long a drained engine may take for what still runs: handlers here return at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest that any phase may last before the run is given up.
const LONGEST: Duration = Duration::from_secs(1_800);

/// A fresh store, its clock, and the folder that goes with it in the end.
pub(crate) struct Stage {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<Observed>,
    _folder: Option<TempDir>,
}

impl Stage {
    pub(crate) async fn open(backend: &Backend) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let (store, folder): (Arc<dyn Store>, _) = match backend.kind() {
            Kind::Memory => (Arc::new(MemoryStore::new(Arc::clone(&clock))), None),
            Kind::Sqlite => {
                let folder = backend.temporary()?;
                let file = folder.path().join("bench.db");
                let store = SqliteConfig::file(file).clock(Arc::clone(&clock)).open().await?;
                (Arc::new(store), Some(folder))
            }
        };
        Ok(Self {
            store: Observed::new(store, Arc::clone(&clock)),
            clock,
            _folder: folder,
        })
    }

    /// An engine that schedules and carries nothing out: what it makes waits.
    pub(crate) async fn scheduler(&self) -> Result<Engine> {
        let engine = Engine::builder(self.store.clone())
            .clock(Arc::clone(&self.clock))
            .configure(|config| config.roles = Roles::Scheduler)
            .start()
            .await?;
        Ok(engine)
    }

    /// An engine that does everything, with `handler` as the one handler, and settings as they are by default but for
    /// what `configure` changes.
    pub(crate) async fn engine<F, Fut>(
        &self,
        configure: impl FnOnce(&mut EngineConfig),
        handler: F,
    ) -> Result<Engine>
    where
        F: Fn(TaskContext) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let engine = Engine::builder(self.store.clone())
            .clock(Arc::clone(&self.clock))
            .configure(configure)
            .handler(HANDLER, move |(): (), cx| {
                let done = handler(cx);
                async move {
                    done.await;
                    Ok::<_, HandlerError>(())
                }
            })
            .start()
            .await?;
        Ok(engine)
    }

    /// Waits until that many tasks are final, and fails if that takes absurdly long.
    pub(crate) async fn until_finished(&self, tasks: u64) -> Result<()> {
        let waited = tokio::time::timeout(LONGEST, self.store.until_finished(tasks)).await;
        let finished = self.store.finished();
        waited.map_err(|_| format!("only {finished} of {tasks} tasks became final within {LONGEST:?}"))?;
        Ok(())
    }
}

/// Ends an engine in good order.
pub(crate) async fn end(engine: Engine) {
    engine.drain(PATIENCE).await;
}

/// A job with a schedule, or without, that names the one handler.
pub(crate) fn job(id: String, schedule: Option<Schedule>) -> Result<NewJob> {
    let mut definition = JobDefinition::new(id.clone(), Command::handler(HANDLER));
    definition.schedule = schedule;
    Ok(NewJob {
        job_id: Some(id.as_str().try_into()?),
        definition,
    })
}

/// Creates jobs, a thousand at a time.
pub(crate) async fn create_jobs(engine: &Engine, jobs: impl Iterator<Item = Result<NewJob>>) -> Result<()> {
    let mut jobs = jobs.peekable();
    while jobs.peek().is_some() {
        let chunk = jobs.by_ref().take(1_000).map(|job| {
            job.map(|job| PutJobRequest {
                job,
                expected: Expected::Absent,
            })
        });
        let _created = engine.put_jobs(chunk.collect::<Result<Vec<_>>>()?).await?;
    }
    Ok(())
}
