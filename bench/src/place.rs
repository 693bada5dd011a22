//! Where a fresh store lies: a folder or a database that is gone with the run.

use tempfile::TempDir;

use crate::backend::{Backend, Kind};
use crate::failure::Result;
use crate::mysql::Database;

/// Room for one store. Dropping this removes what is in it.
#[derive(Debug)]
pub(crate) struct Place {
    backend: Backend,
    _kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Nothing,
    #[expect(dead_code, reason = "kept for its drop")]
    Folder(TempDir),
    #[expect(dead_code, reason = "kept for its drop")]
    Database(Database),
}

impl Place {
    /// An empty one on `backend`.
    pub(crate) async fn fresh(backend: &Backend) -> Result<Self> {
        let (folder, url) = (
            backend.folder().to_owned(),
            backend.mysql_url().map(str::to_owned),
        );
        let (folder, url, kept) = match backend.kind() {
            Kind::Memory => (folder, url, Kept::Nothing),
            Kind::Sqlite => {
                let fresh = backend.temporary()?;
                (fresh.path().to_owned(), url, Kept::Folder(fresh))
            }
            Kind::Mysql => {
                let fresh = Database::create(backend.mysql_url()).await?;
                (folder, Some(fresh.url()), Kept::Database(fresh))
            }
        };
        Ok(Self {
            backend: Backend::new(backend.kind(), folder, url),
            _kept: kept,
        })
    }

    /// The backend whose own folder or database it is.
    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }
}
