//! How to open a store.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use jobcore::clock::Clock;
use jobcore::{Error, ErrorKind, Result};
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

use crate::BACKEND;
use crate::clock::StoreClock;
use crate::pool::{self, Pool};
use crate::store::MySqlStore;

/// How to open a [`MySqlStore`].
///
/// ```no_run
/// # async fn example() -> jobcore::Result<()> {
/// use jobcore_mysql::MySqlConfig;
///
/// let store = MySqlConfig::url("mysql://app:secret@db.example.org/app")?.connections(20).open().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct MySqlConfig {
    options: MySqlConnectOptions,
    connections: usize,
    timeout: Duration,
    lock_timeout: Duration,
    migrate: bool,
    skip_locked: Option<bool>,
    clock: StoreClock,
    session: Duration,
}

/// Statements that each connection keeps prepared: more than there are shapes, since one that is closed delays the next
/// (see `queries::rows`). Most connections come to use a hundred; the server allows 16,382 of all clients by default
/// (`max_prepared_stmt_count`).
const STATEMENTS: usize = 512;

impl MySqlConfig {
    /// A store in the database of `url`: `mysql://user:password@host:port/database`. `?ssl-mode=VERIFY_IDENTITY` and
    /// `&ssl-ca=/path/ca.pem` ask for TLS and check the server; the default is to use it where the server offers it.
    ///
    /// # Errors
    /// `InvalidInput` if it is no such URL, or names no database.
    pub fn url(url: &str) -> Result<Self> {
        let options = MySqlConnectOptions::from_str(url).map_err(|error| {
            Error::invalid(
                "url",
                format_args!("{error}; use mysql://user:password@host/database"),
            )
            .backend(BACKEND)
        })?;
        Self::options(options)
    }

    /// A store in the database of these options, for what a URL doesn't say: certificates from memory, a socket, ….
    ///
    /// # Errors
    /// `InvalidInput` if they name no database.
    pub fn options(options: MySqlConnectOptions) -> Result<Self> {
        if options.get_database().is_none_or(str::is_empty) {
            let message = "names no database; end it with /DATABASE";
            return Err(Error::invalid("url", message).backend(BACKEND));
        }
        let options = options
            .statement_cache_capacity(STATEMENTS)
            .charset("utf8mb4")
            .collation("utf8mb4_bin")
            .pipes_as_concat(false)
            .timezone(Some("+00:00".to_owned()));
        Ok(Self {
            options,
            connections: 10,
            timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(3),
            migrate: true,
            skip_locked: None,
            clock: StoreClock::Server,
            session: Duration::from_secs(10),
        })
    }

    /// How many connections to open at the most, 2 to 1,000, besides one for heartbeats. Default 10: each of the engine's
    /// loops uses one at a time, and a few are left for enqueuing. They are opened when they are needed.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// How long a call may take before it fails with `TimedOut`, and how long a statement may take on the server, at
    /// least 100 ms. Default 10 s: many times the longest transaction, shorter than a caller would want to hang.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a statement waits for another transaction's lock, in whole seconds, before it is repeated. Default 3 s:
    /// the store's own transactions take milliseconds, so what holds a lock longer is stuck or was cut off.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// Whether [`open`](Self::open) makes the tables and brings them up to date. Default true. Without, the user needs no
    /// more rights than SELECT, INSERT, UPDATE and DELETE; somebody else runs [`SCHEMA_SQL`](crate::SCHEMA_SQL) before.
    #[must_use]
    pub fn migrate(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Whether claims say `SKIP LOCKED`. By default the server is asked: MySQL 8 and MariaDB 10.6 know it; TiDB reads it
    /// and does nothing, so it isn't sent. Without it claims of several nodes repeat each other's looks, and are as right.
    #[must_use]
    pub fn skip_locked(mut self, skip: bool) -> Self {
        self.skip_locked = Some(skip);
        self
    }

    /// How the connection is encrypted, as in the URL's `ssl-mode`.
    #[must_use]
    pub fn ssl_mode(mut self, mode: MySqlSslMode) -> Self {
        self.options = self.options.ssl_mode(mode);
        self
    }

    /// The clock by which leases are judged, for tests. Default: the server's, on which all processes agree.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = StoreClock::Injected(clock);
        self
    }

    /// How long a node's session with its [coordinator](MySqlStore::coordinator) lasts unless it is renewed, 1 s to 1 h:
    /// so long after a node died others take over what it led, held, or was. Default 10 s: longer than a server takes to
    /// restart, or a network to find another way.
    #[must_use]
    pub fn session(mut self, lease: Duration) -> Self {
        self.session = lease;
        self
    }

    /// Opens the store: connects once, and makes or checks the tables. Several processes may do so at once.
    ///
    /// # Errors
    /// `InvalidInput` for settings out of range, `Unsupported` if the tables are of a program that is too new or (without
    /// [`migrate`](Self::migrate)) too old, or the server is, `Unavailable` if it can't be reached.
    pub async fn open(self) -> Result<MySqlStore> {
        if !(2..=1_000).contains(&self.connections) {
            let message = format_args!("must be 2 to 1,000, is {}", self.connections);
            return Err(Error::invalid("connections", message).backend(BACKEND));
        }
        if self.timeout < Duration::from_millis(100) {
            let message = format_args!("must be at least 100 ms, is {:?}", self.timeout);
            return Err(Error::new(ErrorKind::InvalidInput, format!("timeout: {message}")).backend(BACKEND));
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(3_600)).contains(&self.session) {
            let message = format_args!("must be 1 s to 1 h, is {:?}", self.session);
            return Err(Error::invalid("session", message).backend(BACKEND));
        }
        MySqlStore::open_with(self).await
    }

    pub(crate) fn pool(&self, size: usize) -> Pool {
        pool::pool(self.options.clone(), size, self.timeout, self.lock_timeout)
    }

    pub(crate) fn connection_count(&self) -> usize {
        self.connections
    }

    pub(crate) fn limit(&self) -> Duration {
        self.timeout
    }

    pub(crate) fn session_lease(&self) -> Duration {
        self.session
    }

    pub(crate) fn migrates(&self) -> bool {
        self.migrate
    }

    pub(crate) fn skips_locked(&self) -> Option<bool> {
        self.skip_locked
    }

    pub(crate) fn store_clock(&self) -> StoreClock {
        self.clock.clone()
    }
}
