//! Resources: what a node says of the machine that it runs on, for people and for placement.
//!
//! A node reports with its heartbeats what a [`ResourceProbe`] reads: [`MachineProbe`] unless the host brings its own.
//! The latest report stands in [`ExecutorRecord::resources`](crate::store::ExecutorRecord::resources), as a JSON object of
//! names and whole numbers. A job may ask for an amount of a resource by its name
//! ([`Placement::resources`](crate::placement::Placement::resources)); what the tasks that an executor holds have asked
//! for is taken off what it reports, so a name that jobs ask for should be a total, such as `memory_mb`.
//!
//! ```
//! use std::collections::BTreeMap;
//! use jobcore::resources::{MachineProbe, ResourceProbe};
//!
//! /// The machine's own, and two graphics cards.
//! struct WithCards(MachineProbe);
//!
//! impl ResourceProbe for WithCards {
//!     fn read(&self) -> BTreeMap<String, u64> {
//!         let mut resources = self.0.read();
//!         resources.insert("gpus".to_owned(), 2);
//!         resources
//!     }
//! }
//! # assert_eq!(WithCards(MachineProbe::new()).read()["gpus"], 2);
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::json::Json;
use crate::lease::Incarnation;
use crate::time::Timestamp;

/// How often a node reports its resources: 10 s, which people can follow and which costs a store next to nothing. It
/// also does so with its first heartbeat after each join.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Reads what a node has and how loaded it is.
pub trait ResourceProbe: Send + Sync + 'static {
    /// What there is now, by name; the name gives the unit.
    ///
    /// **Contract**: called before a heartbeat is sent, every [`REPORT_INTERVAL`] at the most often, so it must not wait:
    /// a slow one delays the heartbeat that keeps the node's leases. What can't be read is left out.
    fn read(&self) -> BTreeMap<String, u64>;
}

/// The same numbers always: for tests, and for nodes whose share of a machine is fixed.
impl ResourceProbe for BTreeMap<String, u64> {
    fn read(&self) -> BTreeMap<String, u64> {
        self.clone()
    }
}

/// Reads the machine's processors, memory and load.
///
/// | name | meaning |
/// |---|---|
/// | `cpus` | processors that the process may use, at least 1; a container's quota counts |
/// | `cpu_used_percent` | how busy all processors of the machine were since the reading before, 0 to 100; from the second reading on |
/// | `load_percent` | load average of the last minute, 100 for each task that ran or wanted to |
/// | `memory_mb` | the machine's memory in MiB; a container's limit doesn't count |
/// | `memory_available_mb` | how much of it programs could still get, in MiB |
///
/// All but `cpus` come from `/proc`, so they are there on Linux only.
#[derive(Debug, Default)]
pub struct MachineProbe {
    before: Mutex<Option<Ticks>>,
}

/// How long all processors together were busy, and how long there was; in ticks since the machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    busy: u64,
    all: u64,
}

impl MachineProbe {
    /// A probe that has read nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn used(&self, now: Ticks) -> Option<u64> {
        let before = self.before.lock().replace(now)?;
        let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
        Some((now.busy.saturating_sub(before.busy) * 100 / all).min(100))
    }
}

impl ResourceProbe for MachineProbe {
    fn read(&self) -> BTreeMap<String, u64> {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let memory = proc("meminfo");
        let mebibytes = |name| memory_line(&memory, name).map(|kibibytes| kibibytes / 1_024);
        let read = [
            ("cpus", Some(cpus as u64)),
            (
                "cpu_used_percent",
                ticks(&proc("stat")).and_then(|now| self.used(now)),
            ),
            ("load_percent", load(&proc("loadavg"))),
            ("memory_mb", mebibytes("MemTotal:")),
            ("memory_available_mb", mebibytes("MemAvailable:")),
        ];
        let there = read
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)));
        there.collect()
    }
}

/// A file of `/proc`; empty where there is none.
fn proc(name: &str) -> String {
    std::fs::read_to_string(format!("/proc/{name}")).unwrap_or_default()
}

/// A line of `meminfo`, in KiB.
fn memory_line(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The first number of `loadavg`.
fn load(text: &str) -> Option<u64> {
    let load: f64 = text.split_whitespace().next()?.parse().ok()?;
    (load >= 0.0).then_some((load * 100.0).round() as u64)
}

/// The first line of `stat`: user, nice, system, idle, waiting for devices, interrupts, stolen; then what the first two
/// contain already.
fn ticks(text: &str) -> Option<Ticks> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let numbers: Vec<u64> = line
        .split_whitespace()
        .take(8)
        .map_while(|n| n.parse().ok())
        .collect();
    let idle: u64 = numbers.get(3..5)?.iter().sum();
    let all = numbers.iter().sum::<u64>();
    Some(Ticks {
        busy: all - idle,
        all,
    })
}

/// Says when a node's resources are to be reported, and reads them.
pub(crate) struct Reporting {
    probe: Arc<dyn ResourceProbe>,
    last: Mutex<Option<(Incarnation, Timestamp)>>,
}

impl Reporting {
    pub(crate) fn new(probe: Arc<dyn ResourceProbe>) -> Self {
        Self {
            probe,
            last: Mutex::new(None),
        }
    }

    /// What there is now.
    pub(crate) fn read(&self) -> BTreeMap<String, u64> {
        self.probe.read()
    }

    /// What the heartbeat of this incarnation should say now; `None` while the last report will do.
    pub(crate) fn report(&self, incarnation: Incarnation, now: Timestamp) -> Option<Json> {
        let mut last = self.last.lock();
        let told = last.is_some_and(|(of, time)| of == incarnation && now < time + REPORT_INTERVAL);
        if told {
            return None;
        }
        *last = Some((incarnation, now));
        // A map of numbers always has a JSON form.
        Json::encode(&self.probe.read()).ok()
    }
}

impl fmt::Debug for Reporting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporting")
            .field("last", &*self.last.lock())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_read() {
        let memory =
            "MemTotal:        8131072 kB\nMemFree:          211212 kB\nMemAvailable:    4065536 kB\n";
        assert_eq!(memory_line(memory, "MemTotal:"), Some(8_131_072));
        assert_eq!(memory_line(memory, "MemAvailable:"), Some(4_065_536));
        assert_eq!(memory_line(memory, "SwapTotal:"), None);
        assert_eq!(load("1.29 1.04 1.47 1/312 5151\n"), Some(129));
        let stat = "cpu  100 10 40 800 50 0 0 0 7 0\ncpu0 50 5 20 400 25 0 0 0 0 0\n";
        assert_eq!(
            ticks(stat),
            Some(Ticks {
                busy: 150,
                all: 1_000
            })
        );
        assert_eq!(
            (ticks(""), load(""), memory_line("", "MemTotal:")),
            (None, None, None)
        );
    }

    #[test]
    fn usage_is_that_since_the_reading_before() {
        let probe = MachineProbe::new();
        assert_eq!(
            probe.used(Ticks {
                busy: 150,
                all: 1_000
            }),
            None,
            "there is no reading before"
        );
        assert_eq!(
            probe.used(Ticks {
                busy: 200,
                all: 1_200
            }),
            Some(25)
        );
        assert_eq!(
            probe.used(Ticks {
                busy: 200,
                all: 1_200
            }),
            None,
            "no time has passed"
        );
    }

    #[test]
    fn a_report_is_due_after_a_join_and_then_now_and_then() {
        let reporting = Reporting::new(Arc::new(BTreeMap::from([("cpus".to_owned(), 2)])));
        let start = Timestamp::from_micros(1_000_000);
        let report = |incarnation, time| {
            reporting
                .report(Incarnation(incarnation), time)
                .map(|json| json.as_str().to_owned())
        };
        assert_eq!(report(1, start).as_deref(), Some(r#"{"cpus":2}"#));
        assert_eq!(report(1, start + REPORT_INTERVAL / 2), None);
        assert!(
            report(2, start + REPORT_INTERVAL / 2).is_some(),
            "a join makes the store forget"
        );
        assert_eq!(report(2, start + REPORT_INTERVAL), None);
        assert!(report(2, start + REPORT_INTERVAL * 3 / 2).is_some());
    }
}
