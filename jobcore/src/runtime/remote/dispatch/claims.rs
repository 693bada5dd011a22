//! Claims on behalf of remote executors, and the dispatch of what they got.

use std::sync::Arc;

use super::Dispatcher;
use super::fleet::{Claimant, Sent};
use super::reports::start_mode;
use crate::clock::Clock;
use crate::id::ClaimId;
use crate::lane::Lane;
use crate::lease::{ClaimedTask, Lease};
use crate::store::{ClaimOutcome, ClaimRequest};
use crate::telemetry;
use crate::time::Timestamp;
use crate::transport::TaskMessage;

/// The claim loop for remote executors.
pub(super) struct Claims {
    pub(super) dispatcher: Arc<Dispatcher>,
    lanes: Vec<Lane>,
    turn: usize,
}

/// What a round of claims leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// There may be more.
    Again,
    /// Nothing more to get, or nobody has room.
    Done,
}

impl Claims {
    pub(super) const fn new(dispatcher: Arc<Dispatcher>) -> Self {
        Self {
            dispatcher,
            lanes: Vec::new(),
            turn: 0,
        }
    }

    /// Runs until the node drains.
    pub(super) async fn run(mut self) {
        let dispatcher = self.dispatcher.clone();
        let node = &dispatcher.node;
        let mut look_up = node.now();
        while !node.draining.is_cancelled() {
            if node.now() >= look_up {
                match self.look_up().await {
                    Ok(()) => node.health.works("dispatch"),
                    Err(error) => node.back_off("dispatch", &error).await,
                }
                look_up = node.now() + node.config.poll_interval;
            }
            while self.round().await == Round::Again {}
            tokio::select! {
                biased;
                () = node.draining.cancelled() => {}
                () = node.wake.claim.for_dispatch() => {}
                () = node.clock.sleep_until(look_up) => {}
            }
        }
    }

    async fn look_up(&mut self) -> crate::Result<()> {
        self.dispatcher.refresh().await?;
        self.lanes = self.dispatcher.node.store.lanes().await?;
        Ok(())
    }

    async fn round(&mut self) -> Round {
        self.turn = self.turn.wrapping_add(1);
        let claimants = self.dispatcher.fleet.lock().claimants(self.turn);
        if claimants.is_empty() || self.dispatcher.node.draining.is_cancelled() {
            return Round::Done;
        }
        let (chosen, common): (Vec<Lane>, Vec<Lane>) =
            self.lanes.iter().cloned().partition(|lane| lane.job().is_some());
        let mut round = Round::Done;
        for lane in &chosen {
            if self.choose(lane).await == Round::Again {
                round = Round::Again;
            }
        }
        for claimant in &claimants {
            if self.serve(claimant, &common, claimants.len()).await == Round::Again {
                round = Round::Again;
            }
        }
        round
    }

    /// Claims for one executor from the lanes where nobody chooses. It gets an even share of its room at a time, so that
    /// the first to be asked doesn't take all.
    async fn serve(&self, claimant: &Claimant, lanes: &[Lane], executors: usize) -> Round {
        let executor_id = &claimant.address.holder.executor_id;
        let lanes = self.dispatcher.fleet.lock().serves(executor_id, lanes);
        let (suspects, mut ordinary): (Vec<Lane>, Vec<Lane>) =
            lanes.into_iter().partition(Lane::is_quarantine);
        if !suspects.is_empty() && claimant.takes_suspects && claimant.room > 0 {
            self.claim(claimant, suspects, 1).await;
        }
        if ordinary.is_empty() || claimant.room == 0 {
            return Round::Done;
        }
        let turn = self.turn % ordinary.len();
        ordinary.rotate_left(turn);
        let limit = claimant
            .room
            .div_ceil(executors)
            .min(self.dispatcher.node.config.claim_batch);
        match self.claim(claimant, ordinary, limit).await {
            claimed if claimed == limit => Round::Again,
            _ => Round::Done,
        }
    }

    /// Claims at most `limit` tasks for an executor and sends them; says how many.
    pub(super) async fn claim(&self, claimant: &Claimant, lanes: Vec<Lane>, limit: usize) -> usize {
        let node = &self.dispatcher.node;
        let now = node.now();
        let start_before = now + node.config.dispatch_window;
        let request = ClaimRequest {
            claim_id: ClaimId::generate(now, &*node.entropy),
            replay: false,
            holder: claimant.address.holder.clone(),
            lanes,
            limit,
            max_held: Some(claimant.most),
            start_before: Some(start_before),
            now,
        };
        match self.ask(request).await {
            Some(ClaimOutcome::Claimed(lease)) => self.send(claimant, lease, start_before).await,
            Some(ClaimOutcome::NotAlive | ClaimOutcome::NotTaking) => {
                self.dispatcher.fleet.lock().refused(&claimant.address.holder);
                0
            }
            Some(ClaimOutcome::Nothing) | None => 0,
        }
    }

    /// Asks until there is an answer: after one that got lost, for what the first question got. Later than
    /// `start_before` that would be of no use.
    async fn ask(&self, mut request: ClaimRequest) -> Option<ClaimOutcome> {
        let node = &self.dispatcher.node;
        loop {
            match node.store.claim(request.clone()).await {
                Ok(outcome) => {
                    node.health.works("dispatch");
                    return Some(outcome);
                }
                Err(error) => {
                    request.replay |= error.is_indeterminate();
                    node.back_off("dispatch", &error).await;
                    if !request.replay || Some(node.now()) >= request.start_before {
                        return None;
                    }
                }
            }
        }
    }

    /// Sends what was claimed; says how many. If it doesn't arrive, it is taken back after `start_before`.
    async fn send(&self, claimant: &Claimant, lease: Lease, start_before: Timestamp) -> usize {
        let count = lease.tasks.len();
        metrics::counter!(telemetry::CLAIMS).increment(1);
        metrics::counter!(telemetry::CLAIMED_TASKS).increment(count as u64);
        let sent = lease.tasks.iter().map(|claimed| sent(claimed, &lease)).collect();
        let until = start_before + self.dispatcher.node.config.heartbeat_interval * 2;
        self.dispatcher.fleet.lock().sent(&lease.holder, sent, until);
        let messages = lease
            .tasks
            .iter()
            .map(|claimed| message(claimed, &lease, start_before))
            .collect();
        if let Err(error) = self
            .dispatcher
            .transport
            .dispatch(&claimant.address, messages)
            .await
        {
            self.dispatcher.hint_failed("dispatch", &error);
        }
        count
    }
}

fn sent(claimed: &ClaimedTask, lease: &Lease) -> Sent {
    Sent {
        key: (claimed.task.task_id.clone(), lease.token),
        job_id: claimed.job.job_id.clone(),
        resources: claimed.job.definition.placement.resources.clone(),
        suspect: claimed.task.is_suspect(),
    }
}

fn message(claimed: &ClaimedTask, lease: &Lease, start_before: Timestamp) -> TaskMessage {
    let task = &claimed.task;
    TaskMessage {
        task_id: task.task_id.clone(),
        job: claimed.job.clone(),
        arguments: task.arguments.clone(),
        priority: task.priority,
        attempt: task.attempt,
        token: lease.token,
        holder: lease.holder.clone(),
        part: task.part,
        parts: task.parts,
        scheduled_for: task.scheduled_for,
        checkpoint: task.checkpoint.clone(),
        start_before,
        start: start_mode(task),
        create_time: task.create_time,
    }
}
