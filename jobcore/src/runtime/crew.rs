//! The crew: carries claimed tasks out, as many at once as the node's capacity allows.
//!
//! Workers are spawned while there is work for them, and each takes one task after the other, so a stream of short tasks
//! costs no spawn each. Claims look at [`Crew::room`]: free capacity, and a prefetch that follows how fast tasks end
//! lately, so that short tasks never wait for a claim and long ones aren't hoarded.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::attempt;
use super::choice::Held;
use super::journal::Journal;
use super::leases::Leases;
use super::node::Node;
use super::settle::Settler;
use super::start::Starter;
use crate::executor::Executor;
use crate::job::{Job, JobKind};
use crate::lease::{ClaimedTask, FencingToken, Holder, Lease};
use crate::store::{Next, Settlement};
use crate::time::Timestamp;

/// How much work to have at hand: as much as is done in this time, which a claim takes in a busy store.
const PREFETCH_SPAN: Duration = Duration::from_millis(30);

/// The pace is measured over this time, or over this many tasks if they end sooner.
const PACE_SPAN: Duration = Duration::from_millis(10);
const PACE_TASKS: usize = 50;

/// The most tasks to prefetch, however fast they end.
const MOST_PREFETCHED: usize = 2_000;

/// Carries claimed tasks out.
pub(crate) struct Crew {
    pub(crate) node: Arc<Node>,
    pub(crate) settler: Arc<Settler>,
    pub(crate) starter: Arc<Starter>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) leases: Arc<Leases>,
    executors: Vec<(JobKind, Arc<dyn Executor>)>,
    state: Mutex<State>,
    idle: Notify,
}

struct State {
    queue: VecDeque<Assigned>,
    workers: usize,
    /// Quarantined tasks queued or running.
    suspects: usize,
    /// Tasks queued or running whose jobs choose their executor.
    held: Held,
    /// Whether no further task begins.
    closed: bool,
    pace: Pace,
}

/// A claimed task with the lease it belongs to.
pub(crate) struct Assigned {
    pub(crate) claimed: ClaimedTask,
    pub(crate) token: FencingToken,
    pub(crate) holder: Holder,
}

impl Crew {
    pub(crate) fn new(
        node: Arc<Node>,
        settler: Arc<Settler>,
        starter: Arc<Starter>,
        journal: Arc<Journal>,
        leases: Arc<Leases>,
        executors: Vec<(JobKind, Arc<dyn Executor>)>,
    ) -> Self {
        let pace = Pace {
            since: node.now(),
            ended: 0,
            prefetch: 0,
        };
        let state = State {
            queue: VecDeque::new(),
            workers: 0,
            suspects: 0,
            held: Held::default(),
            closed: false,
            pace,
        };
        Self {
            node,
            settler,
            starter,
            journal,
            leases,
            executors,
            state: Mutex::new(state),
            idle: Notify::new(),
        }
    }

    pub(crate) fn executor(&self, kind: JobKind) -> Option<&Arc<dyn Executor>> {
        self.executors
            .iter()
            .find(|(own, _)| *own == kind)
            .map(|(_, executor)| executor)
    }

    /// How many more tasks to claim now.
    pub(crate) fn room(&self) -> usize {
        let state = self.state.lock();
        if state.closed {
            return 0;
        }
        let capacity = self.node.config.capacity as usize + state.pace.prefetch;
        capacity.saturating_sub(state.queue.len() + state.workers)
    }

    /// Whether a quarantined task may be claimed: one at a time.
    pub(crate) fn takes_suspects(&self) -> bool {
        let state = self.state.lock();
        state.suspects == 0 && !state.closed
    }

    /// What it holds of jobs that choose their executor.
    pub(super) fn held(&self) -> Held {
        self.state.lock().held.clone()
    }

    /// Takes over a claimed batch.
    pub(crate) fn take(self: &Arc<Self>, lease: Lease) {
        let Lease {
            token, holder, tasks, ..
        } = lease;
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            return self.give_back(tasks.into_iter().map(|claimed| Assigned {
                claimed,
                token,
                holder: holder.clone(),
            }));
        }
        state.suspects += tasks.iter().filter(|claimed| claimed.task.is_suspect()).count();
        for claimed in &tasks {
            state.held.add(&claimed.job);
        }
        state.queue.extend(tasks.into_iter().map(|claimed| Assigned {
            claimed,
            token,
            holder: holder.clone(),
        }));
        let wanted = (self.node.config.capacity as usize).min(state.workers + state.queue.len());
        let more = wanted.saturating_sub(state.workers);
        state.workers += more;
        drop(state);
        for _ in 0..more {
            let crew = self.clone();
            self.node.spawn(async move { crew.work().await });
        }
    }

    async fn work(self: Arc<Self>) {
        while let Some(assigned) = self.next() {
            let suspect = assigned.claimed.task.is_suspect();
            let job = assigned.claimed.job.clone();
            attempt::carry_out(&self, assigned).await;
            self.done(suspect, &job);
        }
        self.idle.notify_waiters();
    }

    /// The next task, or `None`: then the worker has ceased to count.
    fn next(&self) -> Option<Assigned> {
        let mut state = self.state.lock();
        let Some(next) = state.queue.pop_front() else {
            state.workers -= 1;
            drop(state);
            // The last results needn't wait for more.
            self.settler.hurry();
            return None;
        };
        // Refill while the rest is worked on.
        if state.queue.len() == state.pace.prefetch / 2 {
            self.node.wake.room.notify_one();
        }
        Some(next)
    }

    fn done(&self, suspect: bool, job: &Job) {
        let mut state = self.state.lock();
        state.suspects -= usize::from(suspect);
        state.pace.count(self.node.now());
        // What a job requires may hold again, though there is other work.
        let chosen = state.held.remove(job);
        let starving = state.queue.is_empty();
        drop(state);
        if chosen || suspect {
            self.node.wake.claim.notify_one();
        } else if starving {
            self.node.wake.room.notify_one();
        }
    }

    /// How many attempts run, and how many tasks wait for a worker.
    pub(crate) fn load(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.workers, state.queue.len())
    }

    /// Begins nothing new, and hands back what hasn't begun.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let queue = std::mem::take(&mut state.queue);
        for assigned in &queue {
            state.held.remove(&assigned.claimed.job);
        }
        drop(state);
        self.give_back(queue.into_iter());
    }

    /// Forgets what hasn't begun: others were given it.
    pub(crate) fn drop_queue(&self) {
        let mut state = self.state.lock();
        let suspects = state
            .queue
            .iter()
            .filter(|assigned| assigned.claimed.task.is_suspect())
            .count();
        state.suspects -= suspects;
        for assigned in std::mem::take(&mut state.queue) {
            state.held.remove(&assigned.claimed.job);
        }
    }

    /// Waits until no attempt runs.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.load() == (0, 0) {
                return;
            }
            idle.await;
        }
    }

    fn give_back(&self, tasks: impl Iterator<Item = Assigned>) {
        for Assigned {
            claimed,
            token,
            holder,
        } in tasks
        {
            let next = Next::Again {
                due_time: claimed.task.due_time,
            };
            let fence = claimed.fence(token, &holder);
            let settlement = Settlement {
                fence,
                attempt: None,
                next,
                checkpoint: None,
            };
            self.settler.push_at_once(settlement, Some(&claimed.job));
        }
    }
}

/// How fast tasks end lately.
struct Pace {
    since: Timestamp,
    ended: usize,
    prefetch: usize,
}

impl Pace {
    fn count(&mut self, now: Timestamp) {
        self.ended += 1;
        let span = now.since(self.since);
        if span >= PACE_SPAN || self.ended >= PACE_TASKS.max(self.prefetch) {
            // Falls at once with the pace, and grows stepwise, so that one quick batch doesn't hoard.
            let most = (self.prefetch * 4).clamp(PACE_TASKS, MOST_PREFETCHED);
            let spans = PREFETCH_SPAN.as_secs_f64() / span.as_secs_f64().max(1e-6);
            self.prefetch = most.min((self.ended as f64 * spans) as usize);
            (self.since, self.ended) = (now, 0);
        }
    }
}
