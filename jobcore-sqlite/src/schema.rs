//! The tables: made in a new file, brought up to date in an older one, refused if a newer program made them.

use std::time::Duration;

use jobcore::{Error, ErrorKind};
use sqlx::{Connection as _, Row};

use crate::BACKEND;
use crate::config::SqliteConfig;
use crate::connection::Connection;
use crate::error::{self, Failure, Result};

/// The scripts, by the version of the schema that each leads to, from 1.
const MIGRATIONS: [&str; 3] = [
    include_str!("../migrations/0001_jobs.sql"),
    include_str!("../migrations/0002_tasks.sql"),
    include_str!("../migrations/0003_history.sql"),
];

/// Marks the file as one of ours ("jobc"), for the `file` command and against opening another program's.
const APPLICATION_ID: i64 = 0x6a6f_6263;

/// How long to wait between two tries to open a file that others are opening.
const RETRY: Duration = Duration::from_millis(10);

/// Opens the connection that writes, with the tables up to date.
///
/// Making a file a write-ahead-log database needs a lock that SQLite doesn't wait for; so when several processes open a
/// new file at once, all but one try again.
pub(crate) async fn open(config: &SqliteConfig) -> jobcore::Result<Connection> {
    let until = config.own_clock().now() + config.wait_for_lock();
    loop {
        match try_open(config).await {
            Ok(connection) => return Ok(connection),
            Err(Failure::Sql(error)) if error::is_busy(&error) && config.own_clock().now() < until => {
                tokio::time::sleep(RETRY).await;
            }
            Err(failure) => return Err(failure.into_error("open")),
        }
    }
}

async fn try_open(config: &SqliteConfig) -> Result<Connection> {
    let mut connection = Connection::open(&config.writer_options()).await?;
    if version(&mut connection.sql).await? != MIGRATIONS.len() {
        migrate(&mut connection).await?;
    }
    Ok(connection)
}

/// Runs the scripts that are missing, under the write lock, so that one of several processes does it.
async fn migrate(connection: &mut Connection) -> Result<()> {
    let mut transaction = connection.sql.begin_with("BEGIN IMMEDIATE").await?;
    let found = version(&mut transaction).await?;
    for script in MIGRATIONS.iter().skip(found) {
        sqlx::raw_sql(*script).execute(&mut *transaction).await?;
    }
    // A pragma takes no parameters.
    let marks = format!(
        "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}",
        MIGRATIONS.len()
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(marks))
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(())
}

/// The version of the schema in the file; 0 for an empty one.
async fn version(sql: &mut sqlx::SqliteConnection) -> Result<usize> {
    let marks = "SELECT (SELECT user_version FROM pragma_user_version), \
                 (SELECT application_id FROM pragma_application_id), \
                 (SELECT count(*) FROM sqlite_schema)";
    let row = sqlx::query(marks).fetch_one(sql).await?;
    let (version, application, tables): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    match application {
        APPLICATION_ID => {}
        0 if version == 0 && tables == 0 => return Ok(0),
        _ => {
            return Err(refuse(
                ErrorKind::Corrupt,
                "the file is a database of another program; choose another path",
            ));
        }
    }
    match usize::try_from(version) {
        Ok(version) if version <= MIGRATIONS.len() => Ok(version),
        _ => Err(refuse(
            ErrorKind::Unsupported,
            format!(
                "the file has schema version {version}, made by a newer program; this one knows up to {}: upgrade it",
                MIGRATIONS.len()
            ),
        )),
    }
}

/// Refuses a connection to a database that isn't ours, or whose tables aren't those that this program knows.
pub(crate) async fn check(sql: &mut sqlx::SqliteConnection) -> Result<()> {
    match version(sql).await? {
        version if version == MIGRATIONS.len() => Ok(()),
        _ => Err(refuse(
            ErrorKind::Corrupt,
            "the connection is to another database than the store's; open it on the store's file",
        )),
    }
}

fn refuse(kind: ErrorKind, message: impl Into<String>) -> Failure {
    Failure::Core(Error::new(kind, message).backend(BACKEND))
}
