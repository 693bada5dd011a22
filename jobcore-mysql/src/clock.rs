//! The store's clock: the server's, so that all processes judge leases by the same one.

use std::sync::Arc;

use chrono::NaiveDateTime;
use jobcore::Timestamp;
use jobcore::clock::Clock;
use sqlx::mysql::MySqlConnection;

use crate::error::Result;

/// The clock by which leases are judged.
#[derive(Clone, Debug)]
pub(crate) enum StoreClock {
    /// The database server's.
    Server,
    /// Another, for tests.
    Injected(Arc<dyn Clock>),
}

impl StoreClock {
    pub(crate) async fn now(&self, sql: &mut MySqlConnection) -> Result<Timestamp> {
        match self {
            Self::Injected(clock) => Ok(clock.now()),
            Self::Server => {
                let now: NaiveDateTime = sqlx::query_scalar("SELECT UTC_TIMESTAMP(6)")
                    .fetch_one(sql)
                    .await?;
                Ok(now.and_utc().into())
            }
        }
    }
}
