//! A MariaDB of one's own: it serves, survives a kill, and leaves nothing behind.
//!
//! They look at it from outside, by the server's greeting, so that this crate needs no client.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use jobcore_services::mariadb::{MariaDb, Options};
use jobcore_services::skip;

fn options() -> Options {
    Options::new(env!("CARGO_TARGET_TMPDIR"))
}

fn can_start() -> bool {
    if !MariaDb::is_installed() {
        skip("there is no server of MariaDB; `cargo xtask services` installs one");
    }
    MariaDb::is_installed()
}

fn connect(url: &str) -> io::Result<TcpStream> {
    let address = url.split(['@', '/']).find(|part| part.starts_with("127.0.0.1:"));
    TcpStream::connect(address.unwrap_or_default())
}

/// What the server says first: its version among others. Empty if nobody is there.
fn greeting(url: &str) -> String {
    let mut first = [0; 64];
    let read = connect(url)
        .and_then(|mut stream| stream.read(&mut first))
        .unwrap_or_default();
    String::from_utf8_lossy(&first[..read]).into_owned()
}

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[test]
fn a_server_is_killed_and_comes_back_at_the_same_place() {
    if !can_start() {
        return;
    }
    let mut database = MariaDb::start(options()).unwrap();
    let url = database.url();
    let first = database.pid().unwrap();
    assert!(!greeting(&url).is_empty());
    assert!(database.authority().is_file());
    database.kill().unwrap();
    assert_eq!((database.pid(), greeting(&url)), (None, String::new()));
    assert!(!is_alive(first));
    database.restart().unwrap();
    assert_eq!(database.url(), url);
    assert!(!greeting(&url).is_empty());
    // Of one that runs, too.
    let second = database.pid().unwrap();
    database.restart().unwrap();
    assert!(!is_alive(second));
    database.stop().unwrap();
    assert_eq!((database.pid(), greeting(&url)), (None, String::new()));
}

#[test]
fn dropping_it_kills_the_server_and_removes_its_files() {
    if !can_start() {
        return;
    }
    let database = MariaDb::start(options()).unwrap();
    let (url, pid) = (database.url(), database.pid().unwrap());
    let folder = database.authority().parent().unwrap().to_owned();
    assert!(folder.is_dir() && is_alive(pid));
    drop(database);
    assert_eq!((folder.is_dir(), is_alive(pid)), (false, false));
    assert_eq!(greeting(&url), "");
}

#[test]
fn a_server_that_does_not_start_shows_the_end_of_its_log() {
    if !can_start() {
        return;
    }
    let mut options = options();
    options.arguments.push("--no-such-setting=1".to_owned());
    let error = MariaDb::start(options).unwrap_err().to_string();
    assert!(error.contains("ended before it was ready"), "{error}");
    assert!(error.contains("no-such-setting"), "{error}");
}

#[test]
fn the_server_dies_with_the_process_that_started_it() {
    if !can_start() {
        return;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut owner = helper(folder.path()).unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let url = lines.find_map(|line| line.strip_prefix("server ").map(str::to_owned));
    let url = url.unwrap();
    let mut connection = connect(&url).unwrap();
    owner.kill().unwrap();
    owner.wait().unwrap();
    // Ends when the server does, by a reset if it hadn't read something; or after ten seconds without a login.
    let _ = connection.read_to_end(&mut Vec::new());
    assert_eq!(greeting(&url), "");
}

/// Another process of this program, which starts a server below the folder and waits to be killed.
fn helper(folder: &Path) -> io::Result<Child> {
    let name = "helpers::helper_owns_a_server";
    Command::new(std::env::current_exe()?)
        .args(["--exact", name, "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
}

const FOLDER: &str = "JOBCORE_TEST_FOLDER";

mod helpers {
    use super::*;

    #[test]
    #[ignore = "runs in a process of its own"]
    fn helper_owns_a_server() {
        let folder = std::env::var_os(FOLDER).unwrap();
        let database = MariaDb::start(Options::new(folder)).unwrap();
        println!("server {}", database.url());
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    }
}
