//! The one writer: takes every operation that waits, carries all of them out in one transaction, and answers after one
//! commit, so that they share its flush.
//!
//! It has a thread of its own, so that no handler that blocks the application's runtime holds up a heartbeat. Whoever
//! goes away while waiting changes nothing: what was queued is carried out.

use jobcore::store::InsertOutcome;
use jobcore::{Error, ErrorKind};
use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{mpsc, oneshot};

use crate::BACKEND;
use crate::checkpoints::Checkpoints;
use crate::config::SqliteConfig;
use crate::connection::{Care, Connection, Cx, Inserts, Operation};
use crate::error::{self, Failure, Result};
use crate::queries::insert::insert_new_tasks;
use crate::schema;

/// How many operations wait at the most; further callers wait for a place.
const QUEUE: usize = 1_024;

/// How many operations go into one transaction.
const MAX_OPERATIONS: usize = 256;

/// How many rows go into one transaction, roughly: some tens of milliseconds, which is what the last one waits.
const MAX_WEIGHT: usize = 4_000;

/// The way to the writer.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Box<dyn Work>>,
    /// Ends when the writer has closed the file.
    closed: oneshot::Receiver<()>,
}

impl Writer {
    /// Opens the file, brings its tables up to date, and starts the writer.
    pub(crate) async fn start(config: &SqliteConfig) -> jobcore::Result<Self> {
        let (queue, work) = mpsc::channel(QUEUE);
        let (opened, answer) = oneshot::channel();
        let config = config.clone();
        let thread = std::thread::Builder::new().name("jobcore-sqlite-writer".to_owned());
        let (closing, closed) = oneshot::channel();
        let run = move || {
            let _closing: oneshot::Sender<()> = closing;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(run(config, work, opened)),
                Err(error) => drop(opened.send(Err(no_thread(error)))),
            }
        };
        thread.spawn(run).map_err(no_thread)?;
        answer.await.map_err(|_| stopped("open"))??;
        Ok(Self { queue, closed })
    }

    /// Takes nothing more, and waits until all that was queued is written and the file is closed.
    pub(crate) async fn close(self) {
        drop(self.queue);
        // Nothing is ever sent: the sender is dropped at the end.
        let _ = self.closed.await;
    }

    /// Queues an operation and waits for its commit.
    pub(crate) async fn carry_out<O: Operation>(&self, operation: O) -> jobcore::Result<O::Answer> {
        let (reply, answer) = oneshot::channel();
        let call = Call {
            operation,
            reply,
            outcome: None,
        };
        // Takes its place in the queue when it is first polled, whatever the caller's task has done before.
        let queued = tokio::task::unconstrained(self.queue.send(Box::new(call))).await;
        queued.map_err(|_| stopped(O::NAME))?;
        // The writer answers everything that it takes; it went away only if its thread panicked.
        answer.await.map_err(|_| lost(O::NAME))?
    }
}

fn no_thread(error: std::io::Error) -> Error {
    let message = format!("the writer's thread can't start: {error}");
    Error::new(ErrorKind::Unavailable, message)
        .source(error)
        .backend(BACKEND)
}

fn stopped(operation: &'static str) -> Error {
    let message = "the store's writer has stopped; open the store again";
    Error::new(ErrorKind::Unavailable, message)
        .backend(BACKEND)
        .operation(operation)
}

fn lost(operation: &'static str) -> Error {
    let message = "the store's writer stopped before it answered";
    Error::new(ErrorKind::Indeterminate, message)
        .backend(BACKEND)
        .operation(operation)
}

/// An operation that waits for its turn, whatever its type.
#[async_trait::async_trait]
trait Work: Send + std::fmt::Debug {
    fn weight(&self) -> usize;
    fn rows(&self) -> usize;
    async fn run(&mut self, cx: &mut Cx<'_>) -> Result<()>;
    fn name(&self) -> &'static str;
    fn inserts(&self) -> Option<Inserts<'_>>;
    /// Takes the outcomes of what it inserts.
    fn inserted(&mut self, outcomes: Vec<InsertOutcome>);
    /// Answers with what [`run`](Self::run) found, or with an error.
    fn answer(self: Box<Self>, committed: jobcore::Result<()>);
}

struct Call<O: Operation> {
    operation: O,
    reply: oneshot::Sender<jobcore::Result<O::Answer>>,
    outcome: Option<O::Answer>,
}

impl<O: Operation> std::fmt::Debug for Call<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(O::NAME)
    }
}

#[async_trait::async_trait]
impl<O: Operation> Work for Call<O> {
    fn weight(&self) -> usize {
        self.operation.weight()
    }

    fn rows(&self) -> usize {
        self.operation.rows()
    }

    async fn run(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        self.outcome = Some(self.operation.run(cx).await?);
        Ok(())
    }

    fn name(&self) -> &'static str {
        O::NAME
    }

    fn inserts(&self) -> Option<Inserts<'_>> {
        self.operation.inserts()
    }

    fn inserted(&mut self, outcomes: Vec<InsertOutcome>) {
        self.outcome = self.operation.inserted(outcomes);
    }

    fn answer(self: Box<Self>, committed: jobcore::Result<()>) {
        let outcome = self.outcome;
        let answer = committed.and_then(|()| outcome.ok_or_else(|| lost(O::NAME)));
        // A caller that went away needs no answer.
        drop(self.reply.send(answer));
    }
}

async fn run(
    config: SqliteConfig,
    mut work: mpsc::Receiver<Box<dyn Work>>,
    opened: oneshot::Sender<jobcore::Result<()>>,
) {
    let connection = match schema::open(&config).await {
        Ok(connection) => connection,
        Err(error) => return drop(opened.send(Err(error))),
    };
    if opened.send(Ok(())).is_err() {
        return;
    }
    let options = config.writer_options();
    let mut actor = Actor {
        checkpoints: Checkpoints::new(config.checkpoint_options()),
        config,
        options,
        connection: Some(connection),
    };
    while let Some(first) = work.recv().await {
        let mut batch = vec![first];
        let mut weight = batch[0].weight();
        while weight < MAX_WEIGHT && batch.len() < MAX_OPERATIONS {
            let Ok(next) = work.try_recv() else { break };
            weight += next.weight();
            batch.push(next);
        }
        actor.carry_out(batch).await;
    }
    actor.checkpoints.close().await;
    if let Some(connection) = actor.connection
        && let Err(error) = connection.close().await
    {
        tracing::warn!(%error, "sqlite: the database wasn't closed cleanly; the next open recovers it");
    }
}

/// How a transaction ended that wasn't committed.
enum Undone {
    /// It couldn't begin, or one of its operations failed, and was rolled back.
    RolledBack(Failure),
    /// The commit failed.
    Commit(sqlx::Error),
}

struct Actor {
    config: SqliteConfig,
    options: SqliteConnectOptions,
    connection: Option<Connection>,
    checkpoints: Checkpoints,
}

impl Actor {
    /// Carries out a batch in one transaction; if one operation fails, each in a transaction of its own, so that the
    /// failure stays its own.
    async fn carry_out(&mut self, mut batch: Vec<Box<dyn Work>>) {
        match self.transaction(&mut batch).await {
            Err(Undone::RolledBack(Failure::Core(_))) if batch.len() > 1 => self.carry_out_each(batch).await,
            Err(Undone::RolledBack(Failure::Sql(error))) if batch.len() > 1 && !error::is_busy(&error) => {
                self.carry_out_each(batch).await;
            }
            result => answer(batch, result),
        }
    }

    async fn carry_out_each(&mut self, batch: Vec<Box<dyn Work>>) {
        for work in batch {
            let mut alone = vec![work];
            let result = self.transaction(&mut alone).await;
            answer(alone, result);
        }
    }

    async fn transaction(&mut self, batch: &mut [Box<dyn Work>]) -> Result<(), Undone> {
        let store_now = self.config.own_clock().now();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let connection = Connection::open(&self.options).await;
                none.insert(connection.map_err(|error| Undone::RolledBack(error.into()))?)
            }
        };
        let swept_to = connection.caches.swept_to.clone();
        let mut result = attempt(connection, batch, store_now, Care::Ordinary).await;
        if let Err(undone) = &result {
            // What was remembered may come from what was undone.
            connection.caches.undo(swept_to.clone());
            if let Undone::RolledBack(Failure::Stale) = undone {
                result = attempt(connection, batch, store_now, Care::Full).await;
            }
        }
        if result.is_ok() {
            self.checkpoints
                .committed(batch.iter().map(|work| work.rows()).sum());
        }
        if let Err(undone) = &result {
            connection.caches.undo(swept_to.clone());
            if needs_new_connection(undone) {
                self.connection = None;
            }
        }
        result
    }
}

async fn attempt(
    connection: &mut Connection,
    batch: &mut [Box<dyn Work>],
    store_now: jobcore::Timestamp,
    care: Care,
) -> Result<(), Undone> {
    let begin = connection.sql.begin_with("BEGIN IMMEDIATE").await;
    let mut transaction = begin.map_err(|error| Undone::RolledBack(error.into()))?;
    connection.caches.begin();
    let mut cx = Cx {
        sql: &mut transaction,
        caches: &mut connection.caches,
        store_now,
        care,
    };
    if let Err(failure) = run_all(&mut cx, batch).await {
        if let Err(error) = transaction.rollback().await {
            tracing::warn!(%error, "sqlite: a rollback failed; closing the connection undoes the same");
            return Err(Undone::RolledBack(sqlx::Error::WorkerCrashed.into()));
        }
        return Err(Undone::RolledBack(failure));
    }
    transaction.commit().await.map_err(Undone::Commit)
}

/// Carries out all operations, in order; inserts that stand side by side, as of many callers that enqueue one task each,
/// as one.
async fn run_all(cx: &mut Cx<'_>, mut batch: &mut [Box<dyn Work>]) -> Result<()> {
    while !batch.is_empty() {
        let inserts = batch.iter().take_while(|work| work.inserts().is_some()).count();
        let (now, later) = batch.split_at_mut(inserts.max(1));
        match now {
            [work] => work.run(cx).await?,
            inserts => insert_together(cx, inserts).await?,
        }
        batch = later;
    }
    Ok(())
}

async fn insert_together(cx: &mut Cx<'_>, batch: &mut [Box<dyn Work>]) -> Result<()> {
    let mut tasks = Vec::new();
    for work in &*batch {
        if let Some(inserts) = work.inserts() {
            tasks.extend(inserts.tasks.iter().map(|task| (task, inserts.now)));
        }
    }
    let mut outcomes = insert_new_tasks(cx, &tasks).await?.into_iter();
    for work in batch {
        let count = work.inserts().map_or(0, |inserts| inserts.tasks.len());
        work.inserted(outcomes.by_ref().take(count).collect());
    }
    Ok(())
}

/// A connection after a failed flush or a dead thread may see what the file doesn't have.
fn needs_new_connection(undone: &Undone) -> bool {
    match undone {
        Undone::RolledBack(Failure::Sql(error)) => error::is_lost(error),
        Undone::RolledBack(Failure::Core(_) | Failure::Stale) => false,
        Undone::Commit(_) => true,
    }
}

fn answer(batch: Vec<Box<dyn Work>>, result: Result<(), Undone>) {
    let undone = match result {
        Ok(()) => return batch.into_iter().for_each(|work| work.answer(Ok(()))),
        Err(undone) => undone,
    };
    // An error can't be cloned: the first gets it with its cause, the others get its text.
    let mut batch = batch.into_iter();
    let Some(first) = batch.next() else { return };
    let error = match undone {
        Undone::RolledBack(failure) => failure.into_error(first.name()),
        Undone::Commit(error) => error::commit_failed(error, first.name()),
    };
    for work in batch {
        let error = Error::new(error.kind(), error.message())
            .backend(BACKEND)
            .operation(work.name());
        work.answer(Err(error));
    }
    first.answer(Err(error));
}
