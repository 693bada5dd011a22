//! Servers of the tests' own: each on a fresh folder and a free port of loopback, and gone with whoever started it.
//!
//! Most tests share the servers that `cargo xtask test` starts: [`address`] says where they are, and prints why a test is
//! skipped where there are none. A test that kills or restarts its server starts one of its own, such as a
//! [`mariadb::MariaDb`].
//!
//! Everything here blocks for as long as a server takes to start or stop, which is a second or two.

mod certificate;
pub mod mariadb;
mod port;
mod server;
mod skip;

pub use skip::{REQUIRE, address, skip};
