//! A run: a fleet of workers over one store, a client that submits work and watches, and harm done to either.

use std::io;
use std::path::Path;
use std::time::Duration;

use jobcore::clock::{Clock, Entropy, SeededEntropy, SystemClock};
use jobcore::config::Roles;
use jobcore::id::{JobId, TaskId};
use jobcore::{Engine, Result, Scheduler as _, SchedulerExt, Timestamp, Trigger};

use crate::fleet::{self, Fleet, STEP};
use crate::history::History;
use crate::jobs::{self, SCHEDULED};
use crate::journal::Journal;
use crate::load::{Load, job_id};
use crate::store;

/// How long everything may take to become final once nobody is harmed any more.
const BOUND: Duration = Duration::from_secs(60);

/// A run.
#[derive(Debug)]
pub struct Run {
    journal: Journal,
    fleet: Fleet,
    chance: SeededEntropy,
    load: Load,
    clock: SystemClock,
}

impl Run {
    /// Starts three workers of `program` over the store at `address`; what they write down goes into `folder`.
    ///
    /// # Errors
    /// The store's and the operating system's.
    pub async fn begin(
        program: &Path,
        address: &str,
        folder: &Path,
        seed: u64,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let journal = folder.join("journal");
        // It takes part in nothing: neither schedules nor carries out, and is never harmed.
        let client = Engine::builder(store::open(address).await?)
            .configure(|config| config.roles = Roles::Executor)
            .start()
            .await?;
        for job in jobs::definitions(&journal) {
            client.put_job(job).await?;
        }
        Ok(Self {
            fleet: Fleet::start(program, address, &journal, 3)?,
            journal: Journal::open(&journal)?,
            chance: SeededEntropy::new(seed),
            load: Load::new(client, seed ^ 1),
            clock: SystemClock::new(),
        })
    }

    /// Harms the workers at random for some time, under load.
    ///
    /// # Errors
    /// The operating system's; `BrokenPipe` if a worker ended that nobody killed.
    pub async fn harm_workers(&mut self, seconds: u64) -> io::Result<()> {
        let end = self.clock.now() + Duration::from_secs(seconds);
        let harm = async {
            while self.clock.now() < end {
                self.fleet.harm_one(&self.chance)?;
                self.clock.sleep_until(self.clock.now() + STEP).await;
            }
            Ok(())
        };
        // Beside each other: a frozen process may hold the file's lock, and the load then waits until it is woken.
        let (harmed, ()) = tokio::join!(harm, self.load.submit_until(end));
        harmed
    }

    /// Does something else under load, to the store's server for example. No worker may end meanwhile.
    ///
    /// # Errors
    /// `BrokenPipe` if a worker ended, which nobody killed.
    pub async fn during(&mut self, harm: impl Future<Output = ()>) -> io::Result<()> {
        tokio::select! {
            () = self.load.submit_until(Timestamp::MAX) => {}
            () = harm => {}
        }
        self.fleet.check_alive()
    }

    /// Triggers tasks that take this long, and waits until all of them have begun.
    ///
    /// # Errors
    /// The store's and the operating system's.
    pub async fn trigger_long(
        &mut self,
        count: usize,
        duration: Duration,
    ) -> Result<Vec<TaskId>, Box<dyn std::error::Error>> {
        let trigger = || Trigger::new(job_id("work")).arguments(&duration.as_secs_f64());
        let triggers = (0..count).map(|_| trigger()).collect::<Result<_>>()?;
        let made = self.load.client.trigger(triggers).await?;
        let long: Vec<TaskId> = made.iter().map(|made| made.task_id().clone()).collect();
        self.load.accepted.extend(long.iter().cloned());
        loop {
            let begun = self.journal.read()?;
            if long
                .iter()
                .all(|id| begun.iter().any(|began| began.task_id == *id))
            {
                return Ok(long);
            }
            self.clock.sleep_until(self.clock.now() + STEP / 10).await;
        }
    }

    /// Some time at random, for whoever does harm.
    pub fn chance(&self, least: Duration, most: Duration) -> Duration {
        let part = (self.chance.next_u64() % 1_000) as u32;
        least + (most - least) * part / 1_000
    }

    /// Lets everything heal and end, and reads what was recorded.
    ///
    /// # Errors
    /// The store's and the operating system's.
    pub async fn finish(mut self) -> Result<History, Box<dyn std::error::Error>> {
        self.fleet.wake_all()?;
        println!("{:?}", self.fleet.harm);
        self.load.pause_schedules().await?;
        let healed = self.clock.now();
        self.load.all_final(healed + BOUND).await?;
        println!("everything was final after {:?}", self.clock.now().since(healed));
        self.fleet.drain()?;
        let scheduled: Vec<JobId> = SCHEDULED.map(job_id).into();
        let history = History::read(&self.load.client, &scheduled).await?;
        Ok(History {
            journal: self.journal.read()?,
            accepted: self.load.accepted,
            seen_final: self.load.seen_final,
            shell_children: shell_children_of(&history, &self.clock).await?,
            ..history
        })
    }
}

/// Processes of shell attempts of these tasks. A watcher needs a moment to notice that its executor is gone.
async fn shell_children_of(history: &History, clock: &SystemClock) -> io::Result<Vec<TaskId>> {
    let own = |task_id: &TaskId| history.finished.iter().any(|task| task.task_id == *task_id);
    let mut alive: Vec<TaskId> = Vec::new();
    for _ in 0..20 {
        alive = fleet::shell_children()?
            .into_iter()
            .filter(|id| own(id))
            .collect();
        if alive.is_empty() {
            break;
        }
        clock.sleep_until(clock.now() + STEP).await;
    }
    Ok(alive)
}
