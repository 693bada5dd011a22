//! How a server is reached: encrypted, and what is said when it refuses.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic like the tests")]

mod support;

use jobcore::ErrorKind;
use jobcore::store::{JobStore as _, TaskStore as _};
use jobcore_mysql::{MySqlConfig, MySqlStore};
use jobcore_services::mariadb::{MariaDb, Options};
use sqlx::Connection as _;
use sqlx::mysql::MySqlConnection;
use support::client::Client;
use support::{Account, Database, execute, server};

/// A server of the test's own, since its settings are changed.
fn own_server() -> Option<MariaDb> {
    if !MariaDb::is_installed() {
        jobcore_services::skip("no MariaDB is installed; `cargo xtask services` installs one");
        return None;
    }
    Some(MariaDb::start(Options::new(env!("CARGO_TARGET_TMPDIR"))).unwrap())
}

/// A store in a database of its own whose user must use TLS, with this authority.
async fn open_encrypted(server: &str, authority: &str) -> jobcore::Result<()> {
    let database = Database::create(server).await;
    let account = Account::create(&database, "ALL PRIVILEGES").await;
    let require = format!("ALTER USER '{}'@'%' REQUIRE SSL", account.name());
    execute(server, &require).await;
    let url = format!("{}?ssl-mode=VERIFY_CA&ssl-ca={authority}", account.url());
    let store = MySqlStore::open(&url).await?;
    store.now().await?;
    store.close().await;
    Ok(())
}

#[tokio::test]
async fn tls_is_used_with_a_server_that_the_authority_vouches_for() {
    let (Some(server), Some(authority)) = (server(), jobcore_services::address(MariaDb::AUTHORITY)) else {
        return;
    };
    open_encrypted(&server, &authority).await.unwrap();
}

#[tokio::test]
async fn a_server_that_the_authority_does_not_vouch_for_is_refused() {
    let (Some(server), Some(_)) = (server(), jobcore_services::address(MariaDb::AUTHORITY)) else {
        return;
    };
    let stranger = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/stranger.pem");
    let refused = open_encrypted(&server, stranger).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(refused.to_string().contains("certificate"), "{refused}");
}

#[tokio::test]
async fn a_server_that_became_read_only_is_unavailable_until_it_is_not() {
    let Some(server) = own_server() else { return };
    let database = Database::create(&server.url()).await;
    let account = Account::create(&database, "ALL PRIVILEGES").await;
    let client = Client::new(account.config().open().await.unwrap()).await;
    client.put(vec![client.new_job("greet", None)]).await;
    execute(&server.url(), "SET GLOBAL read_only = 1").await;
    let task = client.task("greet", "task");
    for _ in 0..2 {
        let refused = client
            .insert_tasks(vec![task.clone()], client.now)
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
        assert!(refused.to_string().contains("read-only"), "{refused}");
    }
    assert_eq!(
        client
            .get_tasks(std::slice::from_ref(&task.task_id))
            .await
            .unwrap(),
        [None]
    );
    execute(&server.url(), "SET GLOBAL read_only = 0").await;
    client.insert(vec![task]).await;
}

#[tokio::test]
async fn a_server_that_takes_no_more_connections_is_unavailable_and_the_error_says_so() {
    let Some(server) = own_server() else { return };
    let database = Database::create(&server.url()).await;
    let account = Account::create(&database, "ALL PRIVILEGES").await;
    execute(&server.url(), "SET GLOBAL max_connections = 10").await;
    let mut others = Vec::new();
    // The user of the store has no right to the one that is kept for administrators.
    while let Ok(other) = MySqlConnection::connect(account.url()).await {
        others.push(other);
    }
    assert!(others.len() >= 8, "{}", others.len());
    let refused = account.config().open().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(refused.to_string().contains("max_connections"), "{refused}");
    for other in others {
        other.close().await.unwrap();
    }
    let config: MySqlConfig = account.config();
    let store = support::eventually(std::time::Duration::from_secs(10), async || {
        config.clone().open().await.ok()
    });
    store.await.now().await.unwrap();
}

#[tokio::test]
async fn a_user_who_may_have_no_more_connections_is_told_so() {
    let Some(server) = server() else { return };
    let database = Database::create(&server).await;
    let account = Account::create(&database, "ALL PRIVILEGES").await;
    let limit = format!("ALTER USER '{}'@'%' WITH MAX_USER_CONNECTIONS 1", account.name());
    execute(&server, &limit).await;
    let other = MySqlConnection::connect(account.url()).await.unwrap();
    let refused = account.config().open().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable, "{refused}");
    assert!(refused.to_string().contains("max_user_connections"), "{refused}");
    other.close().await.unwrap();
}
