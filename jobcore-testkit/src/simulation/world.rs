//! The world: the one store that all processes share, watched at every step, and what goes wrong in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use jobcore::Result;
use jobcore::clock::Clock;
use jobcore::id::TaskId;
use jobcore::memory::MemoryStore;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::call::{Answer, Call};
use super::chance::Chance;
use super::guard::Guard;
use super::invariants::{self, AttemptEvent, AttemptEventKind, Invariant};
use super::mirror::{Mirror, Step};
use super::process::Caller;
use super::sabotage::Sabotage;
use super::time::{StoreTime, WorldTime};
use super::trace::Trace;
use super::wire::Wire;
use super::{Options, Violation};

/// After this many steps everything that the store holds is compared with the mirror.
const AUDIT_EVERY: u64 = 512;

/// What all processes share.
pub(super) struct World {
    pub(super) time: WorldTime,
    pub(super) store_time: Arc<StoreTime>,
    pub(super) store: Arc<MemoryStore>,
    pub(super) chance: Chance,
    /// The guard that is switched off.
    pub(super) broken: Option<Guard>,
    pub(super) wire: Wire,
    truth: Mutex<Truth>,
    faults: Mutex<BTreeMap<&'static str, u64>>,
    out: AtomicBool,
    /// How many begins of attempts each task had.
    runs: Mutex<BTreeMap<TaskId, u32>>,
    next_number: AtomicU32,
    violated: Notify,
    tasks: TaskTracker,
}

/// What is known of the store's content, and who watches over it.
struct Truth {
    mirror: Mirror,
    sabotage: Sabotage,
    invariants: Vec<Box<dyn Invariant>>,
    violations: Vec<Violation>,
    trace: Trace,
    steps: u64,
}

impl World {
    pub(super) fn new(seed: u64, options: &Options) -> Arc<Self> {
        let time = WorldTime::begin();
        let store_time = Arc::new(StoreTime::new(time));
        Arc::new(Self {
            time,
            store: Arc::new(MemoryStore::new(store_time.clone())),
            store_time,
            chance: Chance::new(seed),
            broken: options.broken,
            wire: Wire::new(Arc::new(StoreTime::new(time))),
            truth: Mutex::new(Truth {
                mirror: Mirror::default(),
                sabotage: Sabotage::new(options.broken, seed),
                invariants: invariants::all(),
                violations: Vec::new(),
                trace: Trace::new(options.verbose),
                steps: 0,
            }),
            faults: Mutex::default(),
            out: AtomicBool::new(false),
            runs: Mutex::default(),
            next_number: AtomicU32::new(0),
            violated: Notify::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// Runs `work` beside everything else.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// A number that was not given before.
    pub(super) fn number(&self) -> u32 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a fault.
    pub(super) fn count(&self, kind: &'static str) {
        *self.faults.lock().entry(kind).or_default() += 1;
    }

    /// Takes the whole store away, or brings it back.
    pub(super) fn set_out(&self, out: bool) {
        self.out.store(out, Ordering::Relaxed);
    }

    pub(super) fn is_out(&self) -> bool {
        self.out.load(Ordering::Relaxed)
    }

    /// Carries a call out and looks at what it changed.
    pub(super) fn apply(&self, caller: Caller, call: Call) -> Result<Answer> {
        let mut truth = self.truth.lock();
        let time = self.store_time.now();
        let Truth {
            mirror,
            sabotage,
            invariants,
            trace,
            steps,
            ..
        } = &mut *truth;
        let concerned = mirror.concerned(&call);
        let answer = sabotage.carry_out(&self.store, call.clone());
        let (changes, missing) = mirror.follow(&self.store, sabotage, concerned, &call, &answer);
        let jobs = mirror.follow_jobs(&self.store, &call);
        *steps += 1;
        trace.call(self.time, caller, &call, &answer, &changes);
        let step = Step {
            time,
            call: &call,
            answer: &answer,
            changes: &changes,
            jobs: &jobs,
            missing: &missing,
            mirror,
        };
        let broken = invariants.iter_mut().find_map(|invariant| {
            let found = invariant.step(&step).err()?;
            Some((invariant.name(), found))
        });
        let audited = steps
            .is_multiple_of(AUDIT_EVERY)
            .then(|| mirror.audit(&self.store));
        if let Some((invariant, found)) = broken {
            self.violate(&mut truth, invariant, found);
        } else if let Some(Err(found)) = audited {
            self.violate(&mut truth, "nothing changes without a call", found);
        }
        answer
    }

    /// Notes what a handler does.
    pub(super) fn attempt(&self, event: &AttemptEvent) {
        if event.kind == AttemptEventKind::Began {
            *self.runs.lock().entry(event.task_id.clone()).or_default() += 1;
        }
        let mut truth = self.truth.lock();
        let Truth {
            mirror,
            invariants,
            trace,
            steps,
            ..
        } = &mut *truth;
        *steps += 1;
        trace.attempt(self.time, event);
        let broken = invariants.iter_mut().find_map(|invariant| {
            let found = invariant.attempt(event, mirror).err()?;
            Some((invariant.name(), found))
        });
        if let Some((invariant, found)) = broken {
            self.violate(&mut truth, invariant, found);
        }
    }

    /// How many attempts of a task began so far.
    pub(super) fn runs(&self, task_id: &TaskId) -> u32 {
        self.runs.lock().get(task_id).copied().unwrap_or(0)
    }

    /// How many attempts of all tasks began so far.
    pub(super) fn begun(&self) -> u64 {
        self.runs.lock().values().map(|runs| u64::from(*runs)).sum()
    }

    /// Reads the mirror.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Mirror) -> T) -> T {
        look(&self.truth.lock().mirror)
    }

    /// Tells what happens besides calls and attempts.
    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        self.truth.lock().trace.event(self.time, what);
    }

    /// Notes a violation that was found otherwise than in a step.
    pub(super) fn report(&self, invariant: &'static str, found: String) {
        let mut truth = self.truth.lock();
        self.violate(&mut truth, invariant, found);
    }

    fn violate(&self, truth: &mut Truth, invariant: &'static str, found: String) {
        truth
            .trace
            .event(self.time, || format!("VIOLATION of \"{invariant}\": {found}"));
        // What follows from the first one says little.
        if truth.violations.is_empty() {
            truth.violations.push(Violation {
                invariant,
                found,
                at: self.time.passed(),
            });
        }
        self.violated.notify_waiters();
    }

    /// Returns at the first violation.
    pub(super) async fn violated(&self) {
        loop {
            let violated = self.violated.notified();
            if !self.truth.lock().violations.is_empty() {
                return;
            }
            violated.await;
        }
    }

    /// Compares everything that the store holds with the mirror.
    pub(super) fn audit(&self) {
        let mut truth = self.truth.lock();
        if let Err(found) = truth.mirror.audit(&self.store) {
            self.violate(&mut truth, "nothing changes without a call", found);
        }
    }

    /// What came out of it all.
    pub(super) fn result(&self, seed: u64) -> super::Report {
        let truth = self.truth.lock();
        super::Report {
            seed,
            steps: truth.steps,
            tasks: (truth.mirror.live.len() + truth.mirror.ended.len()) as u64,
            faults: self.faults.lock().clone(),
            violations: truth.violations.clone(),
            trace_hash: truth.trace.hash(),
        }
    }
}
