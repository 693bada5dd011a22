//! What the tests on a server have in common.

#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod client;
pub(crate) mod link;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use jobcore_mysql::{MySqlConfig, MySqlStore};
use jobcore_services::mariadb::MariaDb;
use jobcore_testkit::clock::ManualClock;
use jobcore_testkit::conformance::StoreUnderTest;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, MySqlConnection};

/// Where the server is that tests share; `None`: there is none, and the test is skipped.
pub(crate) fn server() -> Option<String> {
    jobcore_services::address(MariaDb::URL)
}

/// A database of one test's own on the server, gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    /// Makes one.
    pub(crate) async fn create(server: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let database = Self {
            server: server.to_owned(),
            name: format!("jobcore_{}_{number}", std::process::id()),
        };
        let create = format!("CREATE DATABASE {}", database.name);
        execute(server, &create).await;
        database
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        let (server, _) = self.server.rsplit_once('/').unwrap();
        format!("{server}/{}", self.name)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A store there, with few connections, as a hundred tests may run at once.
    pub(crate) fn config(&self) -> MySqlConfig {
        MySqlConfig::url(&self.url()).unwrap().connections(8)
    }

    /// A connection there, as any program has it.
    pub(crate) async fn connect(&self) -> MySqlConnection {
        MySqlConnection::connect(&self.url()).await.unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        execute_apart(&self.server, format!("DROP DATABASE {}", self.name));
    }
}

/// A user with some rights on one database, gone when it is dropped.
#[derive(Debug)]
pub(crate) struct Account {
    server: String,
    url: String,
    name: String,
}

impl Account {
    /// Makes one with these rights.
    pub(crate) async fn create(database: &Database, rights: &str) -> Self {
        // As unique as the database, and so are the first users of its tests.
        let name = format!("{}_user", database.name);
        let create = format!(
            "CREATE USER '{name}'@'%' IDENTIFIED BY 'secret'; GRANT {rights} ON {}.* TO '{name}'@'%'",
            database.name
        );
        execute(&database.server, &create).await;
        let url = database.url();
        let (_, address) = url.rsplit_once('@').unwrap();
        Self {
            server: database.server.clone(),
            url: format!("mysql://{name}:secret@{address}"),
            name,
        }
    }

    /// Its URL of the database.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A store of its own on the database.
    pub(crate) fn config(&self) -> MySqlConfig {
        MySqlConfig::url(&self.url).unwrap().connections(8)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        execute_apart(&self.server, format!("DROP USER '{}'@'%'", self.name));
    }
}

/// Carries out a statement when something is dropped, which may be on a thread that must not block; the test waits all the
/// same.
fn execute_apart(server: &str, statement: String) {
    let server = server.to_owned();
    let executing = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(execute(&server, &statement));
    });
    let _ = executing.join();
}

/// Asks again and again, for the little that no event tells of, until there is an answer.
pub(crate) async fn eventually<T>(patience: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let answer = tokio::time::timeout(patience, asking).await;
    answer.unwrap_or_else(|_| panic!("there was no answer within {patience:?}"))
}

/// Carries out a statement on a connection of its own.
pub(crate) async fn execute(url: &str, statement: &str) {
    let mut sql = MySqlConnection::connect(url).await.unwrap();
    sql.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
    sql.close().await.unwrap();
}

/// A store on a database of its own, with a clock that the case sets.
pub(crate) async fn fresh(server: String, change: fn(MySqlConfig) -> MySqlConfig) -> StoreUnderTest {
    let database = Database::create(&server).await;
    let clock = Arc::new(ManualClock::default());
    let config = change(database.config()).clock(Arc::clone(&clock) as _);
    let store: Arc<MySqlStore> = Arc::new(config.open().await.unwrap());
    StoreUnderTest::new(store).with_clock(clock).keeping(database)
}
