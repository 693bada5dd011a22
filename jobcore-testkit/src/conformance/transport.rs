//! What [`Transport`] and [`ExecutorTransport`] promise together.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jobcore::memory::MemoryTransport;
use jobcore::transport::{ExecutorTransport, Transport};

use super::case::{Case, Report};

mod fixture;

use fixture::Fixture;

/// Makes ends that meet in one fresh, otherwise unused place: a broker with topics of their own, a server.
#[async_trait]
pub trait TransportPlace: Send + Sync + 'static {
    /// A new scheduler's end.
    async fn scheduler(&self) -> Arc<dyn Transport>;

    /// A new executor's end.
    async fn executor(&self) -> Arc<dyn ExecutorTransport>;

    /// How long a message may take before a case calls it lost. Default 10 s.
    fn patience(&self) -> Duration {
        Duration::from_secs(10)
    }

    /// How long a case waits before it believes that nothing comes. Default 50 ms; longer where the way is.
    fn quiet(&self) -> Duration {
        Duration::from_millis(50)
    }
}

#[async_trait]
impl TransportPlace for MemoryTransport {
    async fn scheduler(&self) -> Arc<dyn Transport> {
        Self::scheduler(self)
    }

    async fn executor(&self) -> Arc<dyn ExecutorTransport> {
        Self::executor(self)
    }
}

/// A fresh transport for one case.
pub struct TransportUnderTest {
    pub(crate) place: Box<dyn TransportPlace>,
    _keep: Vec<Box<dyn Any + Send + Sync>>,
}

impl TransportUnderTest {
    /// Tests what `place` makes.
    pub fn new(place: impl TransportPlace) -> Self {
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

impl<P: TransportPlace> From<P> for TransportUnderTest {
    fn from(place: P) -> Self {
        Self::new(place)
    }
}

impl fmt::Debug for TransportUnderTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransportUnderTest").finish_non_exhaustive()
    }
}

/// What [`Transport`] and [`ExecutorTransport`] promise.
pub const TRANSPORT: &[Case<TransportUnderTest>] = CASES;

/// Runs every case on a transport of its own, made by `factory`, one after the other.
pub async fn run_all<F, S>(factory: impl Fn() -> F) -> Report
where
    F: Future<Output = S>,
    S: Into<TransportUnderTest>,
{
    super::case::run_all(TRANSPORT.iter(), factory).await
}

/// Makes one test for each case.
///
/// Takes an expression that gives a future of a [`TransportPlace`] or a [`TransportUnderTest`]; it is evaluated once
/// for each test.
///
/// ```
/// # use jobcore::{clock::SystemClock, memory::MemoryTransport};
/// # use std::sync::Arc;
/// async fn fresh() -> MemoryTransport {
///     MemoryTransport::new(Arc::new(SystemClock::new()))
/// }
///
/// jobcore_testkit::transport_conformance!(fresh());
/// ```
#[macro_export]
macro_rules! transport_conformance {
    ($factory:expr) => {
        $crate::__transport_cases! { [$crate::__case_tests] [transport::TRANSPORT $factory] }
    };
}

mod joining;
mod reporting;
mod sending;

crate::__transport_cases! { [super::table::suite] [TransportUnderTest; Fixture] }

/// The table of the suite.
#[doc(hidden)]
#[macro_export]
macro_rules! __transport_cases {
    ([$($callback:tt)*] [$($argument:tt)*]) => { $($callback)* ! { [$($argument)*]
        joining {
            a_join_reaches_every_scheduler [join, heartbeats]
                "Every scheduler sees a join, whole.";
            an_answer_reaches_who_asked [join, inbox, welcome]
                "Of several that ask at once, each gets the answer to its own join.";
            an_executor_joins_again [join, open]
                "An executor's end can join a second time, and is reached under its new address.";
            beats_reach_every_scheduler [beat, heartbeats]
                "Every scheduler sees a sign of life, whole.";
            a_leave_reaches_every_scheduler [leave, heartbeats]
                "Every scheduler sees that an incarnation goes.";
            a_quiet_lane_says_that_it_was_read_to_its_end [heartbeats]
                "An answer that says so comes after everything that arrived before, also when nothing comes.";
            a_dropped_wait_loses_no_heartbeat [heartbeats]
                "Dropping a wait half-way loses nothing.";
        }
        sending {
            tasks_arrive_whole_and_in_order [dispatch, tasks]
                "Every field of a task message comes as it was sent, in the order of the dispatches.";
            an_executor_gets_only_its_own [dispatch, control]
                "What is sent to one executor doesn't reach another.";
            messages_for_another_incarnation_are_dropped [dispatch, control, open]
                "Only messages for the opened incarnation are handed out, also of those that came before.";
            another_executors_messages_are_dropped [dispatch]
                "A message for another executor in the same inbox is dropped.";
            a_dropped_wait_loses_no_task [tasks, control]
                "Dropping a wait half-way loses nothing.";
            control_does_not_wait_behind_tasks [control]
                "A control message arrives though tasks wait unread.";
            control_messages_arrive_whole [control]
                "Every control message comes as it was sent.";
            an_executor_that_joins_again_gets_nothing_old [open]
                "What waited for its former incarnation is dropped.";
        }
        reporting {
            reports_arrive_whole [report, reports]
                "Every field of every kind of report comes as it was sent.";
            a_report_without_a_lease_arrives [report, reports]
                "So does one from an executor that knows only the basic fields.";
            reports_of_one_executor_come_in_order [report, reports]
                "In the order sent, batch after batch.";
            an_open_batch_comes_again_when_its_reader_is_gone [reports]
                "What a scheduler read and didn't acknowledge before its end was dropped comes to another.";
            an_acknowledged_batch_does_not_come_again [acknowledge]
                "An acknowledged batch is gone for good; acknowledging it twice is harmless.";
            batches_are_acknowledged_in_any_order [acknowledge]
                "Several open batches are acknowledged in another order than they came in.";
            schedulers_share_the_reports_and_none_is_lost [reports, acknowledge]
                "With two schedulers that read, every report comes to one of them at least.";
            a_dropped_wait_loses_no_report [reports, logs]
                "Dropping a wait half-way loses nothing.";
            beats_do_not_wait_behind_reports_and_logs [beat]
                "A sign of life arrives though reports and logs wait unread.";
            log_chunks_arrive_whole_and_in_order [log, logs]
                "Log chunks come as they were sent.";
            open_log_batches_come_again_when_their_reader_is_gone [logs, acknowledge]
                "They are handed out like reports.";
        }
    } };
}
