//! A MariaDB, or a MySQL where that is what is installed.

mod program;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use uuid::Uuid;

use crate::certificate::Certificate;
use crate::port;
use crate::server::Server;
use program::Program;

/// How a server of MariaDB is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder in which it gets a new one for its data (from 120 MB on), removed with it: on a real disk where flushes
    /// count. Integration tests take `env!("CARGO_TARGET_TMPDIR")`.
    pub folder: PathBuf,
    /// Further arguments, which win over ours, such as `--lock-wait-timeout=1`. Default: none.
    pub arguments: Vec<String>,
}

impl Options {
    /// The default ones, with the data below `folder`, which is made if it is missing.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            arguments: Vec::new(),
        }
    }
}

/// A server with an empty database `jobcore_test` and a user who may do everything, other users included.
///
/// Its settings are those that a careful operator gives it, and the server's own otherwise: every commit is flushed, the
/// isolation is REPEATABLE READ. It serves TLS to who asks for it. Dropping this kills it; it also dies with this process.
#[derive(Debug)]
pub struct MariaDb {
    program: Program,
    folder: TempDir,
    certificate: Certificate,
    arguments: Vec<String>,
    password: String,
    port: u16,
    server: Option<Server>,
}

impl MariaDb {
    /// The environment variable with the [`MariaDb::url`] of the server that tests share.
    pub const URL: &str = "JOBCORE_TEST_MYSQL_URL";

    /// The environment variable with the path of its [`MariaDb::authority`].
    pub const AUTHORITY: &str = "JOBCORE_TEST_MYSQL_CA";

    /// Whether there is one to start; else a test that wants its own has to [`skip`](crate::skip).
    #[must_use]
    pub fn is_installed() -> bool {
        Program::find().is_ok()
    }

    /// Starts one on a new folder, and waits until it takes connections.
    ///
    /// # Errors
    /// `NotFound` if it isn't installed; the operating system's; with the end of its log, that it didn't start.
    pub fn start(options: Options) -> io::Result<Self> {
        let program = Program::find()?;
        std::fs::create_dir_all(&options.folder)?;
        let parent = options.folder.canonicalize()?;
        // Nobody else can read it, nor reach the socket in it.
        let folder = tempfile::Builder::new().prefix("mariadb-").tempdir_in(parent)?;
        program.make_data(folder.path())?;
        let mut started = Self {
            program,
            certificate: Certificate::make(folder.path())?,
            folder,
            arguments: options.arguments,
            // The user may write files as whoever runs the server, so no other user of this machine may guess it.
            password: Uuid::new_v4().simple().to_string(),
            port: port::free()?,
            server: None,
        };
        std::fs::write(started.accounts(), started.make_accounts())?;
        started.restart()?;
        Ok(started)
    }

    /// Where it is: `mysql://jobcore:PASSWORD@127.0.0.1:PORT/jobcore_test`. The same after a restart.
    #[must_use]
    pub fn url(&self) -> String {
        let Self { password, port, .. } = self;
        format!("mysql://jobcore:{password}@127.0.0.1:{port}/jobcore_test")
    }

    /// The file (PEM) with the certificate of the authority that vouches for the server's, for `ssl-ca`.
    #[must_use]
    pub fn authority(&self) -> &Path {
        &self.certificate.authority
    }

    /// The number of its process, to freeze it for example; `None` after it was killed or stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.server.as_ref().map(Server::pid)
    }

    /// Kills it as `kill -9` does; nothing happens if it was killed or stopped before.
    ///
    /// # Errors
    /// The operating system's.
    pub fn kill(&mut self) -> io::Result<()> {
        self.server.take().map_or(Ok(()), Server::kill)
    }

    /// Lets it end in order; nothing happens if it was killed or stopped before.
    ///
    /// # Errors
    /// The operating system's; `TimedOut` if it didn't end in a minute, and was killed.
    pub fn stop(&mut self) -> io::Result<()> {
        self.server.take().map_or(Ok(()), Server::stop)
    }

    /// Starts it again with the same data on the same port, after it was stopped, now or before, or killed.
    ///
    /// # Errors
    /// Those of [`MariaDb::stop`] and [`MariaDb::start`].
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop()?;
        let log = self.folder.path().join("log");
        self.server = Some(Server::start(self.command(), &log, "ready for connections")?);
        Ok(())
    }

    fn command(&self) -> Command {
        let mut command = self.program.server(self.folder.path());
        let path = |name: &str, path: &Path| format!("--{name}={}", path.display());
        command
            // Below the data folder: a longer path may be too long for a socket.
            .arg("--socket=mariadb.sock")
            .args(["--bind-address=127.0.0.1", "--skip-name-resolve"])
            .arg(format!("--port={}", self.port))
            .arg(path("init-file", &self.accounts()))
            .arg(path("ssl-ca", &self.certificate.authority))
            .arg(path("ssl-cert", &self.certificate.certificate))
            .arg(path("ssl-key", &self.certificate.key))
            .args(["--innodb-flush-log-at-trx-commit=1", "--skip-log-bin"])
            .args(["--innodb-buffer-pool-size=256M", "--max-connections=500"])
            .arg("--performance-schema=OFF")
            .args(&self.arguments);
        command
    }

    /// The statements that the server carries out each time before it takes connections.
    fn accounts(&self) -> PathBuf {
        self.folder.path().join("accounts.sql")
    }

    fn make_accounts(&self) -> String {
        let password = &self.password;
        format!(
            "CREATE DATABASE IF NOT EXISTS jobcore_test;\n\
             CREATE USER IF NOT EXISTS 'jobcore'@'%' IDENTIFIED BY '{password}';\n\
             GRANT ALL PRIVILEGES ON *.* TO 'jobcore'@'%' WITH GRANT OPTION;\n"
        )
    }
}
