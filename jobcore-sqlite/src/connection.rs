//! A connection with what it remembers.

use jobcore::Timestamp;
use jobcore::store::InsertOutcome;
use jobcore::task::NewTask;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection as _};

use crate::caches::Caches;
use crate::error::Result;

/// A connection with what it remembers of the tables that hardly change.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) sql: SqliteConnection,
    pub(crate) caches: Caches,
}

impl Connection {
    pub(crate) async fn open(options: &SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        let sql = options.clone().disable_statement_logging().connect().await?;
        Ok(Self {
            sql,
            caches: Caches::default(),
        })
    }

    pub(crate) async fn close(self) -> Result<(), sqlx::Error> {
        self.sql.close().await
    }
}

/// How a transaction treats what it expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// It goes by what is usually so and by what the connection remembers, each on a condition in the statement that
    /// writes, and ends as [`Failure::Stale`](crate::error::Failure::Stale) where one doesn't hold.
    Ordinary,
    /// It looks first. What became stale is repeated like this.
    Full,
}

/// What an operation works with: a connection, inside a transaction if it writes, and the store's clock.
#[derive(Debug)]
pub(crate) struct Cx<'c> {
    pub(crate) sql: &'c mut SqliteConnection,
    pub(crate) caches: &'c mut Caches,
    pub(crate) store_now: Timestamp,
    pub(crate) care: Care,
}

impl Connection {
    /// For reading.
    pub(crate) fn cx(&mut self, store_now: Timestamp) -> Cx<'_> {
        Cx {
            sql: &mut self.sql,
            caches: &mut self.caches,
            store_now,
            care: Care::Full,
        }
    }
}

/// Tasks to insert, and the present time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inserts<'o> {
    pub(crate) tasks: &'o [NewTask],
    pub(crate) now: Timestamp,
}

/// An operation of the store: what it asks, and how it is carried out.
///
/// It can be carried out again after a rollback, so it keeps its request.
#[async_trait::async_trait]
pub(crate) trait Operation: Send + Sync + 'static {
    /// What the caller gets.
    type Answer: Send + 'static;
    /// Its name in errors.
    const NAME: &'static str;

    /// How many rows it touches, roughly: bounds what goes into one transaction.
    fn weight(&self) -> usize {
        1
    }

    /// How many rows it writes, roughly: says when there is something to checkpoint. None for those that mostly just look.
    fn rows(&self) -> usize {
        self.weight()
    }

    /// What it inserts, if that is all it does: neighbours in the queue are then carried out as one.
    fn inserts(&self) -> Option<Inserts<'_>> {
        None
    }

    /// Its answer, if [`inserts`](Self::inserts) was carried out with its neighbours'.
    fn inserted(&self, _outcomes: Vec<InsertOutcome>) -> Option<Self::Answer> {
        None
    }

    /// Carries it out.
    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer>;
}
