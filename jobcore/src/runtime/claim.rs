//! Claiming: takes ready tasks of the lanes that the node serves, as many as the crew has room for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::choice::{self, Choice};
use super::crew::Crew;
use super::looks::Looks;
use super::node::Node;
use crate::error::Result;
use crate::id::ClaimId;
use crate::job::Job;
use crate::lane::Lane;
use crate::store::{ClaimOutcome, ClaimRequest};
use crate::telemetry;
use crate::time::Timestamp;

/// How many lanes a node remembers; beyond it only those with tasks now.
const MOST_LANES: usize = 1_000;

/// The lanes that the node serves, as far as it has heard of them.
#[derive(Debug, Default)]
pub(crate) struct Lanes(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    lanes: BTreeSet<Lane>,
    /// How the node serves those that are jobs' own. What isn't here yet isn't served.
    choices: BTreeMap<Lane, Choice>,
    /// Whether there is one that isn't there yet.
    stale: bool,
}

/// What to claim from, in this order within each.
#[derive(Debug, Default)]
struct Turn {
    ordinary: Vec<Lane>,
    suspects: Vec<Lane>,
    measured: Vec<(Lane, Arc<Job>)>,
}

impl Lanes {
    /// Tasks were put into this lane.
    pub(crate) fn heard_of(&self, node: &Node, lane: &Lane) {
        let mut known = self.0.lock();
        if !known.lanes.contains(lane) && node.profile.serves(&node.executor_id, lane) {
            known.lanes.insert(lane.clone());
            known.stale |= lane.job().is_some();
        }
    }

    /// Whether there is a lane of which it isn't known how the node serves it.
    fn stale(&self) -> bool {
        self.0.lock().stale
    }

    /// Asks the store which lanes there are.
    async fn refresh(&self, node: &Node) -> Result<()> {
        let there = node.store.lanes().await?;
        let own: Vec<Lane> = {
            let mut known = self.0.lock();
            if known.lanes.len() > MOST_LANES {
                known.lanes.clear();
            }
            let serves = |lane: &Lane| node.profile.serves(&node.executor_id, lane);
            known.lanes.extend(there.into_iter().filter(serves));
            known.stale = false;
            let own = known.lanes.iter().filter(|lane| lane.job().is_some());
            own.cloned().collect()
        };
        let choices = choice::look_up(node, own).await?;
        self.0.lock().choices = choices;
        Ok(())
    }

    /// The lanes that the node serves, beginning with another one each time so that none is always last.
    fn in_turn(&self, turn: usize) -> Turn {
        let known = self.0.lock();
        let mut lanes = Turn::default();
        for lane in &known.lanes {
            let choice = match lane.job() {
                None => Some(&Choice::Open),
                Some(_) => known.choices.get(lane),
            };
            match choice {
                None | Some(Choice::Elsewhere) => {}
                Some(_) if lane.is_quarantine() => lanes.suspects.push(lane.clone()),
                Some(Choice::Open) => lanes.ordinary.push(lane.clone()),
                Some(Choice::Measured(job)) => lanes.measured.push((lane.clone(), job.clone())),
            }
        }
        if !lanes.ordinary.is_empty() {
            let turn = turn % lanes.ordinary.len();
            lanes.ordinary.rotate_left(turn);
        }
        if !lanes.measured.is_empty() {
            let turn = turn % lanes.measured.len();
            lanes.measured.rotate_left(turn);
        }
        lanes
    }
}

/// The claim loop.
pub(crate) struct Claimer {
    node: Arc<Node>,
    crew: Arc<Crew>,
    lanes: Arc<Lanes>,
    turn: usize,
    looks: Looks,
}

/// What a round of claims leads to.
#[derive(Debug, PartialEq, Eq)]
enum Round {
    /// There may be more, and room for it.
    Again,
    /// There may be more, but no room.
    Full,
    /// Nothing more to get.
    Done,
}

impl Claimer {
    pub(crate) fn new(node: Arc<Node>, crew: Arc<Crew>, lanes: Arc<Lanes>) -> Self {
        let looks = Looks::new(node.config.poll_interval, node.now());
        Self {
            node,
            crew,
            lanes,
            turn: 0,
            looks,
        }
    }

    /// Runs until the node drains.
    pub(crate) async fn run(mut self) {
        let node = self.node.clone();
        let mut look_up_lanes = node.now();
        while !node.draining.is_cancelled() {
            if node.now() >= look_up_lanes || self.lanes.stale() {
                look_up_lanes = self.look_up_lanes().await;
            }
            let (mut claimed, mut round) = self.round().await;
            while round == Round::Again {
                let (more, next) = self.round().await;
                (claimed, round) = (claimed + more, next);
            }
            self.looks.claimed(claimed, round == Round::Full, node.now());
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

    async fn rest(&mut self, until: Timestamp) {
        loop {
            let look = self.looks.due();
            if look.is_some_and(|look| look <= self.node.now()) {
                return self.looks.begin();
            }
            tokio::select! {
                biased;
                () = self.node.draining.cancelled() => return,
                () = self.node.wake.claim.notified() => return,
                () = self.node.wake.room.notified() => self.looks.want(),
                () = self.node.sleep_until(look.map_or(until, |look| look.min(until))) => {
                    if look.is_none_or(|look| look > until) {
                        return;
                    }
                }
            }
        }
    }

    /// Claims once from each kind of lanes; says how many tasks there were.
    async fn round(&mut self) -> (usize, Round) {
        if self.node.draining.is_cancelled() || !self.node.standing.lock().joined {
            return (0, Round::Done);
        }
        let mut claimed = 0;
        self.turn = self.turn.wrapping_add(1);
        let Turn {
            ordinary,
            suspects,
            measured,
        } = self.lanes.in_turn(self.turn);
        if !suspects.is_empty() && self.crew.takes_suspects() && self.crew.room() > 0 {
            claimed += self.claim(suspects, 1).await;
        }
        // First every other time, so that neither keeps the others waiting.
        let measured_first = self.turn.is_multiple_of(2);
        if measured_first {
            claimed += self.claim_measured(&measured).await;
        }
        let (ordinary, round) = self.claim_ordinary(ordinary).await;
        claimed += ordinary;
        if !measured_first {
            claimed += self.claim_measured(&measured).await;
        }
        (claimed, round)
    }

    /// Claims from the lanes of jobs that require what the node must measure, as much as that allows.
    async fn claim_measured(&self, lanes: &[(Lane, Arc<Job>)]) -> usize {
        let mut claimed = 0;
        for (lane, job) in lanes {
            let room = self.crew.room().min(self.node.config.claim_batch);
            let share = choice::share(&self.node, &self.crew.held(), job, room);
            if share > 0 {
                claimed += self.claim(vec![lane.clone()], share).await;
            }
        }
        claimed
    }

    async fn claim_ordinary(&self, lanes: Vec<Lane>) -> (usize, Round) {
        let room = self.crew.room().min(self.node.config.claim_batch);
        if room == 0 {
            return (0, Round::Full);
        }
        if lanes.is_empty() {
            return (0, Round::Done);
        }
        match self.claim(lanes, room).await {
            claimed if claimed == room => (claimed, Round::Again),
            claimed => (claimed, Round::Done),
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
