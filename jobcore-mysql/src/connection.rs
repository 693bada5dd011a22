//! What an operation is, and what it works with.

use std::sync::Arc;

use jobcore::Timestamp;
use sqlx::mysql::MySqlConnection;

use crate::caches::{Caches, Learned};
use crate::clock::StoreClock;
use crate::error::Result;

/// How a transaction treats what it expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Care {
    /// It goes by what is usually so and by what the store remembers, each on a condition in the statement that writes,
    /// and ends as [`Failure::Stale`](crate::error::Failure::Stale) where one doesn't hold.
    Ordinary,
    /// It looks first. What became stale is repeated like this.
    Full,
}

/// What all operations of a store share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) caches: Caches,
    pub(crate) clock: StoreClock,
    /// Whether the server knows `SKIP LOCKED`. Without it, claims wait for each other, and stay as right.
    pub(crate) skip_locked: bool,
}

/// What an operation works with: a connection, inside a transaction if it writes, and what the store remembers.
#[derive(Debug)]
pub(crate) struct Cx<'c> {
    pub(crate) sql: &'c mut MySqlConnection,
    pub(crate) shared: &'c Arc<Shared>,
    pub(crate) care: Care,
    store_now: Option<Timestamp>,
    /// What is to be remembered if this is committed.
    pub(crate) learned: Learned,
}

impl<'c> Cx<'c> {
    pub(crate) fn new(sql: &'c mut MySqlConnection, shared: &'c Arc<Shared>, care: Care) -> Self {
        Self {
            sql,
            shared,
            care,
            store_now: None,
            learned: Learned::default(),
        }
    }

    /// The store's clock, read once in an operation, and only if it is asked for.
    pub(crate) async fn store_now(&mut self) -> Result<Timestamp> {
        if let Some(now) = self.store_now {
            return Ok(now);
        }
        let now = self.shared.clock.now(self.sql).await?;
        self.store_now = Some(now);
        Ok(now)
    }

    /// Keeps what was learned: of an operation that only reads, and so has seen what is committed.
    pub(crate) fn keep_learned(self) {
        self.shared.caches.keep(self.learned);
    }

    /// What was learned, to be kept after the commit.
    pub(crate) fn into_learned(self) -> Learned {
        self.learned
    }

    /// What the store remembers.
    pub(crate) fn caches(&self) -> &'c Caches {
        &self.shared.caches
    }
}

/// Whether an operation needs a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It reads; each statement sees what is committed.
    Read,
    /// It writes: all of it or nothing.
    Write,
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
    /// Whether it writes.
    const ACCESS: Access;

    /// Carries it out.
    async fn run(&self, cx: &mut Cx<'_>) -> Result<Self::Answer>;
}
