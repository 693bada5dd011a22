//! Finds what is installed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nix::unistd::geteuid;

/// Where systems keep servers, which only an administrator has in the path.
const SERVERS: &[&str] = &["/usr/sbin", "/usr/local/sbin", "/usr/libexec"];

/// The server's program, and the one that makes its first tables.
#[derive(Debug)]
pub(super) struct Program {
    server: PathBuf,
    /// `None`: the server does it, as MySQL's does.
    tables: Option<PathBuf>,
}

impl Program {
    /// MariaDB's server, or else MySQL's.
    pub(super) fn find() -> io::Result<Self> {
        let server = find("mariadbd").or_else(|| find("mysqld")).ok_or_else(|| {
            let message = "there is neither a mariadbd nor a mysqld; `cargo xtask services` installs one";
            io::Error::new(io::ErrorKind::NotFound, message)
        })?;
        let version = run(Command::new(&server).args(["--no-defaults", "--version"]))?;
        if !String::from_utf8_lossy(&version.stdout).contains("MariaDB") {
            return Ok(Self { server, tables: None });
        }
        let tables = find("mariadb-install-db").or_else(|| find("mysql_install_db"));
        let missing = || io::Error::new(io::ErrorKind::NotFound, "there is no mariadb-install-db");
        Ok(Self {
            server,
            tables: Some(tables.ok_or_else(missing)?),
        })
    }

    /// The server, on the data and temporary files in this folder.
    pub(super) fn server(&self, folder: &Path) -> Command {
        on(folder, &self.server)
    }

    /// Makes the data in this folder. The administrator can come in only through the socket.
    pub(super) fn make_data(&self, folder: &Path) -> io::Result<()> {
        std::fs::create_dir(folder.join("temporary"))?;
        let mut command = on(folder, self.tables.as_ref().unwrap_or(&self.server));
        match &self.tables {
            Some(_) => command.args(["--auth-root-authentication-method=socket", "--skip-test-db"]),
            None => command.arg("--initialize-insecure"),
        };
        run(&mut command).map(|_| ())
    }
}

/// A program as both are started: without the settings of this machine, by this user, on files in this folder.
fn on(folder: &Path, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg("--no-defaults");
    if geteuid().is_root() {
        // Else they refuse to run as root.
        command.arg("--user=root");
    }
    // A server that starts removes the temporary tables that it finds, those of servers beside it included.
    command
        .env("TMPDIR", folder.join("temporary"))
        .arg(format!("--datadir={}", folder.join("data").display()));
    command
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SERVERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// Runs it to its end.
fn run(command: &mut Command) -> io::Result<Output> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(output);
    }
    let name = command.get_program().to_string_lossy();
    let said = String::from_utf8_lossy(&output.stderr);
    let all = String::from_utf8_lossy(&output.stdout);
    Err(io::Error::other(format!(
        "{name} ended with {}:\n{all}{said}",
        output.status
    )))
}
