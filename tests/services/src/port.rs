//! Ports for servers that are started, ended, and started again on the same one.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where to look. Below the ports that systems give to outgoing connections: while a server is down, one of those would
/// take its port, or, by a client that tries to reach it, even connect to itself.
const FIRST: u32 = 15_000;
const COUNT: u32 = 15_000;

/// Ports that this process was given or tried.
static TRIED: AtomicU32 = AtomicU32::new(0);

/// A port on loopback that nobody listens on.
///
/// Another process could take it before the caller does; processes that start at the same time begin to look in
/// different places, so that they don't.
pub(crate) fn free() -> io::Result<u16> {
    let begin = std::process::id().wrapping_mul(101);
    for _ in 0..COUNT {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + begin.wrapping_add(tried) % COUNT;
        let port = u16::try_from(port).map_err(io::Error::other)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        "no port of loopback is free",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once_and_can_be_bound() {
        let (first, second) = (free().unwrap(), free().unwrap());
        assert_ne!(first, second);
        TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
    }
}
