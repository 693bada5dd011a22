//! Names of metrics and spans, in one place.
//!
//! The host chooses a recorder for the [`metrics`] facade and a subscriber for [`tracing`]; without them both cost next to
//! nothing. Names end in their unit, as Prometheus users expect. Each node counts what it does itself; the gauges of queues
//! and of the crew are measured every 10 s by nodes that schedule, so the queues' are the same on all of them.
//!
//! | metric | kind | labels | meaning |
//! |---|---|---|---|
//! | `jobcore_tasks` | gauge | `lane`, `state` | live tasks; 0 once there are none any more |
//! | `jobcore_oldest_task_seconds` | gauge | `lane`, `state` | how long the oldest of them has been due; 0 if it isn't yet |
//! | `jobcore_fires_total` | counter | | tasks that fires made |
//! | `jobcore_trigger_lag_seconds` | histogram | | from due to the start of the first attempt, on nodes with a store |
//! | `jobcore_attempts_total` | counter | `status` | attempts that ended |
//! | `jobcore_attempt_duration_seconds` | histogram | `status` | how long they took |
//! | `jobcore_claims_total` | counter | | claims that got something |
//! | `jobcore_claimed_tasks_total` | counter | | tasks that claims got |
//! | `jobcore_settle_batch_size` | histogram | | results recorded together |
//! | `jobcore_starts_total` | counter | | starts recorded by themselves |
//! | `jobcore_fenced_total` | counter | `write` | writes refused because their lease was stale |
//! | `jobcore_recovered_tasks_total` | counter | `state` | tasks taken back from lost executors, by their state now |
//! | `jobcore_lost_executors_total` | counter | | executors declared dead |
//! | `jobcore_many_silent` | gauge | | 1 while over half of the executors are silent at once |
//! | `jobcore_errors_total` | counter | `part`, `kind` | errors, by loop |
//! | `jobcore_capacity` | gauge | | how many attempts the node can carry out at once |
//! | `jobcore_running` | gauge | | how many it carries out, or has workers for |
//! | `jobcore_reports_dropped_total` | counter | `reason` | reports of remote executors that nobody could make sense of |
//! | `jobcore_purged_tasks_total` | counter | | tasks deleted from history |
//!
//! | span | fields | covers |
//! |---|---|---|
//! | `attempt` | `task_id`, `job_id`, `attempt`, `token` | one attempt, handler included |

/// Live tasks.
pub const TASKS: &str = "jobcore_tasks";
/// How long the oldest live task has been due.
pub const OLDEST_TASK: &str = "jobcore_oldest_task_seconds";
/// Tasks that fires made.
pub const FIRES: &str = "jobcore_fires_total";
/// From due to the start of the first attempt.
pub const TRIGGER_LAG: &str = "jobcore_trigger_lag_seconds";
/// Attempts that ended.
pub const ATTEMPTS: &str = "jobcore_attempts_total";
/// How long attempts took.
pub const ATTEMPT_DURATION: &str = "jobcore_attempt_duration_seconds";
/// Claims that got something.
pub const CLAIMS: &str = "jobcore_claims_total";
/// Tasks that claims got.
pub const CLAIMED_TASKS: &str = "jobcore_claimed_tasks_total";
/// Results recorded together.
pub const SETTLE_BATCH: &str = "jobcore_settle_batch_size";
/// Starts recorded by themselves.
pub const STARTS: &str = "jobcore_starts_total";
/// Writes refused because their lease was stale.
pub const FENCED: &str = "jobcore_fenced_total";
/// Tasks taken back from lost executors.
pub const RECOVERED: &str = "jobcore_recovered_tasks_total";
/// Executors declared dead.
pub const LOST_EXECUTORS: &str = "jobcore_lost_executors_total";
/// Whether over half of the executors are silent at once.
pub const MANY_SILENT: &str = "jobcore_many_silent";
/// Errors, by loop.
pub const ERRORS: &str = "jobcore_errors_total";
/// How many attempts the node can carry out at once.
pub const CAPACITY: &str = "jobcore_capacity";
/// How many attempts the node carries out.
pub const RUNNING: &str = "jobcore_running";
/// Reports of remote executors that nobody could make sense of.
pub const REPORTS_DROPPED: &str = "jobcore_reports_dropped_total";
/// Tasks deleted from history.
pub const PURGED: &str = "jobcore_purged_tasks_total";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    /// This module, and all others of the runtime, as text.
    fn sources() -> (&'static str, String) {
        let mut others = String::new();
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/runtime")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    others.push_str(&std::fs::read_to_string(path).unwrap());
                }
            }
        }
        (include_str!("telemetry.rs"), others)
    }

    #[test]
    fn the_table_names_what_is_emitted() {
        let (own, others) = sources();
        let row = |line: &'static str| line.strip_prefix("//! | `")?.split('`').next();
        let mut named: BTreeSet<&str> = own.lines().filter_map(row).collect();
        assert!(
            named.remove("attempt") && others.contains("span!(\"attempt\""),
            "the one span"
        );
        let constant = |line: &'static str| line.strip_prefix("pub const ")?.split_once(": &str = \"");
        let constants: Vec<_> = own.lines().filter_map(constant).collect();
        let values: BTreeSet<&str> = constants
            .iter()
            .map(|(_, value)| value.trim_end_matches("\";"))
            .collect();
        assert_eq!(named, values, "the table and the constants");
        let used = |name: &str| {
            let end = |rest: &str| rest.starts_with([',', ')']);
            others
                .split("telemetry::")
                .any(|rest| rest.strip_prefix(name).is_some_and(end))
        };
        let unused: Vec<_> = constants.iter().filter(|(name, _)| !used(name)).collect();
        assert!(unused.is_empty(), "nothing emits {unused:?}");
        for kind in ["counter!(", "gauge!(", "histogram!("] {
            let unnamed = others
                .split(kind)
                .skip(1)
                .find(|rest| !rest.trim_start_matches("crate::").starts_with("telemetry::"));
            assert_eq!(unnamed.map(|rest| &rest[..40]), None, "{kind} without a constant");
        }
    }
}
