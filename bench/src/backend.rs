//! What is measured, and where its files lie.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use tempfile::TempDir;

use crate::failure::Result;

/// A backend that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The store in memory: nothing survives the process.
    Memory,
    /// The store on SQLite: every batch is flushed to the disk.
    Sqlite,
}

impl Kind {
    /// The name in the results.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
        }
    }
}

/// A backend and the folder for its files.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    kind: Kind,
    folder: PathBuf,
}

impl Backend {
    pub(crate) fn new(kind: Kind, folder: PathBuf) -> Self {
        Self { kind, folder }
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder for files of this run, deleted when it is dropped.
    pub(crate) fn temporary(&self) -> Result<TempDir> {
        let named = tempfile::Builder::new()
            .prefix("jobcore-bench-")
            .tempdir_in(&self.folder);
        named.map_err(|error| format!("no folder can be made in {}: {error}", self.folder.display()).into())
    }
}
