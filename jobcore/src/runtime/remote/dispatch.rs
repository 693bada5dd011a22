//! The scheduler's side of remote executors: claims for them, sends them tasks, and records what they say.
//!
//! It holds nothing that matters: what it knows of executors are hints for efficiency, and the store decides. So several
//! schedulers do the same beside each other, and the death of one changes nothing.

use std::sync::Arc;

use super::ledger::Key;
use crate::id::TaskId;
use crate::runtime::node::Node;
use crate::runtime::settle::Settler;
use crate::store::MAX_BATCH;
use crate::transport::{Address, ControlMessage, Transport};
use crate::{Error, Result};

mod choice;
mod claims;
mod doubts;
mod fleet;
mod heartbeats;
mod lane_watch;
mod logs;
mod reports;

use fleet::Fleet;
pub(crate) use lane_watch::LaneWatch;
use parking_lot::Mutex;

/// What the loops for remote executors share.
pub(crate) struct Dispatcher {
    node: Arc<Node>,
    transport: Arc<dyn Transport>,
    settler: Arc<Settler>,
    fleet: Mutex<Fleet>,
    pub(crate) lane: LaneWatch,
}

impl Dispatcher {
    pub(crate) fn new(node: Arc<Node>, transport: Arc<dyn Transport>, settler: Arc<Settler>) -> Self {
        Self {
            lane: LaneWatch::new(node.config.heartbeat_interval),
            node,
            transport,
            settler,
            fleet: Mutex::default(),
        }
    }

    /// Begins to work beside the node's other loops.
    pub(crate) fn start(self: &Arc<Self>) {
        self.node.spawn(heartbeats::run(self.clone()));
        self.node.spawn(reports::run(self.clone()));
        self.node.spawn(logs::run(self.clone()));
        self.node.spawn(claims::Claims::new(self.clone()).run());
    }

    /// Tells remote executors at once that these tasks are to be cancelled; what that misses, the answer to their next
    /// sign of life makes good.
    pub(crate) async fn cancel(&self, task_ids: &[TaskId]) {
        for ids in task_ids.chunks(MAX_BATCH) {
            match self.node.store.get_tasks(ids).await {
                Ok(tasks) => {
                    for task in tasks.into_iter().flatten() {
                        let Some(holder) = task.holder else { continue };
                        let address = self.fleet.lock().address(&holder.executor_id);
                        let (task_id, token) = (task.task_id, task.token);
                        if let Some(address) = address.filter(|address| address.holder == holder) {
                            self.tell(&address, vec![ControlMessage::Cancel { task_id, token }])
                                .await;
                        }
                    }
                }
                Err(error) => self.hint_failed("cancel", &error),
            }
        }
    }

    /// Sends control messages. They are hints: an error is only counted.
    async fn tell(&self, to: &Address, messages: Vec<ControlMessage>) {
        for batch in messages.chunks(MAX_BATCH) {
            if let Err(error) = self.transport.control(to, batch.to_vec()).await {
                self.hint_failed("control", &error);
            }
        }
    }

    fn hint_failed(&self, part: &'static str, error: &Error) {
        let node = &self.node;
        node.health.failed(part, error, node.now(), &*node.entropy);
    }

    /// Reads who is there.
    async fn refresh(&self) -> Result<()> {
        let records = self
            .node
            .store
            .list_executors(&crate::store::ExecutorFilter::default())
            .await?;
        self.fleet.lock().refresh(records);
        Ok(())
    }

    /// The lease on a task is closed: its executor has room again.
    fn closed(&self, executor_id: &crate::id::ExecutorId, key: &Key) {
        self.fleet.lock().closed(executor_id, key, self.node.now());
        self.node.wake.claim.notify_one();
    }
}
