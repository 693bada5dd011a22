//! How to open a store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jobcore::clock::Clock;
use jobcore::{Error, Result};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use crate::clock::WallClock;
use crate::store::SqliteStore;

/// When a commit counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// When it is flushed to the disk: what the store reported as done survives a power cut. Default.
    #[default]
    Full,
    /// When the operating system has it: survives a kill of the process, but a power cut may take back the last
    /// commits, and with them tasks that were accepted and results that were recorded (their tasks run again). Saves a
    /// flush per commit. The file stays intact either way.
    Normal,
}

/// Where a store lives.
#[derive(Clone, Debug)]
enum Place {
    File(PathBuf),
    Memory,
}

/// How to open a [`SqliteStore`].
///
/// ```no_run
/// # async fn example() -> jobcore::Result<()> {
/// use jobcore_sqlite::{SqliteConfig, Synchronous};
///
/// let store = SqliteConfig::file("jobs.db").synchronous(Synchronous::Normal).open().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct SqliteConfig {
    place: Place,
    synchronous: Synchronous,
    busy_timeout: Duration,
    readers: usize,
    max_size: Option<u64>,
    clock: Arc<dyn Clock>,
}

/// SQLite's page size here: its default, and the page size of most file systems.
const PAGE_SIZE: u64 = 4_096;

impl SqliteConfig {
    /// A store in the file at `path`, which is made if it isn't there; beside it SQLite keeps `path-wal` and
    /// `path-shm`. The file must not be on a network file system.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::File(path.into()))
    }

    /// A store in memory, gone when it is closed: for tests. Reads wait for writes here.
    pub fn in_memory() -> Self {
        Self::at(Place::Memory)
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            synchronous: Synchronous::default(),
            busy_timeout: Duration::from_secs(10),
            readers: 4,
            max_size: None,
            clock: Arc::new(WallClock::default()),
        }
    }

    /// When a commit counts as durable. Default [`Synchronous::Full`].
    #[must_use]
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// How long to wait for another process that writes, before the call fails with `Unavailable`. Default 10 s: longer
    /// than any transaction of this store, shorter than a caller would want to hang.
    #[must_use]
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// How many connections read beside the one that writes, 1 to 64. Default 4; each takes a thread and up to 2 MiB.
    #[must_use]
    pub fn readers(mut self, readers: usize) -> Self {
        self.readers = readers;
        self
    }

    /// The size in bytes beyond which the database refuses to grow (`Unavailable`). Default: none but the disk's.
    #[must_use]
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.max_size = Some(bytes);
        self
    }

    /// The clock by which leases are judged. All processes on one file must agree on it. Default: the wall clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Opens the store; a new file gets its tables, an older one is brought up to date.
    ///
    /// # Errors
    /// `InvalidInput` for settings out of range, `Unsupported` if a newer program made the file, `Corrupt` if it is no
    /// database of this kind, `Unavailable` if it can't be opened or another process keeps it locked.
    pub async fn open(self) -> Result<SqliteStore> {
        if !(1..=64).contains(&self.readers) {
            return Err(Error::invalid(
                "readers",
                format_args!("must be 1 to 64, is {}", self.readers),
            ));
        }
        SqliteStore::open_with(self).await
    }

    pub(crate) fn own_clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    pub(crate) fn wait_for_lock(&self) -> Duration {
        self.busy_timeout
    }

    /// How many readers there are: none in memory, where only one connection sees the data.
    pub(crate) fn reader_count(&self) -> usize {
        match self.place {
            Place::File(_) => self.readers,
            Place::Memory => 0,
        }
    }

    /// The connection that writes.
    pub(crate) fn writer_options(&self) -> SqliteConnectOptions {
        let options = self
            .options()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // A commit checkpoints only what those beside the writer left; a log that grew under a long read shrinks again.
            .pragma("wal_autocheckpoint", "16000")
            .pragma("journal_size_limit", "67108864")
            .pragma("cache_size", "-32768")
            .thread_name(|_| "jobcore-sqlite-db".to_owned())
            .row_buffer_size(1_024);
        match self.max_size {
            Some(bytes) => options.pragma("max_page_count", (bytes / PAGE_SIZE).max(1).to_string()),
            None => options,
        }
    }

    /// The connection that makes checkpoints; `None` in memory, where there is no log.
    pub(crate) fn checkpoint_options(&self) -> Option<SqliteConnectOptions> {
        let options = self
            .options()
            .pragma("cache_size", "-2048")
            .thread_name(|_| "jobcore-sqlite-checkpoint".to_owned());
        matches!(self.place, Place::File(_)).then_some(options)
    }

    /// A connection that reads.
    pub(crate) fn reader_options(&self) -> SqliteConnectOptions {
        self.options()
            .pragma("query_only", "1")
            .pragma("cache_size", "-2048")
            .thread_name(|_| "jobcore-sqlite-read".to_owned())
            .row_buffer_size(256)
    }

    fn options(&self) -> SqliteConnectOptions {
        let options = match &self.place {
            Place::File(path) => SqliteConnectOptions::new().filename(path),
            Place::Memory => SqliteConnectOptions::new().in_memory(true).filename(":memory:"),
        };
        let synchronous = match self.synchronous {
            Synchronous::Full => SqliteSynchronous::Full,
            Synchronous::Normal => SqliteSynchronous::Normal,
        };
        options
            .synchronous(synchronous)
            .busy_timeout(self.busy_timeout)
            .foreign_keys(false)
            .statement_cache_capacity(256)
    }
}
