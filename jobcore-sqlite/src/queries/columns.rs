//! How columns are read and written.

use jobcore::Timestamp;
use jobcore::lease::FencingToken;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::Result;

/// A code column.
pub(crate) fn code(row: &SqliteRow, index: usize) -> Result<i16> {
    Ok(row.try_get::<i64, _>(index)?.try_into().unwrap_or(i16::MAX))
}

/// A counter column.
pub(crate) fn count(row: &SqliteRow, index: usize) -> Result<u32> {
    Ok(row.try_get::<i64, _>(index)?.try_into().unwrap_or(u32::MAX))
}

/// An instant.
pub(crate) fn instant(row: &SqliteRow, index: usize) -> Result<Timestamp> {
    Ok(Timestamp::from_micros(row.try_get(index)?))
}

/// An instant that may be absent.
pub(crate) fn maybe_instant(row: &SqliteRow, index: usize) -> Result<Option<Timestamp>> {
    Ok(row.try_get::<Option<i64>, _>(index)?.map(Timestamp::from_micros))
}

/// A token as a column holds it.
pub(crate) fn token_number(token: FencingToken) -> i64 {
    i64::try_from(token.0).unwrap_or(i64::MAX)
}

/// A token column.
pub(crate) fn token(row: &SqliteRow, index: usize) -> Result<FencingToken> {
    Ok(FencingToken(
        row.try_get::<i64, _>(index)?.try_into().unwrap_or(0),
    ))
}
