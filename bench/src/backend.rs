//! What is measured, and where its files lie.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use tempfile::TempDir;

use crate::failure::Result;
use crate::mysql;

/// A backend that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The store in memory: nothing survives the process.
    Memory,
    /// The store on SQLite: every batch is flushed to the disk.
    Sqlite,
    /// The store on MySQL or MariaDB: every batch is flushed to the server's disk.
    Mysql,
}

impl Kind {
    /// The name in the results.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "sqlite",
            Self::Mysql => "mysql",
        }
    }
}

/// A backend, the folder for its files, and the URL of its server.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    kind: Kind,
    folder: PathBuf,
    mysql_url: Option<String>,
}

impl Backend {
    pub(crate) fn new(kind: Kind, folder: PathBuf, mysql_url: Option<String>) -> Self {
        Self {
            kind,
            folder,
            mysql_url,
        }
    }

    pub(crate) const fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn mysql_url(&self) -> Option<&str> {
        self.mysql_url.as_deref()
    }

    /// A command of this program on this backend, for a process of its own.
    pub(crate) fn command(&self, command: &str) -> Result<Command> {
        let mut program = Command::new(std::env::current_exe()?);
        program.args([command, "--store", self.kind.as_str(), "--dir"]);
        program.arg(&self.folder);
        if let Some(url) = &self.mysql_url {
            // Everybody can read the arguments of a process, and there is a password in it.
            program.env(mysql::URL, url);
        }
        Ok(program)
    }

    /// A folder for files of this run, deleted when it is dropped.
    pub(crate) fn temporary(&self) -> Result<TempDir> {
        let named = tempfile::Builder::new()
            .prefix("jobcore-bench-")
            .tempdir_in(&self.folder);
        named.map_err(|error| format!("no folder can be made in {}: {error}", self.folder.display()).into())
    }
}
