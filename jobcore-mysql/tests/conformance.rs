//! The store keeps all promises of the traits, with `SKIP LOCKED` and without, as on TiDB.

#![allow(clippy::unwrap_used, reason = "the helpers of tests may panic like the tests")]

mod support;

mod skipping {
    use super::support::{fresh, server};

    jobcore_testkit::store_conformance!(match server() {
        Some(server) => fresh(server, |config| config),
        None => return,
    });
}

mod without_skip_locked {
    use super::support::{fresh, server};

    jobcore_testkit::store_conformance!(match server() {
        Some(server) => fresh(server, |config| config.skip_locked(false)),
        None => return,
    });
}
