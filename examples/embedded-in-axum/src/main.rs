//! A small service around orders: each is confirmed by a task that is enqueued in the transaction that inserts it.

mod api;
mod database;
mod failure;
mod jobs;

use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use jobcore::Engine;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// A small service around orders, with jobcore in the same process and in the same database.
#[derive(Debug, Parser)]
struct Arguments {
    /// Where orders and jobs are: a file for SQLite, or mysql://user:password@host/database
    #[arg(long, default_value = "orders.db")]
    database: String,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: String,
    /// How many seconds tasks that run have to finish, when it is stopped
    #[arg(long, default_value_t = 10)]
    patience: u64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let database = database::open(&arguments.database).await?;
    let builder = Engine::builder(database.store());
    let engine = Arc::new(jobs::handlers(builder, &database).start().await?);
    jobs::put(&engine).await?;
    let listener = TcpListener::bind(&arguments.listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    let routes = api::routes(Arc::clone(&engine), database);
    axum::serve(listener, routes)
        .with_graceful_shutdown(told_to_stop())
        .await?;
    // No request is under way any more. What runs may finish; what doesn't is handed back and goes on at the next start.
    engine.drain(Duration::from_secs(arguments.patience)).await;
    println!("drained");
    Ok(())
}

/// Returns at SIGTERM or Ctrl-C.
async fn told_to_stop() {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => drop(terminate.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminate => {}
        // Without a handler for Ctrl-C there is only SIGTERM.
        Ok(()) = tokio::signal::ctrl_c() => {}
    }
    println!("stopping");
}
