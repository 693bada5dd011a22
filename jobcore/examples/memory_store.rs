//! How long the in-memory store takes for a task: insert, claim and settle of a million, in batches of 500.
//!
//! `cargo run --release -p jobcore --example memory_store`

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jobcore::attempt::AttemptStatus;
use jobcore::clock::{Clock, Entropy, SeededEntropy, SystemClock};
use jobcore::id::{ClaimId, ExecutorId, JobId, TaskId};
use jobcore::job::{Command, Delivery, JobDefinition};
use jobcore::lane::{Capability, ExecutorProfile, Lane};
use jobcore::lease::{Holder, Lease};
use jobcore::memory::MemoryStore;
use jobcore::store::{
    AttemptEnd, ClaimOutcome, ClaimRequest, Expected, JobStore, Next, PutJob, Reach, RegisterExecutor,
    Settlement, TaskStore,
};
use jobcore::task::{NewTask, Origin, TaskState};
use jobcore::{Result, Timestamp};

const TASKS: usize = 1_000_000;
const BATCH: usize = 500;
const PRIORITIES: i32 = 5;

struct Bench {
    store: MemoryStore,
    clock: Arc<SystemClock>,
    entropy: SeededEntropy,
    job_id: JobId,
    lane: Lane,
    holder: Holder,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let bench = Bench::new().await?;
    // All inserted before the first claim, then all at once in the queue: the worst case for the order of claims.
    bench.run("filled, then emptied", TASKS / BATCH).await?;
    bench.run("a few batches in the queue", 4).await
}

impl Bench {
    async fn new() -> Result<Self> {
        let clock = Arc::new(SystemClock::new());
        let store = MemoryStore::new(clock.clone());
        let capability = Capability::handler("noop")?;
        let job_id = JobId::new("noop")?;
        let executor_id = ExecutorId::new("bench")?;
        let put = PutJob {
            job_id: job_id.clone(),
            definition: JobDefinition::new("noop", Command::handler("noop")),
            expected: Expected::Any,
            next_fire_time: None,
            zone_version: String::new(),
            now: clock.now(),
        };
        let _ = store.put_jobs(vec![put]).await?;
        let registration = store
            .register_executor(RegisterExecutor {
                executor_id: executor_id.clone(),
                host: String::new(),
                port: 0,
                profile: ExecutorProfile {
                    group: "default".to_owned(),
                    capabilities: vec![capability.clone()],
                    labels: BTreeMap::new(),
                    capacity: 1_000,
                },
                reach: Reach::Direct,
                address: None,
                lease_duration: Duration::from_secs(4),
                join: None,
            })
            .await?;
        let incarnation = registration.incarnation;
        Ok(Self {
            store,
            clock,
            entropy: SeededEntropy::new(1),
            job_id,
            lane: Lane::new("default", &capability, &BTreeMap::new(), None),
            holder: Holder {
                executor_id,
                incarnation,
            },
        })
    }

    /// Sends all tasks through the store, `ahead` batches in the queue at a time.
    async fn run(&self, name: &str, ahead: usize) -> Result<()> {
        let mut spent = [0i64; 3];
        for _ in 0..TASKS / BATCH / ahead {
            for _ in 0..ahead {
                let tasks = self.tasks();
                let begin = self.clock.now();
                let outcomes = self.store.insert_tasks(tasks, begin).await?;
                spent[0] += self.clock.now().micros_since(begin);
                drop(outcomes);
            }
            for _ in 0..ahead {
                let request = self.claim_request();
                let begin = self.clock.now();
                let ClaimOutcome::Claimed(lease) = self.store.claim(request).await? else {
                    continue;
                };
                spent[1] += self.clock.now().micros_since(begin);
                let settlements = self.settlements(lease);
                let begin = self.clock.now();
                let outcomes = self.store.settle(settlements, begin).await?;
                spent[2] += self.clock.now().micros_since(begin);
                drop(outcomes);
            }
        }
        let [insert, claim, settle] = spent.map(|micros| micros as f64 / TASKS as f64);
        let sum = insert + claim + settle;
        println!(
            "{name}: insert {insert:.2}, claim {claim:.2}, settle {settle:.2}, together {sum:.2} µs a task"
        );
        Ok(())
    }

    fn tasks(&self) -> Vec<NewTask> {
        let now = self.clock.now();
        (0..BATCH).map(|_| self.task(now)).collect()
    }

    fn task(&self, now: Timestamp) -> NewTask {
        NewTask {
            task_id: TaskId::generate(now, &self.entropy),
            job_id: self.job_id.clone(),
            scheduled_for: None,
            part: 0,
            parts: 1,
            origin: Origin::Manual,
            arguments: None,
            priority: (self.entropy.next_u64() % PRIORITIES as u64) as i32,
            due_time: now,
            lane: self.lane.clone(),
            gates: Vec::new(),
            delivery: Delivery::AtLeastOnce,
            unique_key: None,
            step: None,
            create_time: now,
        }
    }

    fn claim_request(&self) -> ClaimRequest {
        let now = self.clock.now();
        ClaimRequest {
            claim_id: ClaimId::generate(now, &self.entropy),
            replay: false,
            holder: self.holder.clone(),
            lanes: vec![self.lane.clone()],
            limit: BATCH,
            max_held: None,
            start_before: None,
            now,
        }
    }

    fn settlements(&self, lease: Lease) -> Vec<Settlement> {
        let now = self.clock.now();
        let (token, holder) = (lease.token, lease.holder);
        lease
            .tasks
            .into_iter()
            .map(|claimed| Settlement {
                fence: claimed.fence(token, &holder),
                attempt: Some(AttemptEnd {
                    status: AttemptStatus::Success,
                    start_time: now,
                    end_time: now,
                    exit_code: None,
                    output: String::new(),
                    error: String::new(),
                }),
                next: Next::Final {
                    state: TaskState::Succeeded,
                    reason: None,
                },
                checkpoint: None,
            })
            .collect()
    }
}
