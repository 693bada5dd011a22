//! The service's database, which is jobcore's as well. Only this file knows which one it is.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jobcore::clock::{Clock as _, SystemClock};
use jobcore::enqueue::{TriggerPlan, Written};
use jobcore::store::Store;
use jobcore::{Timestamp, enqueue::WakeUp};
use jobcore_mysql::MySqlStore;
use jobcore_sqlite::SqliteStore;
use serde::Serialize;
use sqlx::mysql::MySqlPool;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

use crate::failure::Failure;

/// An order.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Order {
    pub(crate) order_id: String,
    pub(crate) item: String,
    /// The task that confirms it.
    pub(crate) task_id: String,
    pub(crate) create_time: Timestamp,
    pub(crate) confirm_time: Option<Timestamp>,
}

/// What the service asks its database.
#[async_trait]
pub(crate) trait Database: Send + Sync {
    /// The jobs' part of it.
    fn store(&self) -> Arc<dyn Store>;

    /// Inserts an order and enqueues what was planned for it: both, or nothing.
    async fn place(&self, order: &Order, plan: &TriggerPlan) -> Result<WakeUp, Failure>;

    /// Marks an order as confirmed; says whether it wasn't yet.
    async fn confirm(&self, order_id: &str) -> Result<bool, Failure>;

    async fn find(&self, order_id: &str) -> Result<Option<Order>, Failure>;

    /// The newest orders, at most 100.
    async fn newest(&self) -> Result<Vec<Order>, Failure>;

    /// How many orders there are, and how many of them are confirmed.
    async fn count(&self) -> Result<(i64, i64), Failure>;
}

/// Opens the database that `address` names: `mysql://…`, or the path of a file for SQLite.
pub(crate) async fn open(address: &str) -> Result<Arc<dyn Database>, Failure> {
    if address.starts_with("mysql://") {
        let store = Arc::new(MySqlStore::open(address).await?);
        let pool = MySqlPool::connect(address).await?;
        sqlx::query(ORDERS).execute(&pool).await?;
        return Ok(Arc::new(MySql { store, pool }));
    }
    // The store first: it makes the file.
    let store = Arc::new(SqliteStore::open(address).await?);
    let options = SqliteConnectOptions::new()
        .filename(address)
        .busy_timeout(Duration::from_secs(10));
    let pool = SqlitePool::connect_with(options).await?;
    sqlx::query(ORDERS).execute(&pool).await?;
    Ok(Arc::new(Sqlite { store, pool }))
}

const ORDERS: &str = "CREATE TABLE IF NOT EXISTS orders (order_id VARCHAR(64) NOT NULL PRIMARY KEY, \
                      item VARCHAR(255) NOT NULL, task_id VARCHAR(64) NOT NULL, create_time BIGINT NOT NULL, \
                      confirm_time BIGINT)";

/// A row of `orders`, in the order of its columns.
type Row = (String, String, String, i64, Option<i64>);

fn order((order_id, item, task_id, create_time, confirm_time): Row) -> Order {
    Order {
        order_id,
        item,
        task_id,
        create_time: Timestamp::from_micros(create_time),
        confirm_time: confirm_time.map(Timestamp::from_micros),
    }
}

/// The same code for each database: the statements are the same, only sqlx's types differ, and how a transaction begins
/// that will write.
macro_rules! database {
    ($name:ident, $store:ty, $pool:ty, $begin:literal) => {
        struct $name {
            store: Arc<$store>,
            pool: $pool,
        }

        #[async_trait]
        impl Database for $name {
            fn store(&self) -> Arc<dyn Store> {
                self.store.clone()
            }

            async fn place(&self, order: &Order, plan: &TriggerPlan) -> Result<WakeUp, Failure> {
                let mut tx = self.pool.begin_with($begin).await?;
                sqlx::query("INSERT INTO orders (order_id, item, task_id, create_time) VALUES (?, ?, ?, ?)")
                    .bind(&order.order_id)
                    .bind(&order.item)
                    .bind(&order.task_id)
                    .bind(order.create_time.as_micros())
                    .execute(&mut *tx)
                    .await?;
                let Written { wake_up, .. } = self.store.enqueue_in(&mut tx, plan).await?;
                tx.commit().await?;
                Ok(wake_up)
            }

            async fn confirm(&self, order_id: &str) -> Result<bool, Failure> {
                let update = "UPDATE orders SET confirm_time = ? WHERE order_id = ? AND confirm_time IS NULL";
                let done = sqlx::query(update)
                    .bind(SystemClock::new().now().as_micros())
                    .bind(order_id)
                    .execute(&self.pool)
                    .await?;
                Ok(done.rows_affected() > 0)
            }

            async fn find(&self, order_id: &str) -> Result<Option<Order>, Failure> {
                let select = "SELECT order_id, item, task_id, create_time, confirm_time FROM orders WHERE order_id = ?";
                let row = sqlx::query_as(select).bind(order_id).fetch_optional(&self.pool).await?;
                Ok(row.map(order))
            }

            async fn newest(&self) -> Result<Vec<Order>, Failure> {
                let select = "SELECT order_id, item, task_id, create_time, confirm_time FROM orders \
                              ORDER BY order_id DESC LIMIT 100";
                let rows: Vec<Row> = sqlx::query_as(select).fetch_all(&self.pool).await?;
                Ok(rows.into_iter().map(order).collect())
            }

            async fn count(&self) -> Result<(i64, i64), Failure> {
                let select = "SELECT count(*), count(confirm_time) FROM orders";
                Ok(sqlx::query_as(select).fetch_one(&self.pool).await?)
            }
        }
    };
}

database!(Sqlite, SqliteStore, SqlitePool, "BEGIN IMMEDIATE");
database!(MySql, MySqlStore, MySqlPool, "BEGIN");
