//! Tests without the service that they need are skipped, but never silently.

use std::io::Write as _;

/// The environment variable that is set (to anything) where nothing may be skipped: what would be, fails.
pub const REQUIRE: &str = "JOBCORE_TEST_REQUIRE";

/// The value of an environment variable that says where a service is, such as `JOBCORE_TEST_MYSQL_URL`.
///
/// `None`: there is none; the caller returns, and its test counts as passed. Why was printed.
///
/// # Panics
/// If there is none, and [`REQUIRE`] is set, as it is in `cargo xtask test`.
#[must_use]
pub fn address(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        skip(&format!(
            "{variable} isn't set; `cargo xtask services` starts what it names"
        ));
    }
    value
}

/// Says that the calling test is skipped, and why.
///
/// # Panics
/// If [`REQUIRE`] is set, as it is in `cargo xtask test`.
pub fn skip(why: &str) {
    assert!(
        std::env::var_os(REQUIRE).is_none(),
        "nothing may be skipped where {REQUIRE} is set: {why}"
    );
    // Not `println!`, which the test harness hides when a test passes. Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "skipped: {why}");
}
