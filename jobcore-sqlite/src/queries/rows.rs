//! Statements with a list of rows, in a few fixed sizes, so that each is prepared once and kept.
//!
//! The hot ones say `OR FAIL`: then SQLite needn't keep what a failing statement would have to undo, as the whole
//! transaction is rolled back anyway.

use std::fmt::Write as _;

use jobcore::json::Json;
use sqlx::query::{Query, QueryScalar};
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteConnection, SqliteRow};

use crate::error::Result;

/// A statement with its parameters.
pub(crate) type Bound = Query<'static, Sqlite, SqliteArguments>;

/// A statement with its parameters that gives one text, or NULL.
pub(crate) type Asked = QueryScalar<'static, Sqlite, Option<String>, SqliteArguments>;

/// The sizes. A batch takes the smallest that holds it, padded with NULLs: each statement crosses to the connection's
/// thread and back, which costs more than passing over rows. 1,000 is what most large batches have.
const SIZES: [usize; 6] = [1_000, 250, 64, 16, 4, 1];

/// The largest size that is padded: a larger one would take longer to prepare than it saves.
const MOST_PADDED: usize = 250;

/// A statement `HEAD (?, …), (?, …), … TAIL` in all sizes. Rows whose first column is NULL don't count.
#[derive(Debug)]
pub(crate) struct RowStatement {
    shapes: [(usize, String); SIZES.len()],
}

impl RowStatement {
    /// The statement for rows of `columns` values, which has them as a table. It must pass over rows whose first column is
    /// NULL: a comparison with that column does.
    pub(crate) fn new(head: &str, columns: usize, tail: &str) -> Self {
        let row = format!("({})", vec!["?"; columns].join(","));
        let shape = |size: usize| {
            let mut text = format!("{head} {row}");
            for _ in 1..size {
                // Writing to a string can't fail.
                let _ = write!(text, ",{row}");
            }
            (size, format!("{text} {tail}"))
        };
        Self {
            shapes: SIZES.map(shape),
        }
    }

    /// The statement that inserts such rows; `head` ends with the names of the columns, `tail` may go on with a condition
    /// ` AND …` on `column1`, `column2`, ….
    pub(crate) fn insert(head: &str, columns: usize, tail: &str) -> Self {
        let head = format!("{head} SELECT * FROM (VALUES");
        let tail = format!(") WHERE column1 IS NOT NULL {tail}");
        Self::new(&head, columns, &tail)
    }

    /// Carries it out for all rows; `bind` adds the values of one. Answers how many rows were written.
    pub(crate) async fn execute<T>(
        &'static self,
        sql: &mut SqliteConnection,
        rows: &[T],
        bind: fn(Bound, &T) -> Bound,
    ) -> Result<u64> {
        self.execute_with(sql, |query| query, rows, bind).await
    }

    /// Carries it out for all rows: `bind_head` adds the values of its head, `bind` those of a row. Answers how many rows
    /// were written.
    pub(crate) async fn execute_with<T>(
        &'static self,
        sql: &mut SqliteConnection,
        bind_head: impl Fn(Bound) -> Bound,
        mut rows: &[T],
        bind: fn(Bound, &T) -> Bound,
    ) -> Result<u64> {
        let mut written = 0;
        while !rows.is_empty() {
            let (text, count) = self.shape(rows.len());
            let (chunk, rest) = rows.split_at(count);
            // What isn't bound is NULL.
            let query = chunk.iter().fold(bind_head(sqlx::query(text)), bind);
            written += query.execute(&mut *sql).await?.rows_affected();
            rows = rest;
        }
        Ok(written)
    }

    /// Carries it out for all rows, and gives the rows that it answers with.
    pub(crate) async fn fetch<T>(
        &'static self,
        sql: &mut SqliteConnection,
        mut rows: &[T],
        bind: fn(Bound, &T) -> Bound,
    ) -> Result<Vec<SqliteRow>> {
        let mut found = Vec::new();
        while !rows.is_empty() {
            let (text, count) = self.shape(rows.len());
            let (chunk, rest) = rows.split_at(count);
            let query = chunk.iter().fold(sqlx::query(text), bind);
            found.append(&mut query.fetch_all(&mut *sql).await?);
            rows = rest;
        }
        Ok(found)
    }

    /// The text to take for so many rows, at least one, and how many of them it takes.
    fn shape(&'static self, rows: usize) -> (&'static str, usize) {
        let padded = |(size, _): &&(usize, String)| *size <= MOST_PADDED && *size >= rows;
        let full = |(size, _): &&(usize, String)| *size <= rows;
        let shape = self.shapes.iter().rev().find(padded);
        let (size, text) = shape
            .or_else(|| self.shapes.iter().find(full))
            .expect("invariant: there is a size of one row");
        (text, rows.min(*size))
    }
}

/// A list of texts as one JSON parameter, for `IN (SELECT value FROM json_each(?))`.
pub(crate) fn json_list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut list = String::from("[");
    for (n, text) in texts.into_iter().enumerate() {
        if n > 0 {
            list.push(',');
        }
        push_json_text(&mut list, text);
    }
    list.push(']');
    list
}

/// A text as a JSON string.
pub(crate) fn push_json_text(list: &mut String, text: &str) {
    list.push('"');
    if !text
        .bytes()
        .any(|byte| byte == b'"' || byte == b'\\' || byte.is_ascii_control())
    {
        list.push_str(text);
        list.push('"');
        return;
    }
    for c in text.chars() {
        match c {
            '"' | '\\' => list.extend(['\\', c]),
            c if c.is_control() => drop(write!(list, "\\u{:04x}", u32::from(c))),
            c => list.push(c),
        }
    }
    list.push('"');
}

/// A list of numbers as one JSON parameter.
pub(crate) fn json_numbers(numbers: impl IntoIterator<Item = i64>) -> String {
    let texts: Vec<String> = numbers.into_iter().map(|number| number.to_string()).collect();
    format!("[{}]", texts.join(","))
}

/// A JSON value that may be absent, as a parameter.
pub(crate) fn json_text(json: Option<&Json>) -> Option<String> {
    json.map(|json| json.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    #[test]
    fn a_list_is_json_whatever_its_texts_hold() {
        let texts = ["plain", "quo\"te", "back\\slash", "line\nbreak", "ü"];
        let list: Vec<String> = serde_json::from_str(&json_list(texts)).unwrap();
        assert_eq!(list, texts);
    }

    #[test]
    fn any_number_of_rows_is_made_of_the_sizes() {
        static STATEMENT: LazyLock<RowStatement> =
            LazyLock::new(|| RowStatement::insert("INSERT INTO t (a, b)", 2, ""));
        let taken = |rows| STATEMENT.shape(rows).1;
        assert_eq!(
            [1, 2, 4, 5, 65, 250].map(taken),
            [1, 2, 4, 5, 65, 250],
            "one statement"
        );
        assert_eq!([251, 999, 1_000, 1_001].map(taken), [250, 250, 1_000, 1_000]);
        let text =
            "INSERT INTO t (a, b) SELECT * FROM (VALUES (?,?),(?,?),(?,?),(?,?) ) WHERE column1 IS NOT NULL ";
        assert_eq!(STATEMENT.shape(3), (text, 3));
    }
}
