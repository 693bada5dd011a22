//! What a [`Coordinator`] promises.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jobcore::coordinator::Coordinator;
use jobcore::memory::{MemoryCoordinator, MemorySession};
use parking_lot::Mutex;

use super::case::{Case, Report};

mod fixture;

use fixture::Fixture;

/// Makes sessions in one fresh, otherwise unused place: a namespace of a cluster.
#[async_trait]
pub trait CoordinatorPlace: Send + Sync + 'static {
    /// A session of a new node.
    async fn session(&self) -> Arc<dyn Coordinator>;

    /// Loses the `n`th session that was made, as if its node hadn't been heard of for too long. `false` if that can't
    /// be done here: the cases about lost sessions then show nothing.
    async fn lose(&self, n: usize) -> bool;

    /// How long something may take before a case calls it lost. Default 20 s: a session's time-out is part of it.
    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }

    /// How long a case waits before it believes that nothing comes. Default 50 ms; longer where the way is.
    fn quiet(&self) -> Duration {
        Duration::from_millis(50)
    }
}

/// The sessions of a [`MemoryCoordinator`], for its suite.
#[derive(Debug)]
pub struct MemoryPlace {
    coordinator: MemoryCoordinator,
    sessions: Mutex<Vec<Arc<MemorySession>>>,
}

impl MemoryPlace {
    /// Sessions of this coordinator.
    pub const fn new(coordinator: MemoryCoordinator) -> Self {
        Self {
            coordinator,
            sessions: Mutex::new(Vec::new()),
        }
    }
}

#[async_trait]
impl CoordinatorPlace for MemoryPlace {
    async fn session(&self) -> Arc<dyn Coordinator> {
        let session = self.coordinator.session();
        self.sessions.lock().push(Arc::clone(&session));
        session
    }

    async fn lose(&self, n: usize) -> bool {
        let session = self.sessions.lock().get(n).cloned();
        session.inspect(|session| session.expire()).is_some()
    }
}

/// A fresh coordinator for one case.
pub struct CoordinatorUnderTest {
    pub(crate) place: Box<dyn CoordinatorPlace>,
    _keep: Vec<Box<dyn Any + Send + Sync>>,
}

impl CoordinatorUnderTest {
    /// Tests what `place` makes.
    pub fn new(place: impl CoordinatorPlace) -> Self {
        Self {
            place: Box::new(place),
            _keep: Vec::new(),
        }
    }

    /// Keeps `thing` until the case is over, such as a server.
    #[must_use]
    pub fn keeping(mut self, thing: impl Any + Send + Sync) -> Self {
        self._keep.push(Box::new(thing));
        self
    }
}

impl<P: CoordinatorPlace> From<P> for CoordinatorUnderTest {
    fn from(place: P) -> Self {
        Self::new(place)
    }
}

impl fmt::Debug for CoordinatorUnderTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoordinatorUnderTest").finish_non_exhaustive()
    }
}

/// What [`Coordinator`] promises.
pub const COORDINATOR: &[Case<CoordinatorUnderTest>] = CASES;

/// Runs every case on a coordinator of its own, made by `factory`, one after the other.
pub async fn run_all<F, S>(factory: impl Fn() -> F) -> Report
where
    F: Future<Output = S>,
    S: Into<CoordinatorUnderTest>,
{
    super::case::run_all(COORDINATOR.iter(), factory).await
}

/// Makes one test for each case.
///
/// Takes an expression that gives a future of a [`CoordinatorPlace`] or a [`CoordinatorUnderTest`]; it is evaluated
/// once for each test.
///
/// ```
/// # use jobcore::{clock::SystemClock, memory::MemoryCoordinator};
/// # use jobcore_testkit::conformance::coordinator::MemoryPlace;
/// # use std::sync::Arc;
/// async fn fresh() -> MemoryPlace {
///     MemoryPlace::new(MemoryCoordinator::new(Arc::new(SystemClock::new())))
/// }
///
/// jobcore_testkit::coordinator_conformance!(fresh());
/// ```
#[macro_export]
macro_rules! coordinator_conformance {
    ($factory:expr) => {
        $crate::__coordinator_cases! { [$crate::__case_tests] [coordinator::COORDINATOR $factory] }
    };
}

mod configuration;
mod election;
mod locks;
mod membership;

crate::__coordinator_cases! { [super::table::suite] [CoordinatorUnderTest; Fixture] }

/// The table of the suite.
#[doc(hidden)]
#[macro_export]
macro_rules! __coordinator_cases {
    ([$($callback:tt)*] [$($argument:tt)*]) => { $($callback)* ! { [$($argument)*]
        membership {
            members_are_seen_by_all [join, members]
                "Who joins a group is seen, with its data, by those who watch already and by those who come later.";
            a_member_that_goes_is_gone [join, members]
                "A dropped membership ends.";
            groups_are_apart [join, members]
                "A group has no members of another.";
            an_id_is_taken_once [join]
                "A second member with the same id is refused until the first is gone.";
            a_lost_session_loses_its_members [join, members, held]
                "A lost session ends its memberships, and their holders are told.";
        }
        election {
            one_leads_at_a_time [campaign, held]
                "While one leads, nobody else does.";
            the_next_leads_when_the_leader_goes [campaign, token]
                "When a leader gives up, a candidate leads under a higher epoch.";
            a_candidate_that_gave_up_never_leads [campaign]
                "A dropped candidacy doesn't stand in the way of others.";
            elections_are_apart [campaign]
                "Another election has its own leader.";
            a_lost_session_loses_the_leadership [campaign, token, held]
                "A lost session ends its leadership, its holder is told, and the next has a higher epoch.";
        }
        locks {
            a_lock_excludes [lock, held]
                "While one holds a lock, another gets none in its time.";
            a_freed_lock_goes_to_who_waits [lock, token]
                "A dropped lock goes to who waits, under a higher token.";
            a_wait_that_ended_takes_no_lock [lock]
                "Who waited in vain doesn't stand in the way of others.";
            locks_are_apart [lock]
                "Another lock is free.";
            a_lost_session_loses_its_locks [lock, token, held]
                "A lost session frees its locks, and their holders are told.";
        }
        configuration {
            an_unset_value_is_none [watch_config, put_config]
                "What isn't set has no value and no version.";
            a_value_reaches_those_who_watch [watch_config, put_config]
                "A written value reaches those who watch already and those who come later.";
            a_stale_write_changes_nothing [put_config]
                "A write or removal under another version answers with the present one.";
            a_removed_value_is_none [watch_config, put_config]
                "A removal under the right version reaches those who watch.";
            one_of_many_concurrent_writes_wins [put_config]
                "Of many writes under the same version at once, one counts.";
        }
    } };
}
