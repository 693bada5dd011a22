//! A simulated cluster: real engines over one store, in a world where time, chance and all that goes wrong come from a
//! seed.
//!
//! One seed is one world. Its processes run what they run in earnest, on paused time: engines, each over its own link to
//! one shared memory store, and executors without a store, joined with them by the wire. The world freezes, kills and
//! doubles processes, cuts them off, loses and delays their calls and answers, loses, delays, repeats and misdelivers
//! their messages, takes the store away and makes clocks jump, while people create, change and cancel work. After every
//! call that the store answers, and whenever an attempt begins or ends, the invariants are checked. At the end everything
//! is mended, and everything due must become final within a bound.
//!
//! ```text
//! executor ── wire ── engine ── link ─────────────── watched store ────────── sabotage ────── memory store
//!             late, lost,       frozen, cut, late     mirror, invariants,      a guard
//!             repeated, astray  or lost calls         trace                    switched off
//! ```
//!
//! ```
//! use jobcore_testkit::simulation::{Options, run};
//!
//! let report = run(1, &Options::default());
//! assert!(report.violations.is_empty(), "{report:?}");
//! ```

mod call;
mod chance;
mod cluster;
mod fault;
mod guard;
mod handlers;
mod invariants;
mod link;
mod mirror;
mod plan;
mod process;
mod program;
mod request;
mod sabotage;
mod time;
mod trace;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

pub use guard::Guard;

use self::cluster::Cluster;
use self::world::World;

/// How to run a seed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Print to standard error what happens.
    pub verbose: bool,
    /// The guard that is switched off; `None` (default): all are on.
    pub broken: Option<Guard>,
}

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// How many calls and events of attempts were looked at.
    pub steps: u64,
    /// How many tasks there were.
    pub tasks: u64,
    /// How often what went wrong.
    pub faults: BTreeMap<&'static str, u64>,
    /// What should never happen, and did: the first such, as what follows from it says little.
    pub violations: Vec<Violation>,
    /// A hash of all that happened: the same for the same seed.
    pub trace_hash: u64,
}

/// Something that should never happen, and did.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What should hold.
    pub invariant: &'static str,
    /// What was found.
    pub found: String,
    /// When, since the world began.
    pub at: Duration,
}

/// Runs the world of a seed.
///
/// # Panics
/// If no runtime can be made.
pub fn run(seed: u64, options: &Options) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing that could be missing");
    runtime.block_on(async {
        let world = World::new(seed, options);
        Cluster::run(world.clone()).await;
        world.result(seed)
    })
}
