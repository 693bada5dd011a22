//! Opens the store that an address names, so that the same tests run over each.

use std::sync::Arc;

use jobcore::Result;
use jobcore::store::Store;
use jobcore_mysql::MySqlStore;
use jobcore_sqlite::SqliteStore;

/// Opens `mysql://…`, or a SQLite file.
///
/// # Errors
/// The store's.
pub async fn open(address: &str) -> Result<Arc<dyn Store>> {
    if address.starts_with("mysql://") {
        return Ok(Arc::new(MySqlStore::open(address).await?));
    }
    Ok(Arc::new(SqliteStore::open(address).await?))
}
