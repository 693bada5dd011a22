//! What a suite gets to test.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use jobcore::store::Store;

use crate::clock::ManualClock;

/// A fresh, empty store for one case.
///
/// ```
/// # use jobcore::store::Store;
/// # use jobcore_testkit::{clock::ManualClock, conformance::StoreUnderTest};
/// # use std::sync::Arc;
/// # fn example<MyStore: Store>(open: impl Fn(Arc<ManualClock>, &str) -> MyStore) -> StoreUnderTest {
/// let clock = Arc::new(ManualClock::default());
/// let directory = String::from("a temporary directory");
/// StoreUnderTest::new(Arc::new(open(Arc::clone(&clock), &directory)))
///     .with_clock(clock) // leave it out if the store's clock can't be set: cases then wait, some 100 ms each
///     .keeping(directory) // dropped when the case is over
/// # }
/// ```
pub struct StoreUnderTest {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Option<Arc<ManualClock>>,
    keep: Vec<Box<dyn Any + Send + Sync>>,
}

impl StoreUnderTest {
    /// A store whose own clock goes by itself.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            clock: None,
            keep: Vec::new(),
        }
    }

    /// Says that the store's own clock is `clock`, so that cases about leases needn't wait.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<ManualClock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Keeps `thing` until the case is over, such as a temporary directory.
    #[must_use]
    pub fn keeping(mut self, thing: impl Any + Send + Sync) -> Self {
        self.keep.push(Box::new(thing));
        self
    }
}

impl<S: Store> From<S> for StoreUnderTest {
    fn from(store: S) -> Self {
        Self::new(Arc::new(store))
    }
}

impl fmt::Debug for StoreUnderTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreUnderTest")
            .field("store", &self.store.name())
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}
