//! A database of a run's own on a server of MySQL or MariaDB.

use std::str::FromStr as _;

use jobcore::clock::{Clock as _, SystemClock};
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};

use crate::failure::Result;

/// The environment variable with the server's URL.
pub(crate) const URL: &str = "JOBCORE_TEST_MYSQL_URL";

const NO_URL: &str = "\
no server is known: give --mysql-url mysql://USER:PASSWORD@HOST:PORT/DATABASE, or set JOBCORE_TEST_MYSQL_URL to it. \
`cargo xtask services` starts a server and prints that";

/// A database with a name of its own, empty at first. Dropping this drops it.
#[derive(Debug)]
pub(crate) struct Database {
    server: Box<MySqlConnectOptions>,
    name: String,
}

impl Database {
    /// Creates one on the server of `url`, whose own database stays as it is.
    pub(crate) async fn create(url: Option<&str>) -> Result<Self> {
        let server = Box::new(options(url)?);
        let now = SystemClock::new().now().as_micros();
        let name = format!("jobcore_bench_{now}_{}", std::process::id());
        let create = format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
        carry_out(&server, create)
            .await
            .map_err(|error| format!("no database can be made on the MySQL server: {error}"))?;
        Ok(Self { server, name })
    }

    /// How to connect to it.
    pub(crate) fn options(&self) -> MySqlConnectOptions {
        (*self.server).clone().database(&self.name)
    }

    /// Its URL, password included.
    pub(crate) fn url(&self) -> String {
        self.options().to_url_lossy().into()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let drop = carry_out(&self.server, format!("DROP DATABASE {}", self.name));
        let dropped = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(drop));
        if let Err(error) = dropped {
            eprintln!(
                "jobcore-bench: database {} is left on the server: {error}",
                self.name
            );
        }
    }
}

/// How to connect to the server of `url`.
pub(crate) fn options(url: Option<&str>) -> Result<MySqlConnectOptions> {
    let url = url.ok_or(NO_URL)?;
    let options = MySqlConnectOptions::from_str(url).map_err(|error| format!("--mysql-url: {error}"))?;
    Ok(options.disable_statement_logging())
}

/// A connection that sees what is committed, as a careful application would have it.
pub(crate) async fn connect(options: &MySqlConnectOptions) -> Result<MySqlConnection> {
    let options = options.clone().charset("utf8mb4").collation("utf8mb4_bin");
    let mut connection = options.pipes_as_concat(false).connect().await?;
    let isolation = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED";
    connection.execute(isolation).await?;
    Ok(connection)
}

async fn carry_out(server: &MySqlConnectOptions, statement: String) -> Result<()> {
    let mut connection = connect(server).await?;
    connection.execute(AssertSqlSafe(statement)).await?;
    Ok(connection.close().await?)
}
