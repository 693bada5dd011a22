//! Pages, and rows that are listed newest first.

use std::collections::BTreeMap;

use jobcore::store::{Cursor, MAX_BATCH, Page, PageRequest};
use jobcore::{Error, Result};
use serde::{Deserialize, Serialize};

/// A limit that a caller gave, within its bounds.
pub(crate) fn clamp(limit: usize) -> usize {
    limit.clamp(1, MAX_BATCH)
}

/// The page of `rows`, which are in the order of their keys, after the cursor's key.
pub(crate) fn page<K: ToString, T>(rows: impl Iterator<Item = (K, T)>, request: &PageRequest) -> Page<T> {
    let limit = clamp(request.limit);
    let mut rows: Vec<(K, T)> = rows.take(limit + 1).collect();
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows
        .last()
        .filter(|_| more)
        .map(|(key, _)| Cursor(key.to_string()));
    let items = rows.into_iter().map(|(_, row)| row).collect();
    Page { items, next }
}

/// Whether a row comes after the page that ended at the cursor.
pub(crate) fn is_after(request: &PageRequest, key: &str) -> bool {
    request
        .cursor
        .as_ref()
        .is_none_or(|cursor| key > cursor.0.as_str())
}

/// Rows numbered in the order in which they were added.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Journal<T> {
    pub(crate) next: u64,
    pub(crate) rows: BTreeMap<u64, T>,
}

impl<T> Default for Journal<T> {
    fn default() -> Self {
        Self {
            next: 1,
            rows: BTreeMap::new(),
        }
    }
}

impl<T: Clone> Journal<T> {
    pub(crate) fn add(&mut self, row: T) {
        self.rows.insert(self.next, row);
        self.next += 1;
    }

    /// The page of rows that match, newest first.
    pub(crate) fn newest_first(
        &self,
        matches: impl Fn(&T) -> bool,
        request: &PageRequest,
    ) -> Result<Page<T>> {
        let before = request.cursor.as_ref().map_or(Ok(u64::MAX), number)?;
        let rows = self.rows.range(..before).rev().filter(|(_, row)| matches(row));
        Ok(page(rows.map(|(number, row)| (*number, row.clone())), request))
    }

    /// Removes at most `limit` of the rows that match; says whether there are more.
    pub(crate) fn purge(&mut self, limit: usize, matches: impl Fn(&T) -> bool) -> bool {
        let rows = self.rows.iter().filter(|(_, row)| matches(row));
        let gone: Vec<u64> = rows.map(|(number, _)| *number).take(limit + 1).collect();
        for number in gone.iter().take(limit) {
            self.rows.remove(number);
        }
        gone.len() > limit
    }
}

/// The number in a cursor of this store.
pub(crate) fn number(cursor: &Cursor) -> Result<u64> {
    let number = cursor.0.parse();
    number.map_err(|_| Error::invalid("cursor", format_args!("`{}` is none of this store", cursor.0)))
}
