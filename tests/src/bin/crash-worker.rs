//! A process that embeds the engine and is killed or frozen by the crash tests: `crash-worker STORE JOURNAL ID [default]`.
//!
//! With `default` it has the engine's default settings, else short ones, so that a test sees many recoveries.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jobcore::Engine;
use jobcore::id::ExecutorId;
use jobcore_tests::fleet::{HEARTBEAT, LEASE};
use jobcore_tests::jobs;
use jobcore_tests::journal::Journal;
use jobcore_tests::store;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, journal, id, is_default) = match arguments.as_slice() {
        [address, journal, id] => (address, journal, id, false),
        [address, journal, id, settings] if settings == "default" => (address, journal, id, true),
        _ => return Err("usage: crash-worker STORE JOURNAL ID [default]".into()),
    };
    let store = store::open(address).await?;
    let journal = Arc::new(Journal::open(Path::new(journal))?);
    let executor_id = ExecutorId::new(id)?;
    let builder = Engine::builder(store).configure(|config| {
        config.executor_id = Some(executor_id);
        if is_default {
            return;
        }
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
