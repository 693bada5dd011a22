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
use jobcore_mysql::MySqlConfig;
use jobcore_sqlite::SqliteConfig;

use crate::backend::{Backend, Kind};
use crate::failure::Result;
use crate::mysql;
use crate::observed::Observed;
use crate::place::Place;
use crate::workload::HANDLER;

/// How long a drained engine may take for what still runs: handlers here return at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest that any phase may last before the run is given up.
pub(crate) const LONGEST: Duration = Duration::from_secs(1_800);

/// A store, its clock, and the place that goes with it in the end.
pub(crate) struct Stage {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Arc<Observed>,
    backend: Backend,
    _place: Option<Place>,
}

impl Stage {
    /// A fresh store.
    pub(crate) async fn open(backend: &Backend) -> Result<Self> {
        let place = Place::fresh(backend).await?;
        let stage = Self::join(place.backend()).await?;
        Ok(Self {
            _place: Some(place),
            ..stage
        })
    }

    /// The store in the backend's own folder or database, which others may use.
    pub(crate) async fn join(backend: &Backend) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store: Arc<dyn Store> = match backend.kind() {
            Kind::Memory => Arc::new(MemoryStore::new(Arc::clone(&clock))),
            Kind::Sqlite => {
                let config = SqliteConfig::file(backend.folder().join("bench.db"));
                Arc::new(config.clock(Arc::clone(&clock)).open().await?)
            }
            Kind::Mysql => {
                let options = mysql::options(backend.mysql_url())?;
                Arc::new(MySqlConfig::options(options)?.open().await?)
            }
        };
        Ok(Self {
            store: Observed::new(store, Arc::clone(&clock)),
            clock,
            backend: backend.clone(),
            _place: None,
        })
    }

    /// Where another process finds the store.
    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
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
