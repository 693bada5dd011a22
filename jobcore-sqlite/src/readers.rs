//! The connections that read, beside the one that writes.

use std::sync::Arc;

use parking_lot::Mutex;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::BACKEND;
use crate::config::SqliteConfig;
use crate::connection::{Connection, Operation};
use jobcore::clock::Clock;
use jobcore::{Error, ErrorKind};

/// A few connections that read. Without timers, so that a paused clock in a test doesn't end a wait.
#[derive(Debug)]
pub(crate) struct Readers {
    options: SqliteConnectOptions,
    clock: Arc<dyn Clock>,
    permits: Semaphore,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(crate) fn new(config: &SqliteConfig) -> Self {
        Self {
            options: config.reader_options(),
            clock: config.own_clock(),
            permits: Semaphore::new(config.reader_count()),
            idle: Mutex::default(),
        }
    }

    /// Carries out an operation that only reads.
    pub(crate) async fn carry_out<O: Operation>(&self, operation: O) -> jobcore::Result<O::Answer> {
        let mut reader = self.reader().await.map_err(|error| error.operation(O::NAME))?;
        let now = self.clock.now();
        let answer = operation.run(&mut reader.connection()?.cx(now)).await;
        // Kept only after a success: a connection whose query failed or was broken off is closed.
        if answer.is_ok() {
            reader.keep();
        }
        answer.map_err(|failure| failure.into_error(O::NAME))
    }

    async fn reader(&self) -> jobcore::Result<Reader<'_>> {
        let permit = self.permits.acquire().await;
        let permit = permit
            .map_err(|_| Error::new(ErrorKind::ShuttingDown, "the store was closed").backend(BACKEND))?;
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let opened = Connection::open(&self.options).await;
                opened.map_err(|error| crate::error::Failure::from(error).into_error("read"))?
            }
        };
        Ok(Reader {
            readers: self,
            connection: Some(connection),
            _permit: permit,
        })
    }

    /// Closes those that are idle, and lets nobody read any more.
    pub(crate) async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle.lock());
        for connection in idle {
            if let Err(error) = connection.close().await {
                tracing::debug!(%error, "sqlite: a reader wasn't closed cleanly");
            }
        }
    }
}

struct Reader<'r> {
    readers: &'r Readers,
    connection: Option<Connection>,
    _permit: SemaphorePermit<'r>,
}

impl Reader<'_> {
    fn connection(&mut self) -> jobcore::Result<&mut Connection> {
        self.connection
            .as_mut()
            .ok_or_else(|| Error::new(ErrorKind::Unavailable, "the connection is gone").backend(BACKEND))
    }

    fn keep(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.readers.idle.lock().push(connection);
        }
    }
}
