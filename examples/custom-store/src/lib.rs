//! A store in one JSON file: the smallest whole [`Store`](jobcore::store::Store), as a template for your own.
//!
//! Every call takes the whole state, changes a copy, writes the copy to the file and then lets it take the place of the
//! old one. So each call is one transaction, and what it reports as done is durable. All searches look at everything.
//! It is slow, and it is right: `tests/conformance.rs` runs every case of `jobcore-testkit` against it.
//!
//! One process at a time may have the file open.
//!
//! | module | what |
//! |---|---|
//! | `state` | the rows, and how a task becomes final |
//! | `jobs`, `executors` | [`JobStore`](jobcore::store::JobStore) |
//! | `tasks`, `claims`, `gates`, `settlements`, `recovery`, `runs` | [`TaskStore`](jobcore::store::TaskStore) |
//! | `history` | [`HistoryStore`](jobcore::store::HistoryStore) |

mod claims;
mod executors;
mod file;
mod gates;
mod history;
mod jobs;
mod listing;
mod recovery;
mod runs;
mod settlements;
mod state;
mod tasks;

pub use file::FileStore;
