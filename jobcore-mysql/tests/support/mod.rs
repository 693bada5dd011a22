//! What the tests on a server have in common.

#![allow(dead_code, reason = "each test program uses a part")]

pub(crate) mod link;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

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
        let (server, drop) = (self.server.clone(), format!("DROP DATABASE {}", self.name));
        // It may be dropped on a thread that must not block; the test waits for it all the same.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(execute(&server, &drop));
        });
        let _ = dropping.join();
    }
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
