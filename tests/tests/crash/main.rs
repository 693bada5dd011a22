//! Several processes over one SQLite file, under load, killed and frozen at random; then everything must be in order.

#![expect(clippy::unwrap_used, reason = "a failure should end the test")]

mod load;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jobcore::clock::{Clock, Entropy, SeededEntropy, SystemClock, SystemEntropy};
use jobcore::config::Roles;
use jobcore::id::{JobId, TaskId};
use jobcore::{Engine, SchedulerExt};
use jobcore_sqlite::SqliteStore;
use jobcore_tests::checker::{check, summary};
use jobcore_tests::fleet::{self, Fleet, STEP};
use jobcore_tests::history::History;
use jobcore_tests::jobs::{self, SCHEDULED};
use jobcore_tests::journal::Journal;

use crate::load::{Load, job_id};

/// How long everything may take to become final once nobody is harmed any more.
const BOUND: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_killed_and_frozen_lose_and_double_nothing() {
    let seed = number("JOBCORE_CRASH_SEED").unwrap_or_else(|| SystemEntropy.next_u64());
    let seconds = number("JOBCORE_CRASH_SECONDS").unwrap_or(40);
    let replay = format!(
        "JOBCORE_CRASH_SEED={seed} JOBCORE_CRASH_SECONDS={seconds} \
         cargo test -p jobcore-tests --test crash -- --nocapture"
    );
    println!("the same chances again (the timing is the machine's): {replay}");
    let folder = tempfile::tempdir().unwrap();
    let history = Run::begin(folder.path(), seed).await.carry_out(seconds).await;
    println!("{}", summary(&history));
    let violations = check(&history);
    if !violations.is_empty() {
        let kept = folder.keep();
        panic!("{violations:#?}\nthe store and the journal are in {kept:?}\n{replay}");
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    )
}

/// A run: the fleet, and a client that submits work and watches.
struct Run {
    journal: Journal,
    fleet: Fleet,
    chance: SeededEntropy,
    load: Load,
}

impl Run {
    async fn begin(folder: &Path, seed: u64) -> Self {
        let (file, journal) = (folder.join("jobs.db"), folder.join("journal"));
        let store = Arc::new(SqliteStore::open(&file).await.unwrap());
        // It takes part in nothing: neither schedules nor carries out, and is never harmed.
        let client = Engine::builder(store)
            .configure(|config| config.roles = Roles::Executor)
            .start()
            .await
            .unwrap();
        for job in jobs::definitions(&journal) {
            client.put_job(job).await.unwrap();
        }
        let worker = Path::new(env!("CARGO_BIN_EXE_crash-worker"));
        Self {
            fleet: Fleet::start(worker, &file, &journal, 3).unwrap(),
            journal: Journal::open(&journal).unwrap(),
            chance: SeededEntropy::new(seed),
            load: Load::new(client, seed ^ 1),
        }
    }

    async fn carry_out(mut self, seconds: u64) -> History {
        let clock = SystemClock::new();
        let end = clock.now() + Duration::from_secs(seconds);
        let harm = async {
            while clock.now() < end {
                self.fleet.harm_one(&self.chance).unwrap();
                clock.sleep_until(clock.now() + STEP).await;
            }
        };
        // Beside each other: a frozen process may hold the file's lock, and the load then waits until it is woken.
        tokio::join!(harm, self.load.submit_until(end));
        self.fleet.wake_all().unwrap();
        println!("{:?}", self.fleet.harm);
        self.load.pause_schedules().await;
        let healed = clock.now();
        self.load.all_final(healed + BOUND).await;
        println!("everything was final after {:?}", clock.now().since(healed));
        self.finish(clock).await.unwrap()
    }

    async fn finish(self, clock: SystemClock) -> io::Result<History> {
        self.fleet.drain()?;
        let scheduled: Vec<JobId> = SCHEDULED.map(job_id).into();
        let history = History::read(&self.load.client, &scheduled).await.unwrap();
        let own = |task_id: &TaskId| history.finished.iter().any(|task| task.task_id == *task_id);
        // A watcher needs a moment to notice that its executor is gone.
        let mut shell_children: Vec<TaskId> = Vec::new();
        for _ in 0..20 {
            shell_children = fleet::shell_children()?
                .into_iter()
                .filter(|id| own(id))
                .collect();
            if shell_children.is_empty() {
                break;
            }
            clock.sleep_until(clock.now() + STEP).await;
        }
        Ok(History {
            journal: self.journal.read()?,
            accepted: self.load.accepted,
            seen_final: self.load.seen_final,
            shell_children,
            ..history
        })
    }
}
