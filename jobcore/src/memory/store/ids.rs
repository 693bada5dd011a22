//! Slots by task id.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};

use super::tasks::Slot;
use crate::id::TaskId;

/// Into how many maps the ids are split: when one grows, only its share of them is moved, so that no single insert
/// takes long however many tasks there are.
const SHARDS: usize = 256;

/// Which task has which slot.
///
/// Ids are hashed once, by a hash that outsiders can't aim at; growing uses the kept hash and touches no id.
#[derive(Debug)]
pub(super) struct Ids {
    hasher: RandomState,
    shards: Vec<HashMap<Key, Slot, BuildHasherDefault<KeptHash>>>,
}

/// An id whose hash was computed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key {
    hash: u64,
    task_id: TaskId,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Gives back the hash that a key brings.
#[derive(Default)]
pub(super) struct KeptHash(u64);

impl Hasher for KeptHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        debug_assert!(false, "invariant: a key writes its hash as one number");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Default for Ids {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: std::iter::repeat_with(HashMap::default).take(SHARDS).collect(),
        }
    }
}

impl Ids {
    /// The key of an id, with which the other methods need not hash it again.
    pub(super) fn key(&self, task_id: &TaskId) -> Key {
        Key {
            hash: self.hasher.hash_one(task_id.as_str()),
            task_id: task_id.clone(),
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<Slot> {
        self.shards[shard(key)].get(key).copied()
    }

    pub(super) fn insert(&mut self, key: Key, slot: Slot) {
        self.shards[shard(&key)].insert(key, slot);
    }

    pub(super) fn remove(&mut self, task_id: &TaskId) {
        let key = self.key(task_id);
        self.shards[shard(&key)].remove(&key);
    }
}

/// The map of a key, by bits of the hash that the maps themselves use last.
const fn shard(key: &Key) -> usize {
    (key.hash >> 32) as usize % SHARDS
}
