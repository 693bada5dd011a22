//! Unique keys: which task has a key, and until when.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::id::TaskId;
use crate::task::UniqueKey;
use crate::time::Timestamp;

/// Scope and key.
type Name = Arc<(String, String)>;

#[derive(Debug)]
struct Taken {
    task_id: TaskId,
    expire_time: Timestamp,
}

/// Keys that are taken, or were until lately.
#[derive(Debug, Default)]
pub(super) struct UniqueKeys {
    by_name: BTreeMap<Name, Taken>,
    by_expiry: BTreeSet<(Timestamp, Name)>,
}

impl UniqueKeys {
    /// The task that has the key at `now`.
    pub(super) fn holder(
        &self,
        key: &UniqueKey,
        now: Timestamp,
        is_live: impl FnOnce(&TaskId) -> bool,
    ) -> Option<&TaskId> {
        let name = (key.scope.clone(), key.key.clone());
        let taken = self.by_name.get(&name)?;
        (now < taken.expire_time || is_live(&taken.task_id)).then_some(&taken.task_id)
    }

    /// Gives the key to a task.
    pub(super) fn take(&mut self, key: &UniqueKey, task_id: TaskId, now: Timestamp) {
        let name: Name = Arc::new((key.scope.clone(), key.key.clone()));
        let expire_time = now + key.keep;
        if let Some((name, old)) = self.by_name.remove_entry(&name) {
            self.by_expiry.remove(&(old.expire_time, name));
        }
        self.by_expiry.insert((expire_time, name.clone()));
        self.by_name.insert(name, Taken { task_id, expire_time });
    }

    /// Forgets at most `limit` keys that have expired and whose task isn't live; says whether there are more.
    pub(super) fn purge(&mut self, now: Timestamp, limit: usize, is_live: impl Fn(&TaskId) -> bool) -> bool {
        let due = self
            .by_expiry
            .iter()
            .take_while(|(expire_time, _)| *expire_time <= now);
        let mut free = due.filter(|(_, name)| {
            self.by_name
                .get(name)
                .is_none_or(|taken| !is_live(&taken.task_id))
        });
        let gone: Vec<(Timestamp, Name)> = free.by_ref().take(limit).cloned().collect();
        let more = free.next().is_some();
        for entry in gone {
            self.by_name.remove(&entry.1);
            self.by_expiry.remove(&entry);
        }
        more
    }
}
