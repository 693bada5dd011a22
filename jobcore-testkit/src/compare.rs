//! Comparison: random calls on the in-memory store and on another one, which must not be told apart.
//!
//! The in-memory store is the executable specification. From a seed come calls that make sense often enough (and some
//! that don't); each is made on both stores, with the same ids and times, and after each the answers and everything
//! that can be seen must be equal. Only tokens and incarnations may be numbered otherwise.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use jobcore::memory::MemoryStore;
//! use jobcore_testkit::clock::ManualClock;
//! use jobcore_testkit::compare;
//! use jobcore_testkit::conformance::StoreUnderTest;
//! use std::sync::Arc;
//!
//! async fn fresh() -> StoreUnderTest {
//!     let clock = Arc::new(ManualClock::default());
//!     StoreUnderTest::new(Arc::new(MemoryStore::new(clock.clone()))).with_clock(clock)
//! }
//!
//! let compared = compare::run(0..3, 50, fresh).await.unwrap_or_else(|difference| panic!("{difference}"));
//! assert_eq!(compared.operations, 150);
//! # }
//! ```

mod generate;
mod names;
mod operation;
mod shrink;
mod snapshot;
mod text;

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use jobcore::clock::Clock;
use jobcore::memory::MemoryStore;
use jobcore::store::Store;

use self::generate::Generator;
use self::names::Names;
use self::operation::{Operation, apply};
use self::snapshot::{Asked, Followed, Snapshot};
use crate::clock::ManualClock;
use crate::conformance::StoreUnderTest;

/// The environment variable that takes the place of the seeds, as `A..B`: how a failure is repeated.
pub const SEEDS_VARIABLE: &str = "JOBCORE_COMPARE_SEEDS";

/// How much was compared without finding a difference.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// How many seeds.
    pub seeds: u64,
    /// How many calls.
    pub operations: u64,
}

/// A difference between the two stores.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The seed that shows it.
    pub seed: u64,
    /// How many calls the seed made until then.
    pub operations: usize,
    /// As few of these calls as were found to show a difference, the last one being where it shows.
    pub shortest: Vec<String>,
    /// What differs after the shortest sequence.
    pub what: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {} differs after {} operations",
            self.seed, self.operations
        )?;
        writeln!(f, "these are enough:")?;
        for operation in &self.shortest {
            writeln!(f, "  {operation}")?;
        }
        writeln!(f, "{}", self.what)?;
        let seed = self.seed;
        write!(
            f,
            "to repeat it, run the same test with {SEEDS_VARIABLE}={seed}..{}",
            seed + 1
        )
    }
}

impl std::error::Error for Difference {}

/// Compares `steps` calls for each seed with the in-memory store. Every seed gets a fresh store from `factory`.
///
/// A store whose clock can't be set isn't compared in what depends on it: expiry, and the store's own times.
///
/// # Errors
/// The first difference, made as short as possible.
///
/// # Panics
/// If the variable [`SEEDS_VARIABLE`] is set and isn't `A..B`.
pub async fn run<F, S>(
    seeds: Range<u64>,
    steps: usize,
    factory: impl Fn() -> F,
) -> Result<Compared, Box<Difference>>
where
    F: Future<Output = S>,
    S: Into<StoreUnderTest>,
{
    let mut compared = Compared::default();
    for seed in chosen(seeds) {
        let mut pair = Pair::new(factory().await.into()).await;
        let mut generator = Generator::new(seed, pair.clock.now(), pair.timed());
        let mut operations = Vec::new();
        while operations.len() < steps {
            let operation = generator.next(&pair.seen);
            operations.push(operation.clone());
            if let Err(what) = pair.step(operation, &generator.asked).await {
                let shortest = shrink::shrink(&operations, what, &generator.asked, &factory).await;
                return Err(Box::new(shortest.into_difference(seed, operations.len())));
            }
            compared.operations += 1;
        }
        compared.seeds += 1;
    }
    Ok(compared)
}

fn chosen(seeds: Range<u64>) -> Range<u64> {
    let Ok(text) = std::env::var(SEEDS_VARIABLE) else {
        return seeds;
    };
    let parts = text.split_once("..").map(|(from, to)| (from.parse(), to.parse()));
    match parts {
        Some((Ok(from), Ok(to))) => from..to,
        _ => panic!("{SEEDS_VARIABLE} should be A..B, is {text}"),
    }
}

/// The in-memory store and the other one, in step.
struct Pair {
    clock: Arc<ManualClock>,
    memory: Side,
    tested: StoreUnderTest,
    other: Side,
    /// What is to be seen of both.
    seen: Snapshot,
}

/// What belongs to one of the two.
struct Side {
    store: Arc<dyn Store>,
    names: Names,
    followed: Followed,
}

impl Side {
    fn new(store: Arc<dyn Store>, timed: bool) -> Self {
        Self {
            store,
            names: Names::new(timed),
            followed: Followed::default(),
        }
    }

    async fn look(&mut self, asked: &Asked) -> Result<Snapshot, String> {
        let snapshot = Snapshot::take(&*self.store, &mut self.names, asked, &mut self.followed).await;
        snapshot.map_err(|error| format!("a store can't be read: {error}"))
    }
}

impl Pair {
    async fn new(tested: StoreUnderTest) -> Self {
        let start = tested.store.now().await.expect("the store tells its time");
        let clock = Arc::new(ManualClock::new(start));
        let timed = tested.clock.is_some();
        let memory = Side::new(Arc::new(MemoryStore::new(Arc::clone(&clock) as _)), timed);
        let other = Side::new(Arc::clone(&tested.store), timed);
        let mut pair = Self {
            clock,
            memory,
            tested,
            other,
            seen: Snapshot::default(),
        };
        // Changes are followed from the beginning.
        pair.seen = pair.memory.look(&Asked::default()).await.unwrap_or_default();
        let _ = pair.other.look(&Asked::default()).await;
        pair
    }

    fn timed(&self) -> bool {
        self.tested.clock.is_some()
    }

    /// Makes a call on both, and says what differs then. A store that panics differs, too.
    async fn step(&mut self, operation: Operation, asked: &Asked) -> Result<(), String> {
        let step = AssertUnwindSafe(self.try_step(operation, asked));
        step.catch_unwind().await.unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(format!(
                "a store panicked: {}",
                text.unwrap_or("without a message")
            ))
        })
    }

    async fn try_step(&mut self, operation: Operation, asked: &Asked) -> Result<(), String> {
        if let Operation::Pass(time) = operation {
            self.clock.advance(time);
            if let Some(clock) = &self.tested.clock {
                clock.advance(time);
            }
            return Ok(());
        }
        let memory = apply(&*self.memory.store, &mut self.memory.names, operation.clone()).await;
        let other = apply(&*self.other.store, &mut self.other.names, operation).await;
        if memory != other {
            return Err(format!("answers differ:\n{}", text::difference(&memory, &other)));
        }
        self.seen = self.memory.look(asked).await?;
        let other = self.other.look(asked).await?;
        self.seen.difference(&other).map_or(Ok(()), Err)
    }
}
