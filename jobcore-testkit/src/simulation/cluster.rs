//! The cluster: its nodes, whose processes are started again when they end, from chaos to healing to the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jobcore::id::ExecutorId;
use jobcore::scheduler::{Cancel, CancelTarget, ExecutorOrder, PauseRequest, Scheduler};
use jobcore::store::{Expected, PauseState};
use jobcore::{Engine, Timestamp};
use parking_lot::Mutex;

use super::chance::Chance;
use super::plan::{Event, NodePlan, Plan};
use super::process::{Caller, Identity, Process, Weather};
use super::program::Program;
use super::wire::Post;
use super::world::World;

/// How long after healing everything due must have fired.
const FIRES_WITHIN: Duration = Duration::from_secs(15);

/// After that an attempt must begin or a task become final at least this often, until none is left.
///
/// An attempt takes up to 5 s; one that kills its node costs a restart and up to two leases until the death is noticed,
/// as over half of the nodes may be silent at once; a request to cancel is enforced after up to 3 s.
const ENDS_WITHIN: Duration = Duration::from_secs(60);

/// And all of it together must be over within this time: a backlog of some hundred attempts behind a limit of one.
const ALL_ENDS_WITHIN: Duration = Duration::from_secs(4 * 3_600);

/// How late a schedule may be when all is well.
const LATE: Duration = Duration::from_secs(3);

/// A simulated cluster.
pub(super) struct Cluster {
    pub(super) world: Arc<World>,
    nodes: Vec<NodePlan>,
    climate: Post,
    slots: Mutex<Vec<Slot>>,
    healed: AtomicBool,
}

/// Where a node's processes run: the present one, and earlier ones that may still do something.
#[derive(Default)]
struct Slot {
    processes: Vec<Arc<Process>>,
    names: u32,
}

impl Cluster {
    /// Runs a seed's plan to its end.
    pub(super) async fn run(world: Arc<World>) {
        let plan = Plan::draw(&world.chance);
        let slots = plan.nodes.iter().map(|_| Slot::default()).collect();
        let cluster = Arc::new(Self {
            world: world.clone(),
            nodes: plan.nodes.clone(),
            climate: plan.climate,
            slots: Mutex::new(slots),
            healed: AtomicBool::new(false),
        });
        tokio::select! {
            biased;
            () = world.violated() => {}
            () = cluster.live(plan) => world.audit(),
        }
        cluster.end();
    }

    async fn live(self: &Arc<Self>, plan: Plan) {
        for node in 0..self.nodes.len() {
            self.start(node, Identity::New);
        }
        let begin = tokio::time::Instant::now();
        for (time, event) in plan.events {
            tokio::time::sleep_until(begin + time).await;
            match event {
                Event::Fault(fault) => fault.happen(self),
                Event::Request(request) => self.world.spawn(request.ask(self.clone())),
            }
        }
        tokio::time::sleep_until(begin + plan.heal_time).await;
        self.heal();
        self.come_to_rest().await;
    }

    /// Mends everything.
    fn heal(&self) {
        self.world.tell(|| "HEALED".to_owned());
        self.healed.store(true, Ordering::Relaxed);
        self.world.set_out(false);
        for process in self.slots.lock().iter().flat_map(|slot| &slot.processes) {
            process.freeze(false);
            process.cut(false);
            process.unplug(false);
            *process.weather.lock() = Weather::default();
            *process.post.lock() = Post::default();
        }
    }

    /// Everything due fires, then everything becomes final.
    async fn come_to_rest(&self) {
        let enabled = self.insist(FIRES_WITHIN, || self.all_enabled()).await;
        tokio::time::sleep(FIRES_WITHIN).await;
        if let Some(job) = enabled.then(|| self.late_job()).flatten() {
            self.world.report("everything due fires", job);
            return;
        }
        // What people asked for before the healing may have arrived only now.
        self.insist(FIRES_WITHIN, || self.all_enabled()).await;
        self.insist(ENDS_WITHIN, || self.all_paused()).await;
        self.insist(ENDS_WITHIN, || self.none_abandoned()).await;
        let end = tokio::time::Instant::now() + ALL_ENDS_WITHIN;
        let state = || (self.world.look(|mirror| mirror.live.len()), self.world.begun());
        let mut before = state();
        while before.0 > 0 {
            let moves = self.insist(ENDS_WITHIN, || async { state() != before }).await;
            if !moves || tokio::time::Instant::now() > end {
                let left = self
                    .world
                    .look(|mirror| mirror.live.values().cloned().collect::<Vec<_>>());
                self.world
                    .report("everything due becomes final", format!("{left:?}"));
                return;
            }
            before = state();
        }
    }

    /// Tries until it is so; says whether it ever was.
    async fn insist<F: Future<Output = bool>>(&self, within: Duration, mut done: impl FnMut() -> F) -> bool {
        let end = tokio::time::Instant::now() + within;
        while tokio::time::Instant::now() < end {
            let round = tokio::time::timeout(Duration::from_secs(2), done());
            if round.await.unwrap_or(false) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        false
    }

    async fn all_enabled(&self) -> bool {
        let Some(engine) = self.some_engine() else {
            return false;
        };
        for executor_id in self.executors() {
            if engine
                .order_executor(&executor_id, ExecutorOrder::Enable)
                .await
                .is_err()
            {
                return false;
            }
        }
        true
    }

    async fn all_paused(&self) -> bool {
        let Some(engine) = self.some_engine() else {
            return false;
        };
        let jobs = self
            .world
            .look(|mirror| mirror.jobs.keys().cloned().collect::<Vec<_>>());
        let pause = jobs.into_iter().map(|job_id| PauseRequest {
            job_id,
            expected: Expected::Any,
            to: PauseState::Paused,
        });
        engine.pause_jobs(pause.collect()).await.is_ok()
    }

    /// Cancels parts of broadcasts to executors that are gone for good: nobody else may take them.
    async fn none_abandoned(&self) -> bool {
        let Some(engine) = self.some_engine() else {
            return false;
        };
        let executors = self.executors();
        let is_gone = |name: &str| executors.iter().all(|executor| executor.as_str() != name);
        let abandoned = self.world.look(|mirror| {
            let tasks = mirror
                .live
                .values()
                .filter(|task| task.lane.executor().is_some_and(is_gone));
            tasks.map(|task| task.task_id.clone()).collect()
        });
        let cancel = Cancel {
            tasks: CancelTarget::Tasks(abandoned),
            reason: "its executor is gone".to_owned(),
            grace: None,
        };
        engine.cancel(cancel).await.is_ok()
    }

    /// A job whose next fire is overdue.
    fn late_job(&self) -> Option<String> {
        let now = jobcore::clock::Clock::now(&*self.world.store_time);
        let late = |due: Timestamp| due + LATE < now;
        self.world.look(|mirror| {
            let due = |job: &jobcore::job::Job| jobcore::engine::fire::due_time(job).is_some_and(late);
            let job = mirror.jobs.values().find(|job| !job.paused && due(job))?;
            Some(format!("overdue at {now}: {job:?}"))
        })
    }

    /// Starts a process of a node, beside the one that is there.
    pub(super) fn start(self: &Arc<Self>, node: usize, identity: Identity) {
        let mut slots = self.slots.lock();
        let slot = &mut slots[node];
        slot.names += u32::from(identity == Identity::New);
        let caller = Caller {
            node,
            life: slot.processes.len() as u32,
        };
        let name = format!("e{node}-{}", slot.names);
        let executor_id = ExecutorId::from_stored(name);
        let process = Arc::new(Process::new(
            caller,
            executor_id,
            self.nodes[node].skew_millis * 1_000,
        ));
        *process.post.lock() = self.climate();
        slot.processes.push(process.clone());
        drop(slots);
        self.world.spawn(self.clone().carry(process));
    }

    /// Carries a process from its start to its end, and starts the next one.
    async fn carry(self: Arc<Self>, process: Arc<Process>) {
        tokio::select! {
            biased;
            () = process.died() => {}
            () = self.work(&process) => {}
        }
        self.world.tell(|| format!("END of {process:?}"));
        if let Some(program) = process.program.lock().take() {
            program.abort();
        }
        let (pause, identity) = *process.revival.lock();
        tokio::time::sleep(pause).await;
        let node = process.caller.node;
        if self.process(node).caller == process.caller {
            self.start(node, identity);
        }
    }

    async fn work(&self, process: &Arc<Process>) {
        let plan = self.nodes[process.caller.node];
        let program = loop {
            match Program::start(&self.world, process, plan).await {
                Ok(program) => break program,
                Err(error) => self.world.tell(|| format!("{process:?} can't start: {error}")),
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        };
        self.world.tell(|| format!("START of {process:?}"));
        *process.program.lock() = Some(program.clone());
        program.stopped().await;
    }

    /// Whether nothing goes wrong any more.
    pub(super) fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Relaxed)
    }

    /// How badly the wire works when nothing in particular happens.
    pub(super) fn climate(&self) -> Post {
        if self.is_healed() {
            Post::default()
        } else {
            self.climate
        }
    }

    /// The present process of a node.
    pub(super) fn process(&self, node: usize) -> Arc<Process> {
        let slots = self.slots.lock();
        let last = slots[node].processes.last();
        last.expect("invariant: every node is started first").clone()
    }

    /// An engine that somebody may reach.
    pub(super) fn some_engine(&self) -> Option<Arc<Engine>> {
        let slots = self.slots.lock();
        let engines = slots
            .iter()
            .filter_map(|slot| slot.processes.last()?.program.lock().as_ref()?.engine());
        let engines: Vec<Arc<Engine>> = engines.collect();
        drop(slots);
        (!engines.is_empty()).then(|| self.chance().pick(&engines).clone())
    }

    fn chance(&self) -> &Chance {
        &self.world.chance
    }

    fn executors(&self) -> Vec<ExecutorId> {
        let slots = self.slots.lock();
        let processes = slots.iter().filter_map(|slot| slot.processes.last());
        processes.map(|process| process.executor_id.clone()).collect()
    }

    pub(super) fn some_executor(&self) -> ExecutorId {
        self.chance().pick(&self.executors()).clone()
    }

    /// Nothing of it does anything any more.
    fn end(&self) {
        for process in self.slots.lock().iter().flat_map(|slot| &slot.processes) {
            process.die();
            drop(process.program.lock().take());
        }
    }
}
