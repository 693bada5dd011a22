//! The server, as it is found when a store is opened.

use jobcore::{Error, ErrorKind};
use sqlx::mysql::MySqlConnection;

use crate::BACKEND;
use crate::config::MySqlConfig;
use crate::error::{Failure, Result};
use crate::pool;
use crate::schema;

/// What a server can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) knows_skip_locked: bool,
}

/// Connects, and makes or checks the tables.
pub(crate) async fn prepare(config: &MySqlConfig) -> jobcore::Result<Server> {
    // A connection of its own: those of the store belong to the store's threads.
    let pool = config.pool(1);
    let found = async {
        let mut sql = pool::connection(&pool).await?;
        let version: String = sqlx::query_scalar("SELECT VERSION()")
            .fetch_one(&mut *sql)
            .await?;
        let server = server(&version)?;
        prepare_schema(&mut sql, config).await?;
        Ok(server)
    };
    let found: Result<Server> = found.await;
    pool.close();
    found.map_err(|failure| failure.into_error("open"))
}

async fn prepare_schema(sql: &mut MySqlConnection, config: &MySqlConfig) -> Result<()> {
    schema::prepare(sql, config.migrates()).await
}

/// What the server with this version can do: `10.11.6-MariaDB-0+deb12u1`, `8.0.36`, `8.0.11-TiDB-v8.5.0`.
///
/// # Errors
/// `Unsupported` if it is too old.
fn server(version: &str) -> Result<Server> {
    let numbers: Vec<u32> = version
        .split(['.', '-'])
        .map_while(|part| part.parse().ok())
        .collect();
    let (major, minor) = (
        numbers.first().copied().unwrap_or(0),
        numbers.get(1).copied().unwrap_or(0),
    );
    if version.contains("TiDB") {
        // It reads SKIP LOCKED and does nothing.
        return Ok(Server {
            knows_skip_locked: false,
        });
    }
    let oldest = if version.contains("MariaDB") {
        (10, 6)
    } else {
        (8, 0)
    };
    if (major, minor) < oldest {
        let message =
            format!("the server is {version}; MySQL 8.0, MariaDB 10.6 and TiDB are the oldest that will do");
        return Err(Failure::Core(
            Error::new(ErrorKind::Unsupported, message).backend(BACKEND),
        ));
    }
    Ok(Server {
        knows_skip_locked: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_tell_what_a_server_can_do() {
        for (version, skips) in [
            ("10.11.6-MariaDB-0+deb12u1", true),
            ("10.6.0-MariaDB", true),
            ("11.4.2-MariaDB-ubu2404", true),
            ("8.0.36", true),
            ("8.4.0", true),
            ("8.0.11-TiDB-v8.5.0", false),
        ] {
            assert_eq!(server(version).unwrap().knows_skip_locked, skips, "{version}");
        }
        for version in ["5.7.44-log", "10.5.1-MariaDB", "10.4.33-MariaDB-log"] {
            assert!(server(version).is_err(), "{version}");
        }
    }
}
