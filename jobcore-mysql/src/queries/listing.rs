//! Pages of listings.

use jobcore::store::{Cursor, Page};
use jobcore::{Error, Result};

/// How many rows a page reads: one more than it shows, to know whether there are more.
pub(crate) fn row_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

/// The page of the first `limit` items; `place` gives the cursor of an item.
pub(crate) fn page<T>(mut items: Vec<T>, limit: usize, place: impl Fn(&T) -> String) -> Page<T> {
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|last| Cursor(place(last)));
    Page { items, next }
}

/// Reads a cursor that is a list of numbers.
///
/// # Errors
/// `InvalidInput` if this store didn't make it.
pub(crate) fn numbers<const N: usize>(cursor: &Cursor) -> Result<[i64; N]> {
    let numbers: Vec<i64> = cursor
        .0
        .split('.')
        .filter_map(|number| number.parse().ok())
        .collect();
    numbers.try_into().map_err(|_| {
        Error::invalid(
            "cursor",
            format_args!("`{}` isn't one of this listing; begin without a cursor", cursor.0),
        )
    })
}

/// Writes a cursor that is a list of numbers.
pub(crate) fn cursor<const N: usize>(numbers: [i64; N]) -> String {
    numbers.map(|number| number.to_string()).join(".")
}
