//! The store: durable truth. Correctness rests on it alone.
//!
//! A backend implements three traits, each with its own contract and conformance suite, and is then a [`Store`]:
//! [`JobStore`] (what should run, and who is there), [`TaskStore`] (what runs) and [`HistoryStore`] (what ran).
//!
//! Rules for all methods:
//!
//! - **Batches.** Methods take and return many; answers stand in the order of the requests. An empty request is
//!   answered at once. Batches are at most [`MAX_BATCH`] long; the caller splits larger ones (a longer one is refused
//!   as [`InvalidInput`](crate::ErrorKind::InvalidInput)). The items of a batch take effect one after the other, in
//!   order: a second item sees what the first one did. A `limit` outside 1 to [`MAX_BATCH`] is taken as the nearest
//!   inside.
//! - **Atomicity.** A call that changes something is one transaction: after an error other than
//!   [`Indeterminate`](crate::ErrorKind::Indeterminate) nothing was changed. What it reports as done is durable.
//! - **Races are outcomes.** A changed version, a stale token or a duplicate is a value that says so and changes
//!   nothing; the other items of the batch aren't affected.
//! - **Cancellation.** A dropped future leaves the call either wholly done or wholly undone, like an indeterminate
//!   answer.
//! - **Time.** Node time, already corrected by the store's clock, comes as an argument, except where a lease is judged
//!   (registration, heartbeat, expiry, `start_before`): there the store uses its own clock. What is due at an instant
//!   is due at or before it; what expires at an instant has expired from that instant on.
//! - **Final transitions.** However a task becomes final (settled, cancelled, skipped, poisoned, of a deleted job), in
//!   the same transaction it leaves the live tasks as [`Task::finish`](crate::task::Task::finish) says, enters the
//!   history with `end_time` being the call's `now`, is noted as a [`Change`], and, if it has a
//!   [`StepRef`](crate::task::StepRef), is appended to its run's inbox.
//! - **Gates in answers.** Where an outcome names gates before which something may pass now, it names those gates of
//!   the tasks concerned behind which, at the end of the call, a `Blocked` task waits that is due; by key, each once.
//! - **Pure rules.** Where a decision needs what only the transaction can see (gates, recovery, settling), the rule is
//!   a pure function of [`engine`](crate::engine), which stores call or match; `jobcore-testkit` compares every store
//!   with the in-memory one.
//! - **Conformance.** Each method names the cases of `jobcore-testkit` that check it; a test keeps the names true.

mod history;
mod jobs;
mod page;
mod tasks;

pub use history::*;
pub use jobs::*;
pub use page::*;
pub use tasks::*;

/// The longest batch that callers may pass to a store: bounds a transaction's time and a statement's size.
pub const MAX_BATCH: usize = 1_000;

/// A whole backend for durable truth; implemented for everything that implements its three parts.
pub trait Store: JobStore + TaskStore + HistoryStore {}

impl<T: JobStore + TaskStore + HistoryStore + ?Sized> Store for T {}
