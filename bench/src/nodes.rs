//! `throughput --nodes`: several processes that share one store and work its tasks off together.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use jobcore::config::EngineConfig;
use jobcore::job::Delivery;
use jobcore::store::{ExecutorFilter, ExecutorStatus, JobStore as _, TaskStore as _};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;

use crate::backend::{Backend, Kind};
use crate::failure::{Result, ensure};
use crate::node::{self, Account, Told};
use crate::report::{Report, rounded};
use crate::stage::{LONGEST, Stage};
use crate::throughput::{self, Verdict};
use crate::workload::{JOBS, PRIORITIES, Runs};

/// How often the store is asked for what is left, once a node is gone and can't tell what it settled last.
const LOOK: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Settings {
    tasks: usize,
    jobs: usize,
    priorities: usize,
    capacity: u32,
    claim_batch: usize,
    settle_batch: usize,
}

#[derive(Serialize)]
struct Figures {
    nodes: usize,
    tasks_per_second: f64,
    one_node_per_second: f64,
    least_share: f64,
    duplicates: u64,
    lost: u64,
    nodes_down: usize,
}

/// Prints one line.
pub(crate) async fn run(backend: &Backend, nodes: usize, tasks: usize, capacity: Option<u32>) -> Result<()> {
    let report = Report::new("throughput", backend.kind());
    ensure(
        backend.kind() != Kind::Memory,
        "processes can't share a store in memory",
    )?;
    report.progress(&format!("{tasks} tasks on one node"));
    let one = measure(backend, 1, tasks, capacity).await?;
    report.progress(&format!("{tasks} tasks on {nodes} nodes"));
    let many = measure(backend, nodes, tasks, capacity).await?;
    let defaults = EngineConfig::default();
    let settings = Settings {
        tasks,
        jobs: JOBS,
        priorities: PRIORITIES,
        capacity: capacity.unwrap_or(defaults.capacity),
        claim_batch: defaults.claim_batch,
        settle_batch: defaults.settle_batch,
    };
    let figures = Figures {
        nodes,
        tasks_per_second: many.tasks_per_second.round(),
        one_node_per_second: one.tasks_per_second.round(),
        least_share: rounded(many.least_share),
        duplicates: one.verdict.duplicates + many.verdict.duplicates,
        lost: one.verdict.lost + many.verdict.lost,
        nodes_down: one.down + many.down,
    };
    report.print(&settings, &figures)
}

struct Measured {
    tasks_per_second: f64,
    least_share: f64,
    verdict: Verdict,
    down: usize,
}

/// Enqueues `tasks` tasks, then lets `nodes` processes carry them all out.
async fn measure(backend: &Backend, nodes: usize, tasks: usize, capacity: Option<u32>) -> Result<Measured> {
    let stage = Stage::open(backend).await?;
    throughput::fill(&stage, tasks, 0, Delivery::AtLeastOnce).await?;
    let mut fleet = Fleet::start(stage.backend(), nodes, tasks, capacity).await?;
    fleet.begin().await?;
    let worked = tokio::time::timeout(LONGEST, fleet.work(&stage, tasks as u64)).await;
    worked.map_err(|_| format!("the nodes took longer than {LONGEST:?}"))??;
    let down = fleet.gone.max(nodes.saturating_sub(alive(&stage).await?));
    let accounts = fleet.end().await?;
    let runs = Runs::new(tasks);
    accounts.iter().for_each(|account| runs.add_all(&account.runs));
    let verdict = throughput::judge(&stage, &runs, tasks).await?;
    Ok(Measured {
        tasks_per_second: tasks as f64 / took(&accounts)?.as_secs_f64(),
        least_share: least_share(&verdict.settled_by, nodes, tasks),
        verdict,
        down,
    })
}

/// How many of the nodes the store holds to be alive.
async fn alive(stage: &Stage) -> Result<usize> {
    let executors = stage.store.list_executors(&ExecutorFilter::default()).await?;
    let alive = executors.iter().filter(|executor| {
        executor.executor_id.as_str().starts_with(EXECUTOR) && executor.status != ExecutorStatus::Offline
    });
    Ok(alive.count())
}

/// From the first claim of all to the last settle of all.
fn took(accounts: &[Account]) -> Result<Duration> {
    let first = accounts.iter().map(|account| account.first_claim).min();
    let last = accounts.iter().map(|account| account.last_settle).max();
    let (first, last) = first.zip(last).ok_or("all nodes are gone")?;
    Ok(Duration::from_micros(u64::try_from(last - first)?))
}

fn least_share(settled_by: &BTreeMap<String, u64>, nodes: usize, tasks: usize) -> f64 {
    let settled = |n| settled_by.get(&executor(n)).copied().unwrap_or(0);
    let least = (0..nodes).map(settled).min().unwrap_or(0);
    least as f64 / tasks as f64
}

/// What the nodes' ids begin with.
const EXECUTOR: &str = "bench-node-";

fn executor(n: usize) -> String {
    format!("{EXECUTOR}{n}")
}

/// The processes. Dropping this kills them.
struct Fleet {
    nodes: Vec<Node>,
    told: mpsc::UnboundedReceiver<(usize, Option<Told>)>,
    settled: Vec<u64>,
    gone: usize,
}

struct Node {
    process: Child,
    orders: Option<ChildStdin>,
}

impl Fleet {
    /// Starts them, and waits until each has opened the store.
    async fn start(backend: &Backend, nodes: usize, tasks: usize, capacity: Option<u32>) -> Result<Self> {
        let (teller, told) = mpsc::unbounded_channel();
        let mut fleet = Self {
            nodes: Vec::new(),
            told,
            settled: vec![0; nodes],
            gone: 0,
        };
        for n in 0..nodes {
            let mut process = command(backend, n, tasks, capacity)?.spawn()?;
            let output = process.stdout.take().ok_or("a node has no output")?;
            tokio::spawn(listen(n, BufReader::new(output).lines(), teller.clone()));
            let orders = process.stdin.take();
            fleet.nodes.push(Node { process, orders });
        }
        for _ in 0..nodes {
            let (_, told) = fleet.next().await?;
            ensure(
                matches!(told, Some(Told::Ready)),
                "a node couldn't open the store",
            )?;
        }
        Ok(fleet)
    }

    /// Lets all of them begin.
    async fn begin(&mut self) -> Result<()> {
        for orders in self.nodes.iter_mut().filter_map(|node| node.orders.as_mut()) {
            orders.write_all(b"begin\n").await?;
        }
        Ok(())
    }

    /// Waits until all tasks are settled.
    async fn work(&mut self, stage: &Stage, tasks: u64) -> Result<()> {
        let mut looks = tokio::time::interval(LOOK);
        while self.settled.iter().sum::<u64>() < tasks {
            tokio::select! {
                told = self.told.recv() => match told.ok_or("all nodes are gone")? {
                    (n, Some(Told::Settled(settled))) => self.settled[n] = settled,
                    (_, None) => self.gone += 1,
                    (_, Some(_)) => {}
                },
                _ = looks.tick(), if self.gone > 0 => if stage.store.task_counts().await?.is_empty() {
                    return Ok(());
                },
            }
        }
        Ok(())
    }

    /// Ends those that are there, and answers with what they did.
    async fn end(mut self) -> Result<Vec<Account>> {
        let mut accounts = Vec::new();
        self.nodes.iter_mut().for_each(|node| node.orders = None);
        while self.gone < self.nodes.len() {
            match self.next().await? {
                (_, Some(Told::Ended(account))) => accounts.push(account),
                (_, None) => self.gone += 1,
                (_, Some(_)) => {}
            }
        }
        for node in &mut self.nodes {
            node.process.wait().await?;
        }
        Ok(accounts)
    }

    async fn next(&mut self) -> Result<(usize, Option<Told>)> {
        Ok(self.told.recv().await.ok_or("all nodes are gone")?)
    }
}

fn command(backend: &Backend, n: usize, tasks: usize, capacity: Option<u32>) -> Result<Command> {
    let mut command = Command::from(backend.command(node::COMMAND)?);
    command
        .args(["--executor", &executor(n), "--tasks", &tasks.to_string()])
        .args(
            capacity
                .iter()
                .flat_map(|capacity| ["--capacity".to_owned(), capacity.to_string()]),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    Ok(command)
}

/// Passes on what a node tells, and at last that it is gone.
async fn listen(
    n: usize,
    mut lines: Lines<BufReader<ChildStdout>>,
    teller: mpsc::UnboundedSender<(usize, Option<Told>)>,
) {
    // Whoever doesn't listen any more doesn't miss it.
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(told) = serde_json::from_str(&line) {
            let _ = teller.send((n, Some(told)));
        }
    }
    let _ = teller.send((n, None));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_settled_nothing_has_the_least_share() {
        let settled_by = BTreeMap::from([(executor(0), 60), (executor(2), 40)]);
        assert_eq!(least_share(&settled_by, 3, 100), 0.0);
        assert_eq!(least_share(&settled_by, 1, 100), 0.6);
    }

    #[test]
    fn time_runs_from_the_first_claim_to_the_last_settle() {
        let account = |first_claim, last_settle| Account {
            first_claim,
            last_settle,
            runs: Vec::new(),
        };
        let idle = account(i64::MAX, i64::MIN);
        let accounts = [account(2_000, 5_000), idle, account(1_000, 4_000)];
        assert_eq!(took(&accounts).unwrap(), Duration::from_micros(4_000));
        assert!(took(&[]).is_err());
    }
}
