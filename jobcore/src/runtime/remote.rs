//! Remote executors: processes without a database, that schedulers claim and report for.
//!
//! ```text
//! scheduler node (Dispatcher)                                 executor node (ExecutorNode)
//!   fleet: who is there, and with how much room  ◀─ beats ──  membership: joins, beats, joins anew
//!   claims on behalf, dispatches                 ── tasks ─▶  intake ─▶ ledger ─▶ attempts
//!   starts, saves, settles; then acknowledges    ◀ reports ─  outbox: resends until the store closed the lease
//!   answers, cancels                             ─ control ▶  intake
//!   appends logs                                 ◀─── logs ─  reporter
//! ```
//!
//! - The scheduler holds nothing: any scheduler may record any executor's reports and signs of life.
//! - What an executor holds is in its ledger, from the receipt of a task until the store is known to have closed the
//!   lease; it names all of that in each sign of life. What it doesn't name and was due to arrive long ago is taken
//!   back.
//! - A task message that arrives after its `start_before` is refused; one that arrives twice starts once.

mod dispatch;
mod executor_node;
mod ledger;

pub(crate) use dispatch::Dispatcher;
pub use executor_node::{ExecutorNode, ExecutorNodeBuilder, NodeState};
