//! Versioned records.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::state::clamp;
use crate::store::{Cursor, Expected, Page, PageRequest, PutRecord, PutRecordOutcome, Record};

/// All records, by namespace and key.
#[derive(Debug, Default)]
pub(super) struct Records(BTreeMap<String, BTreeMap<String, Record>>);

impl Records {
    pub(super) fn put(&mut self, put: PutRecord) -> PutRecordOutcome {
        let current = self.get(&put.namespace, &put.key).map(|record| record.version);
        let holds = match put.expected {
            Expected::Any => true,
            Expected::Absent => current.is_none(),
            Expected::Version(version) => current == Some(version),
        };
        if !holds {
            return PutRecordOutcome::VersionConflict { current };
        }
        let Some(value) = put.value else {
            self.delete(&put.namespace, &put.key);
            return PutRecordOutcome::Deleted;
        };
        let version = current.unwrap_or(0) + 1;
        let record = Record {
            namespace: put.namespace.clone(),
            key: put.key.clone(),
            value,
            version,
            update_time: put.now,
        };
        self.0.entry(put.namespace).or_default().insert(put.key, record);
        PutRecordOutcome::Written { version }
    }

    fn delete(&mut self, namespace: &str, key: &str) {
        if let Some(records) = self.0.get_mut(namespace) {
            records.remove(key);
            if records.is_empty() {
                self.0.remove(namespace);
            }
        }
    }

    pub(super) fn get(&self, namespace: &str, key: &str) -> Option<&Record> {
        self.0.get(namespace)?.get(key)
    }

    pub(super) fn list(&self, namespace: &str, page: &PageRequest) -> Page<Record> {
        let after = page
            .cursor
            .as_ref()
            .map_or(Bound::Unbounded, |cursor| Bound::Excluded(cursor.0.as_str()));
        let records = self.0.get(namespace);
        let mut rest = records
            .into_iter()
            .flat_map(|records| records.range::<str, _>((after, Bound::Unbounded)))
            .map(|(_, record)| record);
        let items: Vec<_> = rest.by_ref().take(clamp(page.limit)).cloned().collect();
        let next = rest.next().and(items.last());
        let next = next.map(|record| Cursor(record.key.clone()));
        Page { items, next }
    }
}
