//! An engine on a store of one's own: `cargo run -p custom-store`.

use std::sync::Arc;
use std::time::Duration;

use custom_store::FileStore;
use jobcore::clock::SystemClock;
use jobcore::scheduler::{SchedulerExt, Trigger};
use jobcore::{Engine, HandlerError, JobBuilder, TaskContext};

#[tokio::main]
async fn main() -> jobcore::Result<()> {
    let greet = |name: String, cx: TaskContext| async move {
        println!("Hello, {name}! This is task {}.", cx.task_id());
        Ok::<_, HandlerError>(())
    };
    let store = FileStore::open("custom-store.json", Arc::new(SystemClock::new()))?;
    let engine = Engine::builder(Arc::new(store))
        .handler("greet", greet)
        .start()
        .await?;
    let job = engine
        .put_job(JobBuilder::handler("greet").arguments("world"))
        .await?;
    let task_id = engine.trigger_one(Trigger::new(job.job_id.clone())).await?;
    let task = engine.wait(&task_id).await?;
    println!("It {} and is kept in custom-store.json.", task.state);
    engine.drain(Duration::from_secs(5)).await;
    Ok(())
}
