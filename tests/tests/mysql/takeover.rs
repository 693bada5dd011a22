//! How soon a dead node's tasks start elsewhere, at the engine's default settings.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jobcore::clock::{Clock, SystemClock};
use jobcore::config::Roles;
use jobcore::id::TaskId;
use jobcore::{Engine, Scheduler, SchedulerExt, Timestamp, Trigger};
use jobcore_tests::jobs;
use jobcore_tests::journal::Journal;
use jobcore_tests::load::job_id;
use jobcore_tests::store;

/// A node that is killed at the end, if not before.
struct Node(Child);

impl Node {
    fn start(store: &str, journal: &Path, id: &str) -> Self {
        let child = Command::new(super::worker())
            .args([
                store.as_ref(),
                journal.as_os_str(),
                id.as_ref(),
                "default".as_ref(),
            ])
            .stdin(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many tasks the node carries out when it is killed.
const TASKS: usize = 8;

/// Longer than the test: they never end by themselves.
const LONG: f64 = 60.0;

struct Scene {
    client: Engine,
    journal: Journal,
    tasks: Vec<TaskId>,
    clock: SystemClock,
}

impl Scene {
    async fn begin(store: &str, path: &Path) -> Self {
        let client = Engine::builder(store::open(store).await.unwrap())
            .configure(|config| config.roles = Roles::Executor)
            .start()
            .await
            .unwrap();
        for job in jobs::definitions(path) {
            client.put_job(job).await.unwrap();
        }
        let jobs = jobs::SCHEDULED.map(job_id);
        client
            .delete_jobs(
                jobs.map(|job_id| jobcore::store::DeleteJob {
                    job_id,
                    expected: jobcore::store::Expected::Any,
                })
                .into(),
            )
            .await
            .unwrap();
        let trigger = || Trigger::new(job_id("work")).arguments(&LONG).unwrap();
        let made = client
            .trigger((0..TASKS).map(|_| trigger()).collect())
            .await
            .unwrap();
        Self {
            client,
            journal: Journal::open(path).unwrap(),
            tasks: made.iter().map(|made| made.task_id().clone()).collect(),
            clock: SystemClock::new(),
        }
    }

    /// Waits until each task was begun this often.
    async fn begun(&self, times: usize) -> Timestamp {
        let bound = self.clock.now() + Duration::from_secs(30);
        loop {
            let journal = self.journal.read().unwrap();
            let begun = |task_id: &TaskId| journal.iter().filter(|began| began.task_id == *task_id).count();
            if self.tasks.iter().all(|task_id| begun(task_id) >= times) {
                return self.clock.now();
            }
            assert!(self.clock.now() < bound, "not begun {times} times: {journal:?}");
            super::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn end(self) {
        let tokens: HashSet<_> = self
            .journal
            .read()
            .unwrap()
            .into_iter()
            .map(|began| (began.task_id, began.token))
            .collect();
        assert_eq!(tokens.len(), 2 * TASKS, "each was begun twice, under two tokens");
        self.client.drain(Duration::ZERO).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_nodes_tasks_start_elsewhere_within_five_seconds() {
    let Some(server) = super::server() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let scene = Scene::begin(&server.url(), &path).await;
    let mut first = Node::start(&server.url(), &path, "first");
    scene.begun(1).await;
    let _second = Node::start(&server.url(), &path, "second");
    // The second one has joined when it beats.
    while scene
        .client
        .list_executors(&Default::default())
        .await
        .unwrap()
        .len()
        < 2
    {
        super::sleep(Duration::from_millis(20)).await;
    }
    first.kill();
    let killed = scene.clock.now();
    let taken_over = scene.begun(2).await.since(killed);
    println!("a killed node's tasks started elsewhere after {taken_over:?}");
    assert!(taken_over < Duration::from_secs(5), "{taken_over:?}");
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_takes_its_tasks_at_once() {
    let Some(server) = super::server() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let scene = Scene::begin(&server.url(), &path).await;
    let mut node = Node::start(&server.url(), &path, "node");
    scene.begun(1).await;
    node.kill();
    let killed = scene.clock.now();
    let _again = Node::start(&server.url(), &path, "node");
    let taken_over = scene.begun(2).await.since(killed);
    println!("a node that came back went on after {taken_over:?}");
    assert!(
        taken_over < Duration::from_secs(3),
        "less than a lease: {taken_over:?}"
    );
    scene.end().await;
}
