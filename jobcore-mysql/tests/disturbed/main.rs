//! Sessions that others kill, hold up or get in the way of: calls are repeated, or say honestly how they ended.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic like the tests")]

mod killed;
mod locked;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use jobcore::Result;
use jobcore::lease::Lease;
use jobcore::store::{SettleOutcome, TaskStore as _};
use jobcore_mysql::MySqlConfig;
use sqlx::{AssertSqlSafe, Executor as _, MySqlConnection};
use support::Database;
use support::client::{Client, fences};
use tokio::task::JoinHandle;

/// Longer than anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often to look at transactions: the server shows everybody the same picture, and makes a new one only when nobody
/// has looked for a tenth of a second.
const LOOK: Duration = Duration::from_millis(400);

/// A store, and another session that gets in its way.
struct Scene {
    client: Client,
    other: MySqlConnection,
    /// Looks at what the sessions do.
    watcher: MySqlConnection,
    database: Database,
}

impl Scene {
    async fn open(server: &str, change: fn(MySqlConfig) -> MySqlConfig) -> Self {
        let database = Database::create(server).await;
        let client = Client::new(change(database.config()).open().await.unwrap()).await;
        client.put(vec![client.new_job("greet", None)]).await;
        Self {
            client,
            other: database.connect().await,
            watcher: database.connect().await,
            database,
        }
    }

    /// Some tasks, claimed.
    async fn claimed(&self, ids: &[&str]) -> Lease {
        let tasks = ids.iter().map(|id| self.client.task("greet", id));
        self.client.insert(tasks.collect()).await;
        let holder = self.client.join("node").await;
        self.client.take(&holder, "greet", ids.len()).await
    }

    /// Settles what a lease holds, beside what the test does.
    fn settling(&self, lease: &Lease) -> JoinHandle<Result<Vec<SettleOutcome>>> {
        let client = self.client.clone();
        let settlements = fences(lease)
            .iter()
            .map(|fence| client.succeeded(fence))
            .collect();
        tokio::spawn(async move { client.settle(settlements, client.now).await })
    }

    /// The other session does something.
    async fn disturb(&mut self, statement: &str) {
        self.other
            .execute(AssertSqlSafe(statement.to_owned()))
            .await
            .unwrap();
    }

    /// The other session locks a task's row.
    async fn lock(&mut self, id: &str) {
        self.disturb(&format!(
            "SELECT task_id FROM tasks WHERE task_id = '{id}' FOR UPDATE"
        ))
        .await;
    }

    /// Waits until a transaction of the store waits for a lock, other than `but`: its number, and its session's.
    async fn held_up(&mut self, but: Option<&str>) -> (String, i64) {
        let select = "SELECT CAST(t.trx_id AS CHAR), CAST(p.id AS SIGNED) FROM information_schema.innodb_trx t \
                      JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id \
                      WHERE t.trx_state = 'LOCK WAIT' AND p.db = ?";
        let mut looks = tokio::time::interval(LOOK);
        loop {
            let query = sqlx::query_as(select).bind(self.database.name().to_owned());
            let found: Vec<(String, i64)> = query.fetch_all(&mut self.watcher).await.unwrap();
            let mut found = found.into_iter();
            if let Some(found) = found.find(|(transaction, _)| Some(transaction.as_str()) != but) {
                return found;
            }
            looks.tick().await;
        }
    }
}

fn all_settled(outcomes: Result<Vec<SettleOutcome>>) -> bool {
    let settled = |outcome: &_| matches!(outcome, SettleOutcome::Settled { .. });
    outcomes.unwrap().iter().all(settled)
}
