//! What the server does for a call, by its own counters.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use sqlx::{AssertSqlSafe, Executor as _, MySqlConnection, Row as _};

/// What was counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Rows that were looked up or stepped to, in tables and in indexes.
    pub(crate) rows: i64,
    /// Looks at pages of tables and indexes: those at rows included that are deleted, but not gone yet.
    pub(crate) pages: i64,
    /// Results that were sorted, since no index had their order.
    pub(crate) sorts: i64,
    /// Tables that were made for results on the way.
    pub(crate) temporaries: i64,
    /// Tables, or indexes, that were read as a whole.
    pub(crate) scans: i64,
    /// The indexes that gave rows, as `TABLE.INDEX`.
    pub(crate) indexes: BTreeSet<String>,
}

/// Reads the counters of a server that does nothing else meanwhile.
#[derive(Debug)]
pub(crate) struct Meter {
    sql: MySqlConnection,
    database: String,
    /// What the counting itself costs.
    own: Cost,
}

impl Meter {
    pub(crate) async fn new(mut sql: MySqlConnection, database: &str) -> Self {
        sql.execute("SET GLOBAL userstat = 1").await.unwrap();
        let own = Cost::default();
        let mut meter = Self {
            sql,
            database: database.to_owned(),
            own,
        };
        let (_, own) = meter.cost(async {}).await;
        meter.own = own;
        meter
    }

    /// Waits for a call, and tells what it cost.
    pub(crate) async fn cost<T>(&mut self, call: impl Future<Output = T>) -> (T, Cost) {
        self.sql.execute("FLUSH INDEX_STATISTICS").await.unwrap();
        let before = self.counters().await;
        let answer = call.await;
        let after = self.counters().await;
        let counted = |names: &str| {
            let counted = before.iter().filter(|(name, _)| name.starts_with(names));
            counted.map(|(name, before)| after[name] - before).sum::<i64>()
        };
        let own = &self.own;
        let cost = Cost {
            rows: counted("Handler_read_") - own.rows,
            pages: counted("Innodb_buffer_pool_read_requests") - own.pages,
            sorts: counted("Sort_scan") + counted("Sort_range"),
            temporaries: counted("Created_tmp_tables") - own.temporaries,
            scans: counted("Select_scan") + counted("Select_full_") - own.scans,
            indexes: self.indexes().await,
        };
        (answer, cost)
    }

    async fn counters(&mut self) -> BTreeMap<String, i64> {
        let show = "SHOW GLOBAL STATUS WHERE variable_name RLIKE \
                    '^(Handler_read_|Sort_|Created_tmp_tables|Select_|Innodb_buffer_pool_read_requests)'";
        let rows = sqlx::query(show).fetch_all(&mut self.sql).await.unwrap();
        let counter = |row: &sqlx::mysql::MySqlRow| {
            let value: String = row.get(1);
            (row.get(0), value.parse().unwrap())
        };
        rows.iter().map(counter).collect()
    }

    async fn indexes(&mut self) -> BTreeSet<String> {
        let select = format!(
            "SELECT CONCAT(table_name, '.', index_name) FROM information_schema.index_statistics \
             WHERE table_schema = '{}'",
            self.database
        );
        let indexes = sqlx::query_scalar(AssertSqlSafe(select))
            .fetch_all(&mut self.sql)
            .await;
        indexes.unwrap().into_iter().collect()
    }
}
