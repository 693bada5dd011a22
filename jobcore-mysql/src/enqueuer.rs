//! Brings together what many callers enqueue at once, so that they share a transaction and its flush.
//!
//! Nobody waits for others to come: whoever finds no one at work carries out all that waits, its own included; what comes
//! meanwhile waits for the next one.

use std::collections::VecDeque;

use jobcore::store::{InsertOutcome, MAX_BATCH};
use jobcore::task::NewTask;
use jobcore::{Error, Result, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

use crate::BACKEND;
use crate::connection::Operation as _;
use crate::database::{Database, Work};
use crate::queries::insert::InsertTasks;

/// From how many tasks on a call has a transaction of its own: it gains nothing by others', and would hold them up.
const ALONE: usize = 100;

/// What waits to be inserted.
#[derive(Debug)]
pub(crate) struct Enqueuer {
    waiting: Mutex<VecDeque<Waiting>>,
    /// One at a time: two would share what waits, and flush twice.
    turn: Semaphore,
}

#[derive(Debug)]
struct Waiting {
    tasks: Vec<(NewTask, Timestamp)>,
    reply: oneshot::Sender<Result<Vec<InsertOutcome>>>,
}

impl Default for Enqueuer {
    fn default() -> Self {
        Self {
            waiting: Mutex::default(),
            turn: Semaphore::new(1),
        }
    }
}

impl Enqueuer {
    /// Inserts tasks, together with what others insert now.
    pub(crate) async fn insert(
        &self,
        database: &Database,
        tasks: Vec<NewTask>,
        now: Timestamp,
    ) -> Result<Vec<InsertOutcome>> {
        let tasks: Vec<_> = tasks.into_iter().map(|task| (task, now)).collect();
        if tasks.len() >= ALONE {
            return database.carry_out(InsertTasks(tasks)).await;
        }
        let (reply, mut answer) = oneshot::channel();
        self.waiting.lock().push_back(Waiting { tasks, reply });
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer.unwrap_or_else(|_| Err(lost())),
                turn = self.turn.acquire() => {
                    let _turn = turn.map_err(|_| lost())?;
                    let batch = self.next_batch();
                    if !batch.is_empty() {
                        carry_out(database, batch).await;
                    }
                }
            }
        }
    }

    /// What waits, up to a batch's length.
    fn next_batch(&self) -> Vec<Waiting> {
        let mut waiting = self.waiting.lock();
        let mut batch = Vec::new();
        let mut length = 0;
        while let Some(next) = waiting.front() {
            length += next.tasks.len();
            if length > MAX_BATCH && !batch.is_empty() {
                break;
            }
            batch.extend(waiting.pop_front());
        }
        batch
    }
}

/// Carries out what several callers want, in one transaction. Whoever waits for it may go away: it goes on, and answers
/// the others.
async fn carry_out(database: &Database, batch: Vec<Waiting>) {
    let work = database.work();
    let carried_out = database.on_own_threads(InsertTasks::NAME, async move {
        insert_together(&work, batch).await;
        Ok(())
    });
    // Where the threads are gone, the callers learn it by their own answer, which never comes.
    drop(carried_out.await);
}

async fn insert_together(work: &Work, batch: Vec<Waiting>) {
    let tasks = batch
        .iter()
        .flat_map(|waiting| waiting.tasks.iter().cloned())
        .collect();
    match work.carry_out(&InsertTasks(tasks)).await {
        Ok(outcomes) => {
            let mut outcomes = outcomes.into_iter();
            for Waiting { tasks, reply } in batch {
                // A caller that went away needs no answer.
                drop(reply.send(Ok(outcomes.by_ref().take(tasks.len()).collect())));
            }
        }
        Err(error) if batch.len() == 1 || error.is_retryable() || error.is_indeterminate() => {
            fail_all(batch, error);
        }
        // Something is wrong with one of them: each by itself, so that it stays its own.
        Err(_) => {
            for Waiting { tasks, reply } in batch {
                drop(reply.send(work.carry_out(&InsertTasks(tasks)).await));
            }
        }
    }
}

/// An error can't be cloned: the first gets it with its cause, the others get its text.
fn fail_all(batch: Vec<Waiting>, error: Error) {
    let copy = |error: &Error| {
        Error::new(error.kind(), error.message())
            .backend(BACKEND)
            .operation(InsertTasks::NAME)
    };
    let mut error = error;
    for Waiting { reply, .. } in batch {
        let next = copy(&error);
        drop(reply.send(Err(std::mem::replace(&mut error, next))));
    }
}

fn lost() -> Error {
    Error::new(
        jobcore::ErrorKind::Indeterminate,
        "the store was closed before it answered",
    )
    .backend(BACKEND)
    .operation(InsertTasks::NAME)
}
