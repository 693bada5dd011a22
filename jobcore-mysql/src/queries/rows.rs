//! Statements with a list of rows, in a few fixed sizes, so that each is prepared once on a connection and kept.

use std::fmt::Write as _;

use sqlx::mysql::{MySqlArguments, MySqlConnection, MySqlRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, MySql};

use crate::error::Result;

/// A statement with its parameters.
pub(crate) type Bound = Query<'static, MySql, MySqlArguments>;

/// The sizes: 1,000 rows, which most batches have, take two statements, and no number takes many. An `IN` list of 1,000
/// would make MariaDB turn it into a join. Few sizes, since a connection keeps each prepared, and one that is closed costs
/// a delay: see [`made`].
const SIZES: [usize; 7] = [500, 100, 20, 8, 4, 2, 1];

/// A statement `HEAD ROW, ROW, … TAIL` in all sizes.
#[derive(Debug)]
pub(crate) struct RowStatement {
    shapes: [(usize, String); SIZES.len()],
    /// Whether a row may stand there twice without a difference, so that fewer rows than a size has are filled up.
    fills: bool,
}

impl RowStatement {
    /// The statement `HEAD (?, …), (?, …), … TAIL` for rows of `columns` values.
    pub(crate) fn new(head: &str, columns: usize, tail: &str) -> Self {
        Self::with_row(head, &format!("({})", vec!["?"; columns].join(",")), tail)
    }

    /// The statement for rows that each are written as `row`.
    pub(crate) fn with_row(head: &str, row: &str, tail: &str) -> Self {
        Self::joined(head, row, ",", tail)
    }

    /// The statement `HEAD (CONDITION OR CONDITION …) TAIL`: for keys of several columns, which an `IN` list of rows doesn't
    /// look up by an index everywhere.
    pub(crate) fn any(head: &str, condition: &str, tail: &str) -> Self {
        Self::joined(&format!("{head} ("), condition, " OR ", &format!(") {tail}")).filled()
    }

    /// The statement for rows with this between them.
    pub(crate) fn joined(head: &str, row: &str, separator: &str, tail: &str) -> Self {
        let shape = |size: usize| {
            let mut text = format!("{head} {row}");
            for _ in 1..size {
                // Writing to a string can't fail.
                let _ = write!(text, "{separator}{row}");
            }
            (size, format!("{text} {tail}"))
        };
        Self {
            shapes: SIZES.map(shape),
            fills: false,
        }
    }

    /// The same where a row may stand there twice without a difference.
    pub(crate) fn filled(self) -> Self {
        Self { fills: true, ..self }
    }

    /// The next statement for some of `rows`: its text, the rows, and what is left.
    fn next<'r, T>(&'static self, rows: &'r [T]) -> Option<(&'static str, Vec<&'r T>, &'r [T])> {
        let last = rows.last()?;
        let smallest = || self.shapes.iter().rev().find(|(size, _)| *size >= rows.len());
        let fitting = self.shapes.iter().find(|(size, _)| *size <= rows.len());
        let (size, text) = match self.fills {
            true => smallest().or(fitting)?,
            false => fitting?,
        };
        let (chunk, rest) = rows.split_at(rows.len().min(*size));
        let filling = std::iter::repeat_n(last, size - chunk.len());
        Some((text, chunk.iter().chain(filling).collect(), rest))
    }

    /// The statement `(PART) UNION ALL (PART) …`: a small look of its own for each row.
    pub(crate) fn union(part: &str) -> Self {
        Self::joined("", &format!("({part})"), " UNION ALL ", "")
    }

    /// The statement `HEAD (?, ?, …) TAIL` for a list of single values after `IN`.
    pub(crate) fn list(head: &str, tail: &str) -> Self {
        Self::with_row(&format!("{head} ("), "?", &format!(") {tail}")).filled()
    }

    /// Carries it out for all rows; `bind` adds the values of one. Answers how many rows it met.
    pub(crate) async fn execute<T>(
        &'static self,
        sql: &mut MySqlConnection,
        rows: &[T],
        bind: impl Fn(Bound, &T) -> Bound,
    ) -> Result<u64> {
        self.execute_with(sql, rows, |query| query, bind, |query| query)
            .await
    }

    /// Carries it out for all rows: `bind_head` adds the values of its head, `bind` those of a row, `bind_tail` those of its
    /// tail. Answers how many rows it met.
    pub(crate) async fn execute_with<T>(
        &'static self,
        sql: &mut MySqlConnection,
        mut rows: &[T],
        bind_head: impl Fn(Bound) -> Bound,
        bind: impl Fn(Bound, &T) -> Bound,
        bind_tail: impl Fn(Bound) -> Bound,
    ) -> Result<u64> {
        let mut met = 0;
        while let Some((text, chunk, rest)) = self.next(rows) {
            let query = chunk.into_iter().fold(bind_head(sqlx::query(text)), &bind);
            met += bind_tail(query).execute(&mut *sql).await?.rows_affected();
            rows = rest;
        }
        Ok(met)
    }

    /// Carries it out for all rows, and gives the rows that it answers with.
    pub(crate) async fn fetch<T>(
        &'static self,
        sql: &mut MySqlConnection,
        rows: &[T],
        bind: impl Fn(Bound, &T) -> Bound,
    ) -> Result<Vec<MySqlRow>> {
        self.fetch_with(sql, rows, |query| query, bind, |query| query)
            .await
    }

    /// As [`execute_with`](Self::execute_with), and gives the rows that it answers with.
    pub(crate) async fn fetch_with<T>(
        &'static self,
        sql: &mut MySqlConnection,
        mut rows: &[T],
        bind_head: impl Fn(Bound) -> Bound,
        bind: impl Fn(Bound, &T) -> Bound,
        bind_tail: impl Fn(Bound) -> Bound,
    ) -> Result<Vec<MySqlRow>> {
        let mut found = Vec::new();
        while let Some((text, chunk, rest)) = self.next(rows) {
            let query = chunk.into_iter().fold(bind_head(sqlx::query(text)), &bind);
            found.append(&mut bind_tail(query).fetch_all(&mut *sql).await?);
            rows = rest;
        }
        Ok(found)
    }
}

/// A statement that is put together, of which there are few shapes.
///
/// It is kept, too: closing a prepared statement has no answer, and what is sent next waits for the server to acknowledge
/// it, up to 40 ms, as the driver leaves Nagle's algorithm on.
pub(crate) fn made(text: String) -> Bound {
    sqlx::query(AssertSqlSafe(text))
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;

    static INSERT: LazyLock<RowStatement> =
        LazyLock::new(|| RowStatement::new("INSERT INTO t VALUES", 2, ""));
    static DELETE: LazyLock<RowStatement> =
        LazyLock::new(|| RowStatement::list("DELETE FROM t WHERE id IN", "AND state = ?"));

    /// How many rows each statement has, and how many of these are new.
    fn sizes(statement: &'static RowStatement, rows: usize) -> Vec<(usize, usize)> {
        let all = vec![0; rows];
        let mut rows = all.as_slice();
        let mut sizes = Vec::new();
        while let Some((_, chunk, rest)) = statement.next(rows) {
            sizes.push((chunk.len(), rows.len() - rest.len()));
            rows = rest;
        }
        sizes
    }

    #[test]
    fn any_number_of_rows_is_made_of_the_sizes() {
        let (text, ..) = INSERT.next(&[0, 1, 2, 3]).unwrap();
        assert_eq!(text, "INSERT INTO t VALUES (?,?),(?,?),(?,?),(?,?) ");
        assert_eq!(
            sizes(&INSERT, 1_025),
            [(500, 500), (500, 500), (20, 20), (4, 4), (1, 1)]
        );
        assert_eq!(sizes(&INSERT, 0), []);
    }

    #[test]
    fn lists_are_filled_up_by_what_is_there() {
        let (text, ..) = DELETE.next(&[0, 1, 2]).unwrap();
        assert_eq!(text, "DELETE FROM t WHERE id IN ( ?,?,?,? ) AND state = ?");
        assert_eq!(sizes(&DELETE, 1_025), [(500, 500), (500, 500), (100, 25)]);
    }
}
