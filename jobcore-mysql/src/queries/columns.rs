//! How columns are read and written.

use chrono::NaiveDateTime;
use jobcore::Timestamp;
use jobcore::json::Json;
use jobcore::lease::FencingToken;
use sqlx::Row;
use sqlx::mysql::MySqlRow;

use crate::error::Result;

/// A code column (TINYINT).
pub(crate) fn code(row: &MySqlRow, index: usize) -> Result<i16> {
    Ok(row.try_get::<i8, _>(index)?.into())
}

/// A code as a column holds it.
pub(crate) fn code_number(code: i16) -> i8 {
    i8::try_from(code).unwrap_or(i8::MAX)
}

/// A counter column (BIGINT).
pub(crate) fn count(row: &MySqlRow, index: usize) -> Result<u32> {
    Ok(row.try_get::<i64, _>(index)?.try_into().unwrap_or(u32::MAX))
}

/// An instant as a column holds it.
pub(crate) fn datetime(time: Timestamp) -> NaiveDateTime {
    time.to_datetime().naive_utc()
}

/// An instant that may be absent as a column holds it.
pub(crate) fn maybe_datetime(time: Option<Timestamp>) -> Option<NaiveDateTime> {
    time.map(datetime)
}

/// An instant.
pub(crate) fn instant(row: &MySqlRow, index: usize) -> Result<Timestamp> {
    Ok(row.try_get::<NaiveDateTime, _>(index)?.and_utc().into())
}

/// An instant that may be absent.
pub(crate) fn maybe_instant(row: &MySqlRow, index: usize) -> Result<Option<Timestamp>> {
    let time: Option<NaiveDateTime> = row.try_get(index)?;
    Ok(time.map(|time| time.and_utc().into()))
}

/// A number of the model (version, incarnation, …) as a column holds it.
pub(crate) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of the model.
pub(crate) fn unsigned(row: &MySqlRow, index: usize) -> Result<u64> {
    Ok(row.try_get::<i64, _>(index)?.try_into().unwrap_or(0))
}

/// A token as a column holds it.
pub(crate) fn token_number(token: FencingToken) -> i64 {
    number(token.0)
}

/// A token column.
pub(crate) fn token(row: &MySqlRow, index: usize) -> Result<FencingToken> {
    unsigned(row, index).map(FencingToken)
}

/// A JSON value that may be absent, as a column holds it.
pub(crate) fn json_text(json: Option<&Json>) -> Option<String> {
    json.map(|json| json.as_str().to_owned())
}

/// Text of a column that compares byte by byte (VARBINARY).
pub(crate) fn binary_text(row: &MySqlRow, index: usize) -> Result<String> {
    let bytes: Vec<u8> = row.try_get(index)?;
    String::from_utf8(bytes).map_err(|_| crate::error::Failure::corrupt("a key isn't UTF-8"))
}
