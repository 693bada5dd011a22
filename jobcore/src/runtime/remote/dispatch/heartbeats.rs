//! Joins and signs of life: recorded in batches, and answered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Dispatcher;
use super::doubts::Doubts;
use crate::engine::remote::taken_back;
use crate::engine::settle::holds;
use crate::error::Result;
use crate::lease::{Fence, Holder};
use crate::store::{
    Alive, ExecutorFilter, Heartbeat, HeartbeatOutcome, Held, MAX_BATCH, Reach, RegisterExecutor,
    SetExecutorStatus, Settlement,
};
use crate::transport::{Address, Beat, ControlMessage, HeartbeatMessage, JoinMessage, Joined, LaneEnd};

/// Records joins and signs of life; runs until the node ends.
pub(super) async fn run(dispatcher: Arc<Dispatcher>) {
    let mut doubts = Doubts::default();
    let node = &dispatcher.node;
    // How long a quiet lane is waited for before it is known to be quiet.
    let wait: Duration = node.config.heartbeat_interval / 2;
    loop {
        match dispatcher.transport.heartbeats(wait).await {
            Ok(heard) => {
                let recorded = dispatcher.hear(heard.messages, &mut doubts).await;
                match (recorded, heard.end) {
                    (Ok(()), LaneEnd::Reached) => {
                        dispatcher.lane.reached(node.now());
                        node.health.works("heartbeats");
                    }
                    (Ok(()), LaneEnd::Ahead) => {}
                    (Err(error), _) => {
                        dispatcher.lane.broken();
                        node.back_off("heartbeats", &error).await;
                    }
                }
            }
            Err(error) => {
                dispatcher.lane.broken();
                node.back_off("heartbeats", &error).await;
            }
        }
    }
}

impl Dispatcher {
    async fn hear(&self, messages: Vec<HeartbeatMessage>, doubts: &mut Doubts) -> Result<()> {
        let mut beats: BTreeMap<Holder, Beat> = BTreeMap::new();
        let mut joins: BTreeMap<(crate::id::ExecutorId, u64), JoinMessage> = BTreeMap::new();
        let mut leaves = Vec::new();
        for message in messages {
            match message {
                HeartbeatMessage::Join(join) => {
                    joins.insert((join.join.executor_id.clone(), join.join.key.nonce), join);
                }
                HeartbeatMessage::Beat(beat) => {
                    let newest = beats
                        .get(&beat.from.holder)
                        .is_none_or(|other| other.sequence < beat.sequence);
                    if newest {
                        beats.insert(beat.from.holder.clone(), beat);
                    }
                }
                HeartbeatMessage::Leave(holder) => leaves.push(holder),
            }
        }
        // Signs of life first: they are what is urgent.
        let beats: Vec<Beat> = beats.into_values().collect();
        for batch in beats.chunks(MAX_BATCH) {
            self.record_beats(batch, doubts).await?;
        }
        for join in joins.into_values() {
            self.register(join).await?;
        }
        for holder in leaves {
            let _ = self
                .node
                .store
                .set_executor_status(SetExecutorStatus::Leave(holder))
                .await?;
        }
        Ok(())
    }

    async fn register(&self, message: JoinMessage) -> Result<()> {
        let taken = self.fleet.lock().inboxes();
        let inbox = self.transport.inbox(&message, &taken).await?;
        let join = message.join.clone();
        let registration = RegisterExecutor {
            executor_id: join.executor_id.clone(),
            host: join.host,
            port: join.port,
            profile: join.profile,
            reach: Reach::Remote,
            address: Some(inbox),
            lease_duration: join.lease_duration,
            join: Some(join.key),
        };
        let incarnation = self.node.store.register_executor(registration).await?.incarnation;
        // A repeated join has the inbox of the first.
        let filter = ExecutorFilter {
            executor_id: Some(join.executor_id.clone()),
            ..ExecutorFilter::default()
        };
        let now = self.node.store.now().await?;
        let record = self.node.store.list_executors(&filter).await?.into_iter().next();
        let Some(record) = record.filter(|record| record.incarnation == incarnation) else {
            // Superseded already: its next sign of life is told so.
            return Ok(());
        };
        let holder = Holder {
            executor_id: join.executor_id,
            incarnation,
        };
        tracing::info!(executor_id = %holder.executor_id, incarnation = incarnation.0, "remote executor joined");
        let address = Address {
            holder,
            inbox: record.address.unwrap_or_default(),
        };
        let nonce = join.key.nonce;
        self.transport
            .welcome(&message, Joined { nonce, address, now })
            .await?;
        self.refresh().await?;
        self.node.wake.claim.notify_one();
        Ok(())
    }

    async fn record_beats(&self, beats: &[Beat], doubts: &mut Doubts) -> Result<()> {
        let heartbeats = beats.iter().map(|beat| Heartbeat {
            holder: beat.from.holder.clone(),
            held: Held::Tasks(beat.held.clone().unwrap_or_default()),
            closed: Vec::new(),
            resources: beat.resources.clone(),
        });
        let outcomes = self.node.store.heartbeat(heartbeats.collect()).await?;
        let mut missing = Vec::new();
        for (beat, outcome) in beats.iter().zip(outcomes) {
            let answer = match outcome {
                HeartbeatOutcome::Alive(alive) => {
                    missing.extend(doubts.weigh(beat, &alive));
                    self.fleet.lock().beat(beat, self.node.now());
                    alive_messages(beat, alive)
                }
                HeartbeatOutcome::Dead => vec![ControlMessage::Dead],
                HeartbeatOutcome::Superseded => vec![ControlMessage::Superseded],
            };
            self.tell(&beat.from, answer).await;
        }
        doubts.keep(|holder| self.fleet.lock().knows(holder));
        self.take_back(missing).await
    }

    /// Takes back tasks whose messages were lost.
    async fn take_back(&self, fences: Vec<Fence>) -> Result<()> {
        for fences in fences.chunks(MAX_BATCH) {
            let ids: Vec<_> = fences.iter().map(|fence| fence.task_id.clone()).collect();
            let tasks = self.node.store.get_tasks(&ids).await?;
            let now = self.node.now();
            let settlements: Vec<Settlement> = fences
                .iter()
                .zip(tasks)
                .filter_map(|(fence, task)| task.filter(|task| holds(task, fence)).map(|task| (fence, task)))
                .map(|(fence, task)| taken_back(fence.clone(), &task, now))
                .collect();
            if settlements.is_empty() {
                continue;
            }
            tracing::warn!(
                tasks = settlements.len(),
                "took back tasks whose messages were lost"
            );
            let outcomes = self.node.store.settle(settlements.clone(), now).await?;
            let jobs = vec![None; settlements.len()];
            self.settler.digest(&settlements, &jobs, &outcomes, now);
            for settlement in settlements {
                let key = (settlement.fence.task_id, settlement.fence.token);
                self.closed(&settlement.fence.holder.executor_id, &key);
            }
        }
        Ok(())
    }
}

/// What to tell an executor that lives. Cancels name the lease under which it said that it holds the task.
fn alive_messages(beat: &Beat, alive: Alive) -> Vec<ControlMessage> {
    let Alive {
        now,
        status,
        cancel,
        lost,
        ..
    } = alive;
    let sequence = beat.sequence;
    let mut messages = vec![ControlMessage::Alive {
        sequence,
        now,
        status,
    }];
    messages.extend(
        lost.into_iter()
            .map(|(task_id, token)| ControlMessage::Closed { task_id, token }),
    );
    let held = beat.held.as_deref().unwrap_or_default();
    let cancels = held
        .iter()
        .filter(|(task_id, _)| cancel.contains(task_id))
        .cloned();
    messages.extend(cancels.map(|(task_id, token)| ControlMessage::Cancel { task_id, token }));
    messages
}
