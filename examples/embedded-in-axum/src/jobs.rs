//! The service's jobs and their handlers.

use std::sync::Arc;
use std::time::Duration;

use jobcore::retry::RetryPolicy;
use jobcore::{Engine, EngineBuilder, HandlerError, JobBuilder, SchedulerExt as _, TaskContext};

use crate::database::Database;

/// Confirms an order. Each task is made by a request.
pub(crate) const CONFIRM: &str = "confirm";

/// Counts orders, every ten seconds.
const REPORT: &str = "report";

/// Gives the engine its handlers.
pub(crate) fn handlers(builder: EngineBuilder, database: &Arc<dyn Database>) -> EngineBuilder {
    let (for_confirm, for_report) = (Arc::clone(database), Arc::clone(database));
    builder
        .handler(CONFIRM, move |order_id, _: TaskContext| {
            confirm(Arc::clone(&for_confirm), order_id)
        })
        .handler(REPORT, move |(): (), _: TaskContext| {
            report(Arc::clone(&for_report))
        })
}

/// Creates the jobs, or finds them as they are: every start may do it.
pub(crate) async fn put(engine: &Engine) -> jobcore::Result<()> {
    let retry = RetryPolicy::exponential(5, Duration::from_secs(1));
    engine.put_job(JobBuilder::handler(CONFIRM).retry(retry)).await?;
    engine
        .put_job(JobBuilder::handler(REPORT).cron("*/10 * * * * *"))
        .await?;
    Ok(())
}

/// A real service would send a mail here. It may come to that twice if the process dies in between, so what it does for
/// an order that is confirmed already must do no harm.
async fn confirm(database: Arc<dyn Database>, order_id: String) -> Result<&'static str, HandlerError> {
    match database.confirm(&order_id).await? {
        true => Ok("confirmed"),
        false => Ok("was confirmed before"),
    }
}

async fn report(database: Arc<dyn Database>) -> Result<String, HandlerError> {
    let (orders, confirmed) = database.count().await?;
    Ok(format!("{orders} orders, {confirmed} of them confirmed"))
}
