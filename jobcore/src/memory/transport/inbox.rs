//! What one executor's end receives.

use parking_lot::Mutex;

use super::queue::Queue;
use crate::lease::Holder;
use crate::transport::{ControlMessage, Joined, TaskMessage};

/// A message and the incarnation it is for.
type For<T> = (Holder, T);

pub(super) struct Inbox {
    /// The incarnation that it receives as; others' messages are dropped.
    open: Mutex<Option<Holder>>,
    tasks: Queue<For<TaskMessage>>,
    control: Queue<For<ControlMessage>>,
    pub(super) joined: Queue<Joined>,
}

impl Inbox {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            open: Mutex::new(None),
            tasks: Queue::new(capacity),
            control: Queue::new(capacity),
            joined: Queue::new(ANSWERS),
        }
    }

    pub(super) fn open(&self, holder: &Holder) {
        *self.open.lock() = Some(holder.clone());
        self.tasks.retain(|(to, _)| to == holder);
        self.control.retain(|(to, _)| to == holder);
    }

    /// Whether there was room.
    #[must_use]
    pub(super) fn push_tasks(&self, to: &Holder, tasks: Vec<TaskMessage>) -> bool {
        !self.wants(to)
            || self
                .tasks
                .push_all(tasks.into_iter().map(|task| (to.clone(), task)))
    }

    /// Whether there was room.
    #[must_use]
    pub(super) fn push_control(&self, to: &Holder, messages: Vec<ControlMessage>) -> bool {
        !self.wants(to)
            || self
                .control
                .push_all(messages.into_iter().map(|message| (to.clone(), message)))
    }

    pub(super) async fn next_tasks(&self) -> Vec<TaskMessage> {
        self.mine(&self.tasks).await
    }

    pub(super) async fn next_control(&self) -> Vec<ControlMessage> {
        self.mine(&self.control).await
    }

    async fn mine<T>(&self, queue: &Queue<For<T>>) -> Vec<T> {
        let taken = queue.next(|(to, _)| Some(to) == self.open.lock().as_ref()).await;
        taken.into_iter().map(|(_, message)| message).collect()
    }

    /// Whether a message for `to` isn't dropped at once: before [`open`](Self::open) it is kept for a newcomer.
    fn wants(&self, to: &Holder) -> bool {
        let open = self.open.lock();
        open.as_ref()
            .is_none_or(|open| open == to || open.incarnation < to.incarnation)
    }
}

/// How many answers to joins may wait; only the last counts.
const ANSWERS: usize = 16;
