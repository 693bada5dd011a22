//! A server of the tests' own, whose counters count nothing but the calls that are measured.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use jobcore_mysql::MySqlConfig;
use jobcore_services::mariadb::{MariaDb, Options};
use sqlx::{Connection as _, MySqlConnection};
use tokio::sync::MutexGuard;

use super::cost::Meter;
use super::support::Database;
use super::support::client::Client;

/// Whose turn it is: one test at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The server, while a test uses it or waits for its turn.
static SERVER: Mutex<Weak<Mutex<MariaDb>>> = Mutex::new(Weak::new());

/// A database of one test's own.
pub(crate) struct Site {
    pub(crate) client: Client,
    pub(crate) meter: Meter,
    pub(crate) database: Database,
    _server: Arc<Mutex<MariaDb>>,
    _turn: MutexGuard<'static, ()>,
}

impl Site {
    /// `None` where there is no server to start, or none that counts by index as MariaDB does.
    pub(crate) async fn begin() -> Option<Self> {
        if !MariaDb::is_installed() {
            jobcore_services::skip("no MariaDB is installed; `cargo xtask services` installs one");
            return None;
        }
        let server = server();
        let url = server.lock().unwrap_or_else(PoisonError::into_inner).url();
        let turn = TURN.lock().await;
        let mut sql = MySqlConnection::connect(&url).await.unwrap();
        let version: String = sqlx::query_scalar("SELECT VERSION()")
            .fetch_one(&mut sql)
            .await
            .unwrap();
        if !version.contains("MariaDB") {
            jobcore_services::skip("the server that is installed doesn't count rows by index");
            return None;
        }
        let database = Database::create(&url).await;
        let store = MySqlConfig::url(&database.url()).unwrap().open().await.unwrap();
        Some(Self {
            client: Client::new(store).await,
            meter: Meter::new(sql, database.name()).await,
            database,
            _server: server,
            _turn: turn,
        })
    }
}

fn server() -> Arc<Mutex<MariaDb>> {
    let mut shared = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let mut options = Options::new(env!("CARGO_TARGET_TMPDIR"));
        // What is counted doesn't depend on it, and the tables are filled sooner.
        options.arguments = vec!["--innodb-flush-log-at-trx-commit=0".into()];
        let server = Arc::new(Mutex::new(MariaDb::start(options).unwrap()));
        *shared = Arc::downgrade(&server);
        server
    })
}
