//! Carries operations out: on threads of the store's own, in a transaction where they write, again where another one was in
//! the way.
//!
//! The threads are its own so that no handler that blocks the application's runtime holds up a heartbeat or keeps locks,
//! and so that whoever goes away while waiting leaves an operation that is wholly done or not at all.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jobcore::{Error, ErrorKind};
use rand::Rng as _;
use sqlx::Connection as _;
use tokio::runtime::Runtime;

use crate::BACKEND;
use crate::config::MySqlConfig;
use crate::connection::{Access, Care, Cx, Operation, Shared};
use crate::error::{self, Failure, Remedy, Result};
use crate::pool::{self, Pool, Pooled};

/// How often an operation is tried before its caller hears of it: with the rests between, about three seconds.
const MAX_TRIES: u32 = 12;

/// The first rest; each further one is up to twice as long, up to [`MAX_REST`].
const REST: Duration = Duration::from_millis(2);
const MAX_REST: Duration = Duration::from_millis(500);

/// The threads, the connections, and what operations share.
#[derive(Debug)]
pub(crate) struct Database {
    /// `None` once it is dropped.
    runtime: Option<Runtime>,
    work: Work,
}

/// What operations need to be carried out.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pool: Pool,
    /// A connection for heartbeats alone: they wait for nothing else.
    lifeline: Pool,
    shared: Arc<Shared>,
    timeout: Duration,
}

impl Database {
    pub(crate) fn new(config: &MySqlConfig, shared: Arc<Shared>) -> jobcore::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("jobcore-mysql")
            .enable_all()
            .build()
            .map_err(no_threads)?;
        let work = Work {
            pool: config.pool(config.connection_count()),
            lifeline: config.pool(1),
            shared,
            timeout: config.limit(),
        };
        Ok(Self {
            runtime: Some(runtime),
            work,
        })
    }

    /// What all operations share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.work.shared
    }

    /// Carries out an operation.
    pub(crate) async fn carry_out<O: Operation>(&self, operation: O) -> jobcore::Result<O::Answer> {
        let work = self.work.clone();
        self.on_own_threads(O::NAME, async move { work.carry_out(&operation).await })
            .await
    }

    /// Carries out a heartbeat, whatever else is going on.
    pub(crate) async fn beat<O: Operation>(&self, operation: O) -> jobcore::Result<O::Answer> {
        let work = self.work.clone();
        self.on_own_threads(O::NAME, async move { work.beat(&operation).await })
            .await
    }

    /// Runs a future on the store's threads; it goes on if the caller goes away.
    pub(crate) async fn on_own_threads<T: Send + 'static>(
        &self,
        operation: &'static str,
        future: impl Future<Output = jobcore::Result<T>> + Send + 'static,
    ) -> jobcore::Result<T> {
        let Some(runtime) = &self.runtime else {
            return Err(stopped(operation));
        };
        match runtime.spawn(future).await {
            Ok(result) => result,
            Err(_) => Err(stopped(operation)),
        }
    }

    /// Runs a future on the store's threads until it ends, or they do.
    pub(crate) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = &self.runtime {
            runtime.spawn(future);
        }
    }

    /// Whether it was closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.work.is_closed()
    }

    /// What operations need, for whoever carries out several on the store's threads.
    pub(crate) fn work(&self) -> Work {
        self.work.clone()
    }

    /// Closes all connections. What is under way ends first.
    pub(crate) fn close(&self) {
        self.work.pool.close();
        self.work.lifeline.close();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // It may be dropped on a thread that must not block.
            runtime.shutdown_background();
        }
    }
}

fn no_threads(error: std::io::Error) -> Error {
    let message = format!("the store's threads can't start: {error}");
    Error::new(ErrorKind::Unavailable, message)
        .source(error)
        .backend(BACKEND)
}

fn stopped(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::Indeterminate,
        "the store was closed, or failed, before it answered",
    )
    .backend(BACKEND)
    .operation(operation)
}

/// How a try ended that brought no answer.
enum Unanswered {
    /// Nothing was changed.
    Undone(Failure),
    /// The commit failed.
    Commit(sqlx::Error),
    /// There was no answer in time: to the commit, or to what came before it.
    TimedOut { committing: bool },
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self::Undone(failure)
    }
}

impl Work {
    /// The same, but nothing may take longer than this.
    pub(crate) fn within(&self, timeout: Duration) -> Self {
        Self {
            timeout: timeout.min(self.timeout),
            ..self.clone()
        }
    }

    /// Whether the connections were closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.pool.is_closed()
    }

    /// Carries out a heartbeat, whatever else is going on. To be called on the store's threads.
    pub(crate) async fn beat<O: Operation>(&self, operation: &O) -> jobcore::Result<O::Answer> {
        self.carry_out_on(&self.lifeline, operation).await
    }

    /// Carries out an operation. To be called on the store's threads.
    pub(crate) async fn carry_out<O: Operation>(&self, operation: &O) -> jobcore::Result<O::Answer> {
        self.carry_out_on(&self.pool, operation).await
    }

    async fn carry_out_on<O: Operation>(&self, pool: &Pool, operation: &O) -> jobcore::Result<O::Answer> {
        let mut care = Care::Ordinary;
        let mut reconnected = false;
        for tries in 1.. {
            let failure = match self.attempt(pool, operation, care).await {
                Ok(answer) => return Ok(answer),
                Err(Unanswered::Commit(error)) => return Err(error::commit_failed(error, O::NAME)),
                Err(Unanswered::TimedOut { committing }) => return Err(self.timed_out(committing, O::NAME)),
                Err(Unanswered::Undone(failure)) => failure,
            };
            let again = match failure.remedy() {
                Remedy::Repeat => tries < MAX_TRIES,
                // The connections that were kept may all be of a server that restarted; after those it is down.
                Remedy::Reconnect => !std::mem::replace(&mut reconnected, true),
                Remedy::Tell => false,
            };
            if !again {
                return Err(failure.into_error(O::NAME));
            }
            if !matches!(failure, Failure::Stale) {
                self.shared.caches.contested();
                metrics::counter!("jobcore_mysql_retries_total", "operation" => O::NAME).increment(1);
                tokio::time::sleep(rest(tries)).await;
            }
            care = Care::Full;
        }
        unreachable!("invariant: the loop returns")
    }

    fn timed_out(&self, committing: bool, operation: &'static str) -> Error {
        let kind = if committing {
            ErrorKind::Indeterminate
        } else {
            ErrorKind::TimedOut
        };
        let timeout = self.timeout;
        Error::new(kind, format!("the server gave no answer within {timeout:?}"))
            .backend(BACKEND)
            .operation(operation)
    }

    async fn attempt<O: Operation>(
        &self,
        pool: &Pool,
        operation: &O,
        care: Care,
    ) -> Result<O::Answer, Unanswered> {
        let mut connection = pool::connection_within(pool, self.timeout).await?;
        let result = match O::ACCESS {
            Access::Read => self.read(&mut connection, operation).await,
            Access::Write => self.write(&mut connection, operation, care).await,
        };
        let broken = match &result {
            Ok(_) => false,
            Err(Unanswered::Undone(Failure::Sql(error))) => error::is_lost(error),
            Err(Unanswered::Undone(Failure::Core(_) | Failure::Stale)) => false,
            Err(Unanswered::Commit(_) | Unanswered::TimedOut { .. }) => true,
        };
        if broken {
            pool::discard(connection);
            // The others of the pool may be as old.
            pool.retain(|_, _| false);
        }
        result
    }

    async fn read<O: Operation>(&self, sql: &mut Pooled, operation: &O) -> Result<O::Answer, Unanswered> {
        let mut cx = Cx::new(sql, &self.shared, Care::Full);
        let answer = match tokio::time::timeout(self.timeout, operation.run(&mut cx)).await {
            Ok(answer) => answer?,
            Err(_) => return Err(Unanswered::TimedOut { committing: false }),
        };
        cx.keep_learned();
        Ok(answer)
    }

    async fn write<O: Operation>(
        &self,
        sql: &mut Pooled,
        operation: &O,
        care: Care,
    ) -> Result<O::Answer, Unanswered> {
        let in_time = |timeout| tokio::time::timeout(self.timeout, timeout);
        let begun = in_time(sql.begin()).await;
        let mut transaction = begun
            .map_err(|_| Unanswered::TimedOut { committing: false })?
            .map_err(Failure::Sql)?;
        let mut cx = Cx::new(&mut transaction, &self.shared, care);
        let ran = tokio::time::timeout(self.timeout, operation.run(&mut cx)).await;
        let learned = cx.into_learned();
        match ran {
            Err(_) => Err(Unanswered::TimedOut { committing: false }),
            Ok(Err(failure)) => {
                // Without an answer to this the connection is lost, and the server undoes the same.
                match tokio::time::timeout(self.timeout, transaction.rollback()).await {
                    Ok(Ok(())) => Err(failure.into()),
                    Ok(Err(error)) if error::is_lost(&error) => match failure {
                        Failure::Sql(_) => Err(Failure::Sql(error).into()),
                        failure => Err(failure.into()),
                    },
                    Ok(Err(_)) => Err(failure.into()),
                    Err(_) => Err(Unanswered::TimedOut { committing: false }),
                }
            }
            Ok(Ok(answer)) => match tokio::time::timeout(self.timeout, transaction.commit()).await {
                Ok(Ok(())) => {
                    self.shared.caches.keep(learned);
                    Ok(answer)
                }
                Ok(Err(error)) if Failure::is_repeatable(&error) => Err(Failure::Sql(error).into()),
                Ok(Err(error)) => Err(Unanswered::Commit(error)),
                Err(_) => Err(Unanswered::TimedOut { committing: true }),
            },
        }
    }
}

/// How long to rest before try `tries + 1`: at random, so that two that are in each other's way part.
fn rest(tries: u32) -> Duration {
    let longest = REST.saturating_mul(1 << tries.min(10)).min(MAX_REST);
    #[allow(
        clippy::disallowed_methods,
        reason = "nothing that anybody decides depends on it"
    )]
    rand::rng().random_range(REST / 2..=longest)
}
