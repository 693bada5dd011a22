//! A process that embeds the engine and is killed or frozen by the crash tests: `crash-worker FILE JOURNAL ID`.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jobcore::Engine;
use jobcore::id::ExecutorId;
use jobcore_sqlite::SqliteStore;
use jobcore_tests::fleet::{HEARTBEAT, LEASE};
use jobcore_tests::jobs;
use jobcore_tests::journal::Journal;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, journal, id] = arguments.as_slice() else {
        return Err("usage: crash-worker FILE JOURNAL ID".into());
    };
    let store = Arc::new(SqliteStore::open(file).await?);
    let journal = Arc::new(Journal::open(Path::new(journal))?);
    let executor_id = ExecutorId::new(id)?;
    let builder = Engine::builder(store).configure(|config| {
        config.executor_id = Some(executor_id);
        config.lease_duration = LEASE;
        config.heartbeat_interval = HEARTBEAT;
        config.poll_interval = Duration::from_millis(50);
        config.capacity = 16;
    });
    let engine = jobs::register(builder, &journal).start().await?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed?,
        () = engine.stopped() => {}
    }
    engine.drain(Duration::from_secs(5)).await;
    Ok(())
}
