//! Checkpoints beside the writer: they copy what was committed from the write-ahead log into the database file.
//!
//! Left to itself the connection that writes does it inside a commit, which then takes tens of milliseconds instead of
//! one. Here a connection with a thread of its own does most of it while the writer goes on; the writer's own
//! checkpoints, which it still makes when the log has become long, then find little left and begin the log anew.

use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{mpsc, oneshot};

use crate::connection::Connection;

/// After how many rows, roughly, the thread looks how long the log is.
const ROWS: usize = 2_000;

/// How many pages of the log make a checkpoint worth while. The writer begins the log anew at twice as many, so that it
/// is written over instead of growing, which makes a flush dearer.
const PAGES: i64 = 8_000;

/// Tells the thread when to checkpoint; without rows there never is a thread.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    options: Option<SqliteConnectOptions>,
    rows: usize,
    thread: Option<Thread>,
}

#[derive(Debug)]
struct Thread {
    due: mpsc::Sender<()>,
    /// Ends when the thread has closed its connection.
    closed: oneshot::Receiver<()>,
}

impl Checkpoints {
    /// With how to open the connection; `None` where there is no log.
    pub(crate) fn new(options: Option<SqliteConnectOptions>) -> Self {
        Self {
            options,
            rows: 0,
            thread: None,
        }
    }

    /// Notes that about so many rows were committed.
    pub(crate) fn committed(&mut self, rows: usize) {
        self.rows += rows;
        if self.rows < ROWS {
            return;
        }
        self.rows = 0;
        if self.thread.is_none()
            && let Some(options) = &self.options
        {
            self.thread = start(options.clone());
        }
        if let Some(thread) = &self.thread {
            // One that is due already covers this.
            let _ = thread.due.try_send(());
        }
    }

    /// Waits until the connection is closed.
    pub(crate) async fn close(&mut self) {
        if let Some(Thread { due, closed }) = self.thread.take() {
            drop(due);
            // Nothing is ever sent: the sender is dropped at the end.
            let _ = closed.await;
        }
    }
}

/// Starts the thread. Without it the writer's own checkpoints do everything.
fn start(options: SqliteConnectOptions) -> Option<Thread> {
    let (due, wait) = mpsc::channel(1);
    let (closing, closed) = oneshot::channel();
    let run = move || {
        let _closing: oneshot::Sender<()> = closing;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let result = runtime
            .map_err(sqlx::Error::Io)
            .and_then(|runtime| runtime.block_on(checkpoint(options, wait)));
        if let Err(error) = result {
            tracing::warn!(%error, "sqlite: no more checkpoints beside the writer; commits may take longer at times");
        }
    };
    let name = "jobcore-sqlite-checkpoints".to_owned();
    match std::thread::Builder::new().name(name).spawn(run) {
        Ok(_) => Some(Thread { due, closed }),
        Err(error) => {
            tracing::warn!(%error, "sqlite: no thread for checkpoints; commits may take longer at times");
            None
        }
    }
}

async fn checkpoint(options: SqliteConnectOptions, mut due: mpsc::Receiver<()>) -> Result<(), sqlx::Error> {
    let mut connection = Connection::open(&options).await?;
    while due.recv().await.is_some() {
        if let Err(error) = checkpoint_if_long(&mut connection).await {
            tracing::debug!(%error, "sqlite: a checkpoint failed; the next one does its work");
        }
    }
    connection.close().await
}

async fn checkpoint_if_long(connection: &mut Connection) -> Result<(), sqlx::Error> {
    // Tells how many pages there are, and how many of them are copied.
    let look = sqlx::query_as("PRAGMA wal_checkpoint(NOOP)");
    let (_, pages, copied): (i64, i64, i64) = look.fetch_one(&mut connection.sql).await?;
    if pages - copied >= PAGES {
        // Passive: waits for nobody, and copies what it can.
        let passive = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)");
        passive.execute(&mut connection.sql).await?;
    }
    Ok(())
}
