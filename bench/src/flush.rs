//! A bare durable commit: what the disk alone costs, measured beside the figures that depend on it.

use sqlx::mysql::MySqlConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use tempfile::TempDir;

use crate::backend::{Backend, Kind};
use crate::clock::Stopwatch;
use crate::distribution::Distribution;
use crate::failure::Result;
use crate::mysql;

/// How many commits are measured each time: enough for a 99th percentile.
const COMMITS: usize = 500;

/// Measures bare commits before and after a benchmark, on the same disk; in memory there are none, and all is zero.
#[derive(Debug)]
pub(crate) struct Flush {
    database: Option<Database>,
    commits: Distribution,
}

#[derive(Debug)]
enum Database {
    Sqlite {
        connection: SqliteConnection,
        _folder: TempDir,
    },
    MySql {
        connection: MySqlConnection,
        _database: mysql::Database,
    },
}

const COUNTER: &str = "CREATE TABLE counter (value INTEGER NOT NULL); INSERT INTO counter VALUES (0)";
const COUNT: &str = "UPDATE counter SET value = value + 1";

impl Flush {
    /// Prepares a small database beside the one of the benchmark, and measures for the first time.
    pub(crate) async fn measured(backend: &Backend) -> Result<Self> {
        let database = match backend.kind() {
            Kind::Memory => None,
            Kind::Mysql => Some(Database::mysql(mysql::Database::create(backend.mysql_url()).await?).await?),
            Kind::Sqlite => Some(Database::sqlite(backend.temporary()?).await?),
        };
        let mut flush = Self {
            database,
            commits: Distribution::new(),
        };
        flush.measure().await?;
        Ok(flush)
    }

    /// Measures again: what a shared disk does changes with time.
    pub(crate) async fn measure(&mut self) -> Result<()> {
        if let Some(database) = &mut self.database {
            for _ in 0..COMMITS {
                let watch = Stopwatch::start();
                database.commit().await?;
                self.commits.add(watch.elapsed());
            }
        }
        Ok(())
    }

    /// The median, in milliseconds.
    pub(crate) fn p50_ms(&self) -> f64 {
        self.commits.p50_ms()
    }

    /// What 99 of 100 commits don't exceed, in milliseconds.
    pub(crate) fn p99_ms(&self) -> f64 {
        self.commits.p99_ms()
    }
}

impl Database {
    async fn sqlite(folder: TempDir) -> Result<Self> {
        let mut connection = SqliteConnectOptions::new()
            .filename(folder.path().join("flush.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging()
            .connect()
            .await?;
        sqlx::raw_sql(COUNTER).execute(&mut connection).await?;
        Ok(Self::Sqlite {
            connection,
            _folder: folder,
        })
    }

    async fn mysql(database: mysql::Database) -> Result<Self> {
        let mut connection = mysql::connect(&database.options()).await?;
        sqlx::raw_sql(COUNTER).execute(&mut connection).await?;
        Ok(Self::MySql {
            connection,
            _database: database,
        })
    }

    async fn commit(&mut self) -> Result<()> {
        match self {
            Self::Sqlite { connection, .. } => {
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                sqlx::query(COUNT).execute(&mut *transaction).await?;
                transaction.commit().await?;
            }
            Self::MySql { connection, .. } => {
                sqlx::query(COUNT).execute(connection).await?;
            }
        }
        Ok(())
    }
}
