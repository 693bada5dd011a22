//! Connections, opened when they are needed and kept for the next one.

use std::time::Duration;

use deadpool::managed::{self, Metrics, Object, RecycleResult};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use crate::error::{Failure, Result};

/// A connection of a pool, which goes back to it when it is dropped.
pub(crate) type Pooled = Object<Opener>;

/// Some connections to one server.
pub(crate) type Pool = managed::Pool<Opener>;

/// Opens connections.
#[derive(Debug)]
pub(crate) struct Opener {
    options: MySqlConnectOptions,
    /// How long a statement may take, and wait for a lock.
    statement_timeout: Duration,
    lock_timeout: Duration,
}

impl managed::Manager for Opener {
    type Type = MySqlConnection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<MySqlConnection, sqlx::Error> {
        let mut sql = self.options.connect().await?;
        // The server's default, REPEATABLE READ, locks gaps that inserts wait for, and sees the past.
        let lock_timeout = self.lock_timeout.as_secs().max(1);
        let session = format!(
            "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET SESSION innodb_lock_wait_timeout = {lock_timeout}"
        );
        sql.execute(sqlx::AssertSqlSafe(session)).await?;
        self.limit_statements(&mut sql).await?;
        Ok(sql)
    }

    /// A connection that failed was taken out of the pool before, so what is here works as far as anybody knows.
    async fn recycle(&self, _: &mut MySqlConnection, _: &Metrics) -> RecycleResult<sqlx::Error> {
        Ok(())
    }
}

impl Opener {
    /// Tells the server to give up what takes too long, so that it doesn't go on when we have. MariaDB does so for all
    /// statements, MySQL and TiDB for those that read; each refuses the other's variable, which is no reason to go without.
    async fn limit_statements(&self, sql: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        let seconds = self.statement_timeout.as_secs_f64();
        let millis = self.statement_timeout.as_millis();
        // A client that lost its power or its network in a transaction would keep its locks for hours.
        let idle = self.statement_timeout.as_secs().max(1) + 1;
        for set in [
            format!("SET SESSION max_statement_time = {seconds}, idle_transaction_timeout = {idle}"),
            format!("SET SESSION max_execution_time = {millis}"),
        ] {
            match sql.execute(sqlx::AssertSqlSafe(set)).await {
                Ok(_) => return Ok(()),
                Err(sqlx::Error::Database(_)) => {} // no such variable here
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A pool of at most `size` connections.
pub(crate) fn pool(
    options: MySqlConnectOptions,
    size: usize,
    statement_timeout: Duration,
    lock_timeout: Duration,
) -> Pool {
    let opener = Opener {
        options: options.disable_statement_logging(),
        statement_timeout,
        lock_timeout,
    };
    let timeouts = managed::Timeouts {
        wait: Some(statement_timeout),
        create: Some(statement_timeout),
        recycle: None,
    };
    Pool::builder(opener)
        .max_size(size)
        .runtime(deadpool::Runtime::Tokio1)
        .timeouts(timeouts)
        .build()
        .expect("invariant: a runtime is given, as time-outs need")
}

/// A connection, waiting for one if all are in use.
pub(crate) async fn connection(pool: &Pool) -> Result<Pooled> {
    found(pool.get().await)
}

/// The same, but neither waits nor connects for longer than this.
pub(crate) async fn connection_within(pool: &Pool, limit: Duration) -> Result<Pooled> {
    let timeouts = managed::Timeouts {
        wait: Some(limit),
        create: Some(limit),
        recycle: None,
    };
    found(pool.timeout_get(&timeouts).await)
}

fn found(got: Result<Pooled, managed::PoolError<sqlx::Error>>) -> Result<Pooled> {
    got.map_err(|error| match error {
        managed::PoolError::Backend(error) => Failure::Sql(error),
        managed::PoolError::Timeout(managed::TimeoutType::Create) => {
            unavailable("the server didn't answer in time")
        }
        managed::PoolError::Timeout(_) => {
            unavailable("all connections are in use; allow more, or send less at once")
        }
        _ => unavailable("the store is closed"),
    })
}

fn unavailable(message: &str) -> Failure {
    Failure::Core(jobcore::Error::new(jobcore::ErrorKind::Unavailable, message))
}

/// Takes a connection out of its pool for good, and closes it in the background.
pub(crate) fn discard(connection: Pooled) {
    let sql = Object::take(connection);
    drop(sql.close_hard());
}
