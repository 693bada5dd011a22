//! Claiming: takes ready tasks of the lanes that the node serves, as many as the crew has room for.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;

use super::crew::Crew;
use super::node::Node;
use crate::error::Result;
use crate::id::ClaimId;
use crate::lane::Lane;
use crate::store::{ClaimOutcome, ClaimRequest};
use crate::telemetry;
use crate::time::Timestamp;

/// How many lanes a node remembers; beyond it only those with tasks now.
const MOST_LANES: usize = 1_000;

/// The lanes that the node serves, as far as it has heard of them.
#[derive(Debug, Default)]
pub(crate) struct Lanes(Mutex<BTreeSet<Lane>>);

impl Lanes {
    /// Tasks were put into this lane.
    pub(crate) fn heard_of(&self, node: &Node, lane: &Lane) {
        if !self.0.lock().contains(lane) && node.profile.serves(&node.executor_id, lane) {
            self.0.lock().insert(lane.clone());
        }
    }

    /// Asks the store which lanes there are.
    async fn refresh(&self, node: &Node) -> Result<()> {
        let there = node.store.lanes().await?;
        let mut lanes = self.0.lock();
        if lanes.len() > MOST_LANES {
            lanes.clear();
        }
        lanes.extend(
            there
                .into_iter()
                .filter(|lane| node.profile.serves(&node.executor_id, lane)),
        );
        Ok(())
    }

    /// Ordinary lanes, beginning with another one each time so that none is always last; and those of suspects.
    fn in_turn(&self, turn: usize) -> (Vec<Lane>, Vec<Lane>) {
        let lanes = self.0.lock();
        let (suspects, mut ordinary): (Vec<_>, Vec<_>) = lanes.iter().cloned().partition(Lane::is_quarantine);
        if !ordinary.is_empty() {
            let turn = turn % ordinary.len();
            ordinary.rotate_left(turn);
        }
        (ordinary, suspects)
    }
}

/// The claim loop.
pub(crate) struct Claimer {
    node: Arc<Node>,
    crew: Arc<Crew>,
    lanes: Arc<Lanes>,
    turn: usize,
}

/// What a round of claims leads to.
#[derive(Debug, PartialEq, Eq)]
enum Round {
    /// There may be more.
    Again,
    /// Nothing more to get, or no room.
    Done,
}

impl Claimer {
    pub(crate) fn new(node: Arc<Node>, crew: Arc<Crew>, lanes: Arc<Lanes>) -> Self {
        Self {
            node,
            crew,
            lanes,
            turn: 0,
        }
    }

    /// Runs until the node drains.
    pub(crate) async fn run(mut self) {
        let node = self.node.clone();
        let mut look_up_lanes = node.now();
        while !node.draining.is_cancelled() {
            if node.now() >= look_up_lanes {
                look_up_lanes = self.look_up_lanes().await;
            }
            while self.round().await == Round::Again {}
            self.rest(look_up_lanes).await;
        }
    }

    async fn look_up_lanes(&self) -> Timestamp {
        match self.lanes.refresh(&self.node).await {
            Ok(()) => self.node.health.works("lanes"),
            Err(error) => self.node.back_off("lanes", &error).await,
        }
        self.node.now() + self.node.config.poll_interval
    }

    async fn rest(&self, until: Timestamp) {
        tokio::select! {
            biased;
            () = self.node.draining.cancelled() => {}
            () = self.node.wake.claim.notified() => {}
            () = self.node.sleep_until(until) => {}
        }
    }

    async fn round(&mut self) -> Round {
        if self.node.draining.is_cancelled() || !self.node.standing.lock().joined {
            return Round::Done;
        }
        self.turn = self.turn.wrapping_add(1);
        let (lanes, suspects) = self.lanes.in_turn(self.turn);
        if !suspects.is_empty() && self.crew.takes_suspects() && self.crew.room() > 0 {
            self.claim(suspects, 1).await;
        }
        let room = self.crew.room().min(self.node.config.claim_batch);
        if room == 0 || lanes.is_empty() {
            return Round::Done;
        }
        let claimed = self.claim(lanes, room).await;
        if claimed == room {
            Round::Again
        } else {
            Round::Done
        }
    }

    /// Claims at most `limit` tasks and hands them to the crew; says how many.
    async fn claim(&self, lanes: Vec<Lane>, limit: usize) -> usize {
        let node = &self.node;
        let request = ClaimRequest {
            claim_id: ClaimId::generate(node.now(), &*node.entropy),
            replay: false,
            holder: node.holder(),
            lanes,
            limit,
            max_held: None,
            start_before: None,
            now: node.now(),
        };
        self.crew.leases.claiming();
        let answer = self.ask(request).await;
        let claimed = self.accept(answer);
        self.crew.leases.claimed();
        claimed
    }

    fn accept(&self, answer: Option<ClaimOutcome>) -> usize {
        let node = &self.node;
        match answer {
            Some(ClaimOutcome::Claimed(lease)) => {
                let claimed = lease.tasks.len();
                metrics::counter!(telemetry::CLAIMS).increment(1);
                metrics::counter!(telemetry::CLAIMED_TASKS).increment(claimed as u64);
                self.crew.leases.opened(lease.token, claimed);
                self.crew.take(lease);
                claimed
            }
            // Only a heartbeat tells whether to join anew or to stop: who joins when it was superseded drives the newer
            // process out, and that one drives it out in turn.
            Some(ClaimOutcome::NotAlive) => {
                node.wake.heartbeat.notify_one();
                0
            }
            Some(ClaimOutcome::Nothing | ClaimOutcome::NotTaking) | None => 0,
        }
    }

    /// Asks until there is an answer: after one that got lost, for what the first question got. Gives up when the node
    /// has changed its incarnation meanwhile.
    async fn ask(&self, mut request: ClaimRequest) -> Option<ClaimOutcome> {
        loop {
            match self.node.store.claim(request.clone()).await {
                Ok(outcome) => {
                    self.node.health.works("claim");
                    return Some(outcome);
                }
                Err(error) => {
                    request.replay |= error.is_indeterminate();
                    self.node.back_off("claim", &error).await;
                    if !request.replay || request.holder != self.node.holder() {
                        return None;
                    }
                }
            }
        }
    }
}
