//! Strays: task messages that come to an executor's door and are another's, as when two read one inbox.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use jobcore::transport::TaskMessage;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::super::chance::Chance;
use super::super::process::Caller;

/// The doors of the executors that there are.
#[derive(Default)]
pub(super) struct Strays(Mutex<BTreeMap<Caller, Weak<Door>>>);

/// Where strays arrive.
#[derive(Default)]
pub(super) struct Door {
    messages: Mutex<Vec<TaskMessage>>,
    came: Notify,
}

impl Strays {
    /// A new executor's door.
    pub(super) fn door(&self, caller: Caller) -> Arc<Door> {
        let door = Arc::new(Door::default());
        self.0.lock().insert(caller, Arc::downgrade(&door));
        door
    }

    /// Brings copies of messages to one of the doors.
    pub(super) fn bring(&self, chance: &Chance, messages: Vec<TaskMessage>) {
        let mut doors = self.0.lock();
        doors.retain(|_, door| door.strong_count() > 0);
        let doors: Vec<Arc<Door>> = doors.values().filter_map(Weak::upgrade).collect();
        if !doors.is_empty() {
            let door = chance.pick(&doors);
            door.messages.lock().extend(messages);
            door.came.notify_one();
        }
    }
}

impl Door {
    /// Waits for strays.
    pub(super) async fn next(&self) -> Vec<TaskMessage> {
        loop {
            let came = self.came.notified();
            let messages = std::mem::take(&mut *self.messages.lock());
            if !messages.is_empty() {
                return messages;
            }
            came.await;
        }
    }
}
