//! Pages of listings.

use serde::{Deserialize, Serialize};

/// Which part of a listing: at most `limit` rows after `cursor`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRequest {
    /// Where the last page ended; `None` for the first.
    pub cursor: Option<Cursor>,
    /// How many rows at the most, 1 to [`MAX_BATCH`](super::MAX_BATCH).
    pub limit: usize,
}

impl PageRequest {
    /// The first `limit` rows.
    pub const fn first(limit: usize) -> Self {
        Self { cursor: None, limit }
    }
}

/// Where a page ended; opaque, made by the store that reads it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub String);

/// A part of a listing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page begins; `None` if there are no more rows.
    pub next: Option<Cursor>,
}
