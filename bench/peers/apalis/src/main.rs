//! apalis on MySQL or MariaDB, measured as `jobcore-bench throughput` measures jobcore: tasks that were enqueued before,
//! a handler that only counts, and the time until the last of them is durably done.
//!
//! The settings are meant to favour it; flags change them. Prints one JSON line.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_core::backend::poll_strategy::{IntervalStrategy, StrategyBuilder};
use apalis_mysql::{Config, MySqlPool, MySqlStorage};
use clap::Parser;
use serde_json::json;
use sqlx::Executor as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions};

const VERSION: &str = "apalis-mysql 1.0.0-rc.8";
const QUEUE: &str = "bench";

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Parser)]
struct Arguments {
    /// The server; a database of our own is made there, and dropped at the end
    #[arg(
        long,
        value_name = "URL",
        env = "JOBCORE_TEST_MYSQL_URL",
        hide_env_values = true
    )]
    mysql_url: String,
    #[arg(long, default_value_t = 20_000)]
    tasks: usize,
    /// Tasks carried out at once by each worker
    #[arg(long, default_value_t = 100)]
    concurrency: usize,
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// Tasks fetched at once
    #[arg(long, default_value_t = 1_000)]
    buffer: usize,
    #[arg(long, default_value_t = 1)]
    poll_ms: u64,
    #[arg(long, default_value_t = 50)]
    connections: u32,
    /// What isn't done by then is lost
    #[arg(long, default_value_t = 120)]
    seconds: u64,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let server: MySqlConnectOptions = arguments.mysql_url.parse()?;
    let name = format!("peer_apalis_{}", std::process::id());
    let admin = MySqlPoolOptions::new()
        .max_connections(1)
        .connect_with(server.clone())
        .await?;
    admin.execute(format!("CREATE DATABASE {name}").as_str()).await?;
    let measured = measure(server.database(&name), &arguments).await;
    admin.execute(format!("DROP DATABASE {name}").as_str()).await?;
    measured
}

async fn measure(options: MySqlConnectOptions, arguments: &Arguments) -> Result<()> {
    let pool = MySqlPoolOptions::new()
        .max_connections(arguments.connections)
        .connect_with(options)
        .await?;
    create_tables(&pool).await?;
    enqueue(&pool, arguments.tasks).await?;
    let runs = Arc::new(Runs::new(arguments.tasks));
    let begin = Instant::now();
    let workers = (0..arguments.workers)
        .map(|n| {
            tokio::spawn(work(
                pool.clone(),
                n,
                Arc::clone(&runs),
                config(arguments),
                arguments.concurrency,
            ))
        })
        .collect::<Vec<_>>();
    let took = until_done(&pool, &runs, begin, arguments).await?;
    workers.iter().for_each(|worker| worker.abort());
    let done = done(&pool).await?;
    let line = json!({
        "bench": "peer",
        "peer": "apalis",
        "version": VERSION,
        "settings": {
            "workers": arguments.workers,
            "concurrency": arguments.concurrency,
            "buffer": arguments.buffer,
            "poll_ms": arguments.poll_ms,
            "connections": arguments.connections,
        },
        "tasks": arguments.tasks,
        "tasks_per_second": (done as f64 / took.as_secs_f64()).round(),
        "duplicates": runs.duplicates(),
        "lost": arguments.tasks - done.min(runs.ran()),
    });
    println!("{line}");
    Ok(())
}

/// Its own migrations; MariaDB doesn't know the collation that they name.
async fn create_tables(pool: &MySqlPool) -> Result<()> {
    let known = sqlx::query(
        "SELECT 1 FROM information_schema.collations WHERE collation_name = 'utf8mb4_0900_ai_ci'",
    );
    let known = known.fetch_optional(pool).await?.is_some();
    for migration in MySqlStorage::migrations().iter() {
        let mut sql = migration.sql.to_string();
        if !known {
            sql = sql.replace("utf8mb4_0900_ai_ci", "utf8mb4_general_ci");
        }
        sqlx::raw_sql(&sql).execute(pool).await?;
    }
    Ok(())
}

fn config(arguments: &Arguments) -> Config {
    let interval = IntervalStrategy::new(Duration::from_millis(arguments.poll_ms));
    Config::new(QUEUE)
        .set_buffer_size(arguments.buffer)
        .with_poll_interval(StrategyBuilder::new().apply(interval).build())
}

async fn enqueue(pool: &MySqlPool, tasks: usize) -> Result<()> {
    let mut storage = MySqlStorage::new_in_queue(pool, QUEUE);
    let numbers = (0..tasks).collect::<Vec<_>>();
    for chunk in numbers.chunks(1_000) {
        storage.push_bulk(chunk.to_vec()).await?;
    }
    Ok(())
}

async fn work(pool: MySqlPool, n: usize, runs: Arc<Runs>, config: Config, concurrency: usize) {
    let worker = WorkerBuilder::new(format!("worker-{n}"))
        .backend(MySqlStorage::new_with_config(&pool, &config))
        .data(runs)
        .concurrency(concurrency)
        .build(handle);
    if let Err(error) = worker.run().await {
        eprintln!("worker {n} ended: {error}");
    }
}

async fn handle(task: usize, runs: Data<Arc<Runs>>) -> std::result::Result<(), BoxDynError> {
    runs.add(task);
    Ok(())
}

/// Waits until all ran, and only then asks the server, so as not to be in the way.
async fn until_done(
    pool: &MySqlPool,
    runs: &Runs,
    begin: Instant,
    arguments: &Arguments,
) -> Result<Duration> {
    let limit = Duration::from_secs(arguments.seconds);
    while runs.ran() < arguments.tasks && begin.elapsed() < limit {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    while done(pool).await? < arguments.tasks && begin.elapsed() < limit {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(begin.elapsed())
}

async fn done(pool: &MySqlPool) -> Result<usize> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM jobs WHERE status = 'Done'")
        .fetch_one(pool)
        .await?;
    Ok(usize::try_from(count)?)
}

/// How often each task ran.
struct Runs {
    counts: Vec<AtomicU8>,
    ran: AtomicUsize,
}

impl Runs {
    fn new(tasks: usize) -> Self {
        Self {
            counts: (0..tasks).map(|_| AtomicU8::new(0)).collect(),
            ran: AtomicUsize::new(0),
        }
    }

    fn add(&self, task: usize) {
        if self.counts[task].fetch_add(1, Relaxed) == 0 {
            self.ran.fetch_add(1, Relaxed);
        }
    }

    fn ran(&self) -> usize {
        self.ran.load(Relaxed)
    }

    fn duplicates(&self) -> u64 {
        self.counts
            .iter()
            .map(|runs| u64::from(runs.load(Relaxed).saturating_sub(1)))
            .sum()
    }
}
