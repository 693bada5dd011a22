//! Real jobs on a SQLite file in the current directory, told line by line.
//!
//! `cargo run --release -p quickstart`; press Ctrl-C, or kill it without mercy, and start it again.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use jobcore::attempt::AttemptStatus;
use jobcore::clock::{Clock, SystemClock};
use jobcore::event::{Event, Events, Received};
use jobcore::id::{ExecutorId, JobId, TaskId};
use jobcore::misfire::MisfirePolicy;
use jobcore::retry::RetryPolicy;
use jobcore::store::{PageRequest, ReadLogs, TaskFilter};
use jobcore::task::TaskState;
use jobcore::{Engine, HandlerError, JobBuilder, Scheduler, SchedulerExt, TaskContext, Timestamp, Trigger};
use jobcore_sqlite::SqliteStore;

/// Everything is in here: jobs, tasks, attempts, logs. Several processes may share the file: start a second one!
const FILE: &str = "jobcore-demo.db";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let process = format!("process-{}", std::process::id());
    println!("{}", BANNER.replace("PROCESS", &process).replace("FILE", FILE));
    let executor_id = ExecutorId::new(&process)?;
    let engine = Engine::builder(Arc::new(SqliteStore::open(FILE).await?))
        .configure(|config| config.executor_id = Some(executor_id))
        .handler("tick", tick)
        .handler("remind", remind)
        .handler("flaky", flaky)
        .handler("import", import)
        .shell()
        .start()
        .await?;
    let events = engine.subscribe();
    tell_what_waits(&engine, "found in the file").await?;
    put_jobs(&engine, &process).await?;
    // The narrator ends when the engine has stopped.
    tokio::try_join!(narrate(&engine, events), run_until_ctrl_c(&engine))?;
    tell_what_waits(&engine, "left for the next start").await
}

/// Creates the jobs, or finds them as they are: putting the same again changes nothing, so every start may do it.
async fn put_jobs(engine: &Engine, process: &str) -> jobcore::Result<()> {
    let second = Duration::from_secs(1);
    let copy = "for part in 1 2 3; do echo copying part $part of 3; sleep 1; done";
    let retry = RetryPolicy::exponential(5, second);
    for job in [
        JobBuilder::handler("tick").cron("*/2 * * * * *"),
        JobBuilder::handler("flaky").cron("3/15 * * * * *").retry(retry),
        JobBuilder::shell(copy).id("backup").cron("7/15 * * * * *"),
        JobBuilder::handler("import").cron("*/20 * * * * *"),
        JobBuilder::handler("remind"),
    ] {
        // Fires that nobody was there for are made up for by a single task, not by a burst.
        let misfire = MisfirePolicy {
            threshold: second,
            ..MisfirePolicy::default()
        };
        engine.put_job(job.misfire(misfire)).await?;
    }
    // One task by hand, for later. When `trigger_one` returns, it is in the file.
    let message = format!("{process} says hello");
    let reminder = Trigger::new(JobId::new("remind")?).arguments(&message)?;
    engine.trigger_one(reminder.after(second * 5)).await?;
    Ok(())
}

async fn tick((): (), cx: TaskContext) -> Result<String, HandlerError> {
    Ok(cx.scheduled_for().map_or(String::new(), clock))
}

async fn remind(message: String, _: TaskContext) -> Result<String, HandlerError> {
    Ok(message)
}

/// Any error makes a failed attempt; the job's retry policy says what follows.
async fn flaky((): (), cx: TaskContext) -> Result<&'static str, HandlerError> {
    match cx.attempt() {
        1 | 2 => Err(HandlerError::new("the network is down")),
        _ => Ok("the network is back"),
    }
}

/// Ten rows, one a second. What it saves reaches the attempt that follows a crash or a drain.
async fn import((): (), cx: TaskContext) -> Result<String, HandlerError> {
    let done: u32 = cx.checkpoint().map_or(Ok(0), |saved| saved.decode())?;
    cx.log(format!("goes on after row {done}")).await;
    for row in done + 1..=10 {
        tokio::select! {
            () = cx.cancelled() => return Err(HandlerError::cancelled("told to stop")),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
        cx.save_checkpoint(&row).await?;
        cx.progress(row as f32 * 10.0, format!("row {row} of 10"));
    }
    Ok(format!("rows {} to 10", done + 1))
}

async fn run_until_ctrl_c(engine: &Engine) -> Result<(), Box<dyn Error>> {
    tokio::signal::ctrl_c().await?;
    println!("\nDraining: nothing new begins; what runs has 3 seconds to finish, then it is handed back.");
    engine.drain(Duration::from_secs(3)).await;
    Ok(())
}

/// Prints what happens, until the engine has stopped. Events are hints; the details are in the store.
async fn narrate(engine: &Engine, mut events: Events) -> Result<(), Box<dyn Error>> {
    while let Some(received) = events.next().await {
        let Received::Event(event) = received else {
            continue;
        };
        match event {
            Event::Task { task_id, state, .. } => tell_task(engine, &task_id, state).await?,
            Event::Progress { task_id, progress } => {
                say(engine, &task_id, format!("{} %", progress.percent)).await?;
            }
            Event::Log {
                task_id,
                attempt,
                first_sequence,
            } => {
                let mut read = ReadLogs::new(task_id.clone(), attempt);
                read.first_sequence = first_sequence;
                for chunk in engine.read_logs(&read).await? {
                    say(engine, &task_id, format!("log: {}", chunk.text.trim_end())).await?;
                }
            }
            Event::Decision(missed) => {
                let (job, count) = (missed.job_id.as_str(), missed.count);
                println!("          {job:8} missed {count} fire(s): {}", missed.reason);
            }
            Event::ExecutorLost { executor_id: id } => println!("          {id} is dead: its lease ran out"),
            Event::Recovered { task_id, state, .. } => {
                let text = format!("recovery: taken back from the dead, now {state}");
                say(engine, &task_id, text).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

async fn tell_task(engine: &Engine, task_id: &TaskId, state: TaskState) -> Result<(), Box<dyn Error>> {
    let Some(attempt) = engine.latest_attempt(task_id).await? else {
        return Ok(());
    };
    let text = match state {
        TaskState::Running => format!("started by {}", attempt.executor_id),
        TaskState::Succeeded => format!("succeeded {}", attempt.output.trim_end().replace('\n', ", ")),
        TaskState::Scheduled => format!("failed: {}; comes back after a pause", attempt.error),
        TaskState::Ready if attempt.status == AttemptStatus::Released => "handed back".to_owned(),
        state if !state.is_final() => return Ok(()),
        state => format!("{state} {}", attempt.error),
    };
    say(engine, task_id, text).await
}

/// One line: when, which job, which attempt, what.
async fn say(engine: &Engine, task_id: &TaskId, text: String) -> Result<(), Box<dyn Error>> {
    if let Some(task) = engine.get_task(task_id).await? {
        let now = clock(SystemClock::new().now());
        let (job, attempt) = (task.job_id.as_str(), task.attempt);
        println!("{now}  {job:8} attempt {attempt}  {text}");
    }
    Ok(())
}

async fn tell_what_waits(engine: &Engine, what: &str) -> Result<(), Box<dyn Error>> {
    let (all, page) = (TaskFilter::default(), PageRequest::first(20));
    for task in engine.list_tasks(&all, &page).await?.items {
        let holder = task
            .holder
            .map(|holder| format!(", held by {}", holder.executor_id));
        let (job, state, holder) = (task.job_id.as_str(), task.state, holder.unwrap_or_default());
        println!("          {job:8} {what}: {state}{holder}");
    }
    Ok(())
}

fn clock(time: Timestamp) -> String {
    time.to_datetime().format("%H:%M:%S").to_string()
}

const BANNER: &str = "\
jobcore quickstart: this is PROCESS, and everything it knows is in ./FILE

  tick    every 2 seconds                     import  ten rows with checkpoints, every 20 seconds
  flaky   fails twice, retried with back-off  backup  a shell command with live log
  remind  once, 5 seconds from now

  Ctrl-C        drains: what runs may finish, the rest is handed back
  kill -9 it    and start it again: what was under way is recovered after its lease of 4 seconds
  look inside   sqlite3 FILE 'select * from readable_job_logs order by id desc limit 20'

Each line below: the time (UTC), the job, which attempt of its task, and what happened.
";
