//! fang on MySQL or MariaDB, measured as `jobcore-bench throughput` measures jobcore: tasks that were enqueued before, a
//! handler that only counts, and the time until the last of them is durably done.
//!
//! The settings are meant to favour it; flags change them. Prints one JSON line.

use std::error::Error;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use clap::Parser;
use fang::{
    AsyncQueue, AsyncQueueable, AsyncRunnable, AsyncWorkerPool, FangError, RetentionMode, SleepParams,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::Executor as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};

const VERSION: &str = "fang 0.11.0";

/// fang's own, of its folder `mysql_migrations`, which the crate doesn't carry out.
const SCHEMA: &str = "
CREATE TABLE fang_tasks (
    id BINARY(16) PRIMARY KEY,
    metadata JSON NOT NULL,
    error_message TEXT,
    state ENUM('new', 'in_progress', 'failed', 'finished', 'retried') NOT NULL DEFAULT 'new',
    task_type VARCHAR(255) NOT NULL DEFAULT 'common',
    uniq_hash VARCHAR(64),
    retries INTEGER NOT NULL DEFAULT 0,
    scheduled_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    created_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    updated_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
);
CREATE INDEX fang_tasks_state_index ON fang_tasks(state);
CREATE INDEX fang_tasks_type_index ON fang_tasks(task_type);
CREATE INDEX fang_tasks_scheduled_at_index ON fang_tasks(scheduled_at);
CREATE INDEX fang_tasks_uniq_hash ON fang_tasks(uniq_hash);
";

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
    /// Each fetch sorts all that wait: more tasks are slower
    #[arg(long, default_value_t = 5_000)]
    tasks: usize,
    #[arg(long, default_value_t = 8)]
    workers: u32,
    /// How long a worker sleeps that found nothing
    #[arg(long, default_value_t = 1)]
    poll_ms: u64,
    #[arg(long, default_value_t = 32)]
    connections: u32,
    /// What isn't done by then is lost
    #[arg(long, default_value_t = 120)]
    seconds: u64,
}

static RUNS: OnceLock<Runs> = OnceLock::new();

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let server: MySqlConnectOptions = arguments.mysql_url.parse()?;
    let name = format!("peer_fang_{}", std::process::id());
    let admin = MySqlPoolOptions::new()
        .max_connections(1)
        .connect_with(server)
        .await?;
    admin.execute(format!("CREATE DATABASE {name}").as_str()).await?;
    let measured = measure(&named(&arguments.mysql_url, &name)?, &arguments).await;
    admin.execute(format!("DROP DATABASE {name}").as_str()).await?;
    measured
}

/// The URL with another database.
fn named(url: &str, name: &str) -> Result<String> {
    let (server, _) = url.rsplit_once('/').ok_or("the URL names no database")?;
    Ok(format!("{server}/{name}"))
}

async fn measure(url: &str, arguments: &Arguments) -> Result<()> {
    let pool = MySqlPool::connect(url).await?;
    sqlx::raw_sql(SCHEMA).execute(&pool).await?;
    let mut queue = AsyncQueue::builder()
        .uri(url)
        .max_pool_size(arguments.connections)
        .build();
    queue.connect().await?;
    enqueue(&queue, arguments.tasks).await?;
    let runs = RUNS.get_or_init(|| Runs::new(arguments.tasks));
    let begin = Instant::now();
    let period = Duration::from_millis(arguments.poll_ms);
    let sleep = SleepParams {
        sleep_period: period,
        max_sleep_period: period,
        min_sleep_period: period,
        sleep_step: Duration::ZERO,
    };
    AsyncWorkerPool::<AsyncQueue>::builder()
        .queue(queue)
        .number_of_workers(arguments.workers)
        .sleep_params(sleep)
        .retention_mode(RetentionMode::RemoveAll)
        .build()
        .start()
        .await;
    let took = until_done(&pool, runs, begin, arguments).await?;
    let done = arguments.tasks - left(&pool).await?;
    let line = json!({
        "bench": "peer",
        "peer": "fang",
        "version": VERSION,
        "settings": {
            "workers": arguments.workers,
            "poll_ms": arguments.poll_ms,
            "connections": arguments.connections,
            "retention": "remove all",
        },
        "tasks": arguments.tasks,
        "tasks_per_second": (done as f64 / took.as_secs_f64()).round(),
        "duplicates": runs.duplicates(),
        "lost": arguments.tasks - done.min(runs.ran()),
    });
    println!("{line}");
    Ok(())
}

/// By 32 callers at once: it has no call for many.
async fn enqueue(queue: &AsyncQueue, tasks: usize) -> Result<()> {
    let callers = (0..32).map(|caller| {
        let queue = queue.clone();
        tokio::spawn(async move {
            for number in (caller..tasks).step_by(32) {
                queue.insert_task(&Count { number }).await?;
            }
            Result::Ok(())
        })
    });
    for call in callers.collect::<Vec<_>>() {
        call.await??;
    }
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Count {
    number: usize,
}

#[typetag::serde]
#[async_trait]
impl AsyncRunnable for Count {
    async fn run(&self, _queue: &dyn AsyncQueueable) -> std::result::Result<(), FangError> {
        if let Some(runs) = RUNS.get() {
            runs.add(self.number);
        }
        Ok(())
    }
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
    while left(pool).await? > 0 && begin.elapsed() < limit {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(begin.elapsed())
}

async fn left(pool: &MySqlPool) -> Result<usize> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM fang_tasks")
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
