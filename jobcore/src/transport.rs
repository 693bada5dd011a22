//! Transports: carry tasks, control and reports between schedulers and executors that have no store.
//!
//! A transport may delay, repeat, reorder or lose anything; correctness never rests on it. The store's leases decide
//! what counts, and what was lost is found by the heartbeats, which name what an executor holds.
//!
//! ```text
//! scheduler                                            executor
//!   heartbeats(), inbox()       ◀────── heartbeats ──  join()         asks for an incarnation
//!   welcome()                   ── answer ─────────▶
//!   dispatch(address, tasks)    ── inbox ──────────▶   tasks()
//!   control(address, messages)  ── control ────────▶   control()      cancel, go, acknowledgements
//!   reports(), acknowledge()    ◀───────── reports ──  report()       started, progress, finished, returned
//!   heartbeats()                ◀────── heartbeats ──  beat()         signs of life
//!   logs(), acknowledge()       ◀──────────── logs ──  log()
//! ```
//!
//! Rules for all methods:
//!
//! - **Lanes.** Tasks, control, reports, heartbeats and logs travel apart: none waits behind another.
//! - **Batches.** At most [`MAX_BATCH`](crate::store::MAX_BATCH) messages go or come at once; the caller splits more.
//! - **Bounds.** Every lane is bounded. A full inbox refuses (`Unavailable`), so that one silent executor holds up
//!   nobody else; a full report or log lane lets the sender wait; a full heartbeat lane drops its oldest.
//! - **Cancellation.** Dropping the future of a receiving method loses nothing; of a sending one leaves it open what
//!   was sent.
//! - **Unreadable messages** never reach the caller: the backend sets them aside with the reason and counts them.

use std::time::Duration;

use async_trait::async_trait;

use crate::attempt::LogChunk;
use crate::error::Result;
use crate::json::Json;
use crate::lease::Holder;

mod message;
mod wire;

pub use message::*;

/// The scheduler's end. Each scheduler has one of its own.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Its name for errors and metrics: `memory`, `kafka`, `http`, …
    fn name(&self) -> &'static str;

    /// Chooses the inbox of an executor that wants to join. `taken` are the inboxes of those that are there.
    ///
    /// **Contract**: two executors with one inbox get more messages than are theirs, but carry out only their own. The
    /// default is right where the executor's end can be reached at once under the place that its join came from.
    ///
    /// **Conformance**: `an_answer_reaches_who_asked`.
    async fn inbox(&self, join: &JoinMessage, taken: &[Json]) -> Result<Json> {
        let _ = taken;
        Ok(join.reply_to.clone())
    }

    /// Answers a join.
    ///
    /// **Errors**: after any error the executor asks again.
    ///
    /// **Conformance**: `an_answer_reaches_who_asked`.
    async fn welcome(&self, join: &JoinMessage, answer: Joined) -> Result<()>;

    /// Sends tasks to one executor incarnation's inbox, in order. Returns when they are on their way for good (for a
    /// broker: acknowledged).
    ///
    /// **Errors**: after any error the messages may or may not arrive; the lease's `start_before` settles it.
    ///
    /// **Conformance**: `tasks_arrive_whole_and_in_order`, `an_executor_gets_only_its_own`,
    /// `messages_for_another_incarnation_are_dropped`, `another_executors_messages_are_dropped`.
    async fn dispatch(&self, to: &Address, tasks: Vec<TaskMessage>) -> Result<()>;

    /// Sends control messages, which never queue behind tasks. What is lost is made good by the next heartbeat.
    ///
    /// **Conformance**: `an_executor_gets_only_its_own`, `messages_for_another_incarnation_are_dropped`,
    /// `a_dropped_wait_loses_no_task`, `control_does_not_wait_behind_tasks`, `control_messages_arrive_whole`.
    async fn control(&self, to: &Address, messages: Vec<ControlMessage>) -> Result<()>;

    /// The next reports; waits until there are some.
    ///
    /// **Contract**: a batch that isn't [acknowledged](Self::acknowledge) comes again, to this scheduler or, when its
    /// end is gone or too slow, to another. The same report may be part of several batches. Reports of one executor
    /// come in the order sent unless they are repeated.
    ///
    /// **Concurrency**: several batches may be open at once; how many is bounded, and beyond it this waits.
    ///
    /// **Conformance**: `reports_arrive_whole`, `a_report_without_a_lease_arrives`,
    /// `reports_of_one_executor_come_in_order`, `an_open_batch_comes_again_when_its_reader_is_gone`,
    /// `schedulers_share_the_reports_and_none_is_lost`, `a_dropped_wait_loses_no_report`.
    async fn reports(&self) -> Result<Batch<Report>>;

    /// The next joins and signs of life. Waits until there are some, but at most `wait`.
    ///
    /// **Contract**: every scheduler sees all that arrive while its end lives, unless it reads too slowly; they aren't
    /// acknowledged. An answer with [`LaneEnd::Reached`] promises that everything that arrived before the call was
    /// handed out: only then may a scheduler take an executor's silence for its own.
    ///
    /// **Errors**: `Unavailable` when it can't know whether there are any.
    ///
    /// **Conformance**: `a_join_reaches_every_scheduler`, `beats_reach_every_scheduler`,
    /// `a_leave_reaches_every_scheduler`, `a_quiet_lane_says_that_it_was_read_to_its_end`,
    /// `a_dropped_wait_loses_no_heartbeat`.
    async fn heartbeats(&self, wait: Duration) -> Result<Heartbeats>;

    /// The next log chunks; waits until there are some. Handed out and acknowledged like [reports](Self::reports).
    ///
    /// **Conformance**: `a_dropped_wait_loses_no_report`, `log_chunks_arrive_whole_and_in_order`,
    /// `open_log_batches_come_again_when_their_reader_is_gone`.
    async fn logs(&self) -> Result<Batch<LogChunk>>;

    /// Acknowledges a batch of reports or logs: it need not come again. In any order; an unknown batch is ignored.
    ///
    /// **Conformance**: `an_acknowledged_batch_does_not_come_again`, `batches_are_acknowledged_in_any_order`,
    /// `schedulers_share_the_reports_and_none_is_lost`, `open_log_batches_come_again_when_their_reader_is_gone`.
    async fn acknowledge(&self, batch: BatchId) -> Result<()>;
}

/// The executor's end. Each executor node has one of its own.
#[async_trait]
pub trait ExecutorTransport: Send + Sync + 'static {
    /// Its name for errors and metrics: `memory`, `kafka`, `http`, …
    fn name(&self) -> &'static str;

    /// Asks to join, and waits for the answer.
    ///
    /// **Contract**: the answer has the join's nonce, but may be late: to an earlier join of the same process. The
    /// caller sets a limit to the wait, and asks again.
    ///
    /// **Conformance**: `a_join_reaches_every_scheduler`, `an_answer_reaches_who_asked`, `an_executor_joins_again`.
    async fn join(&self, join: Join) -> Result<Joined>;

    /// From now on receives what is sent to this address. Messages for another incarnation are dropped, also those that
    /// have arrived already.
    ///
    /// **Conformance**: `an_executor_joins_again`, `messages_for_another_incarnation_are_dropped`,
    /// `an_executor_that_joins_again_gets_nothing_old`.
    async fn open(&self, address: &Address) -> Result<()>;

    /// The next tasks; waits until there are some, also before [`open`](Self::open).
    ///
    /// **Conformance**: `tasks_arrive_whole_and_in_order`, `a_dropped_wait_loses_no_task`.
    async fn tasks(&self) -> Result<Vec<TaskMessage>>;

    /// The next control messages; waits until there are some, also before [`open`](Self::open).
    ///
    /// **Conformance**: `an_executor_gets_only_its_own`, `messages_for_another_incarnation_are_dropped`,
    /// `a_dropped_wait_loses_no_task`, `control_does_not_wait_behind_tasks`, `control_messages_arrive_whole`.
    async fn control(&self) -> Result<Vec<ControlMessage>>;

    /// Sends reports. Returns when they are on their way for good.
    ///
    /// **Errors**: after any error they may or may not arrive; sending them again is harmless.
    ///
    /// **Conformance**: `reports_arrive_whole`, `a_report_without_a_lease_arrives`,
    /// `reports_of_one_executor_come_in_order`.
    async fn report(&self, reports: Vec<Report>) -> Result<()>;

    /// Sends a sign of life.
    ///
    /// **Conformance**: `beats_reach_every_scheduler`, `beats_do_not_wait_behind_reports_and_logs`.
    async fn beat(&self, beat: Beat) -> Result<()>;

    /// Says that this incarnation goes, having handed everything back.
    ///
    /// **Conformance**: `a_leave_reaches_every_scheduler`.
    async fn leave(&self, holder: &Holder) -> Result<()>;

    /// Sends log chunks. Returns when they are on their way for good; sending them again is harmless.
    ///
    /// **Conformance**: `log_chunks_arrive_whole_and_in_order`.
    async fn log(&self, chunks: Vec<LogChunk>) -> Result<()>;
}
