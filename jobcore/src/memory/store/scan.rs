//! Long reads in short turns, so that no listing keeps the lock from a claim for long.

use crate::error::Result;
use crate::store::{Cursor, Page, PageRequest};

use super::history::parse;
use super::state::clamp;

/// How many rows a turn looks at: some hundred microseconds.
pub(super) const TURN: usize = 4_096;

/// Whether a read goes on in another turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// There may be more.
    More,
    /// It has all it wants.
    Done,
}

/// A page of rows with falling numbers, on its way.
#[derive(Debug)]
pub(super) struct Scan<T> {
    /// The number before which the next turn begins.
    before: u64,
    limit: usize,
    items: Vec<T>,
    /// The number of the last item.
    last: u64,
    next: Option<Cursor>,
}

impl<T> Scan<T> {
    pub(super) fn new(page: &PageRequest) -> Result<Self> {
        Ok(Self {
            before: page.cursor.as_ref().map_or(Ok(u64::MAX), parse)?,
            limit: clamp(page.limit),
            items: Vec::new(),
            last: 0,
            next: None,
        })
    }

    /// The number before which the next turn begins.
    pub(super) const fn before(&self) -> u64 {
        self.before
    }

    /// Takes a turn over `rows`, which begin before [`before`](Self::before); `copy` gives those that match.
    pub(super) fn turn<R>(
        &mut self,
        rows: impl Iterator<Item = (u64, R)>,
        copy: impl Fn(R) -> Option<T>,
    ) -> Turn {
        for (seen, (number, row)) in rows.enumerate() {
            if seen == TURN {
                return Turn::More;
            }
            if let Some(item) = copy(row) {
                if self.items.len() == self.limit {
                    self.next = Some(Cursor(self.last.to_string()));
                    return Turn::Done;
                }
                self.items.push(item);
                self.last = number;
            }
            self.before = number;
        }
        Turn::Done
    }

    pub(super) fn page(self) -> Page<T> {
        Page {
            items: self.items,
            next: self.next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evens(rows: u64, page: &PageRequest) -> (Page<u64>, usize) {
        let mut scan = Scan::new(page).unwrap();
        let mut turns = 1;
        while scan.turn((0..rows.min(scan.before())).rev().map(|row| (row, row)), |row| {
            (row % 2 == 0).then_some(row)
        }) == Turn::More
        {
            turns += 1;
        }
        (scan.page(), turns)
    }

    #[test]
    fn pages_join_up_over_turns() {
        let (mut page, turns) = evens(9_001, &PageRequest::first(1_000));
        assert_eq!((page.items[0], page.items.len(), turns), (9_000, 1_000, 1));
        let mut count = page.items.len();
        while let Some(cursor) = page.next {
            let limit = 1_000;
            (page, _) = evens(
                9_001,
                &PageRequest {
                    cursor: Some(cursor),
                    limit,
                },
            );
            count += page.items.len();
        }
        assert_eq!((count, page.items.last()), (4_501, Some(&0)));
    }

    #[test]
    fn a_rare_row_is_found_in_several_turns() {
        let mut scan: Scan<u64> = Scan::new(&PageRequest::first(10)).unwrap();
        let mut turns = 1;
        while scan.turn(
            (0..20_000u64.min(scan.before())).rev().map(|row| (row, row)),
            |row| (row == 7).then_some(row),
        ) == Turn::More
        {
            turns += 1;
        }
        assert_eq!((scan.page().items, turns), (vec![7], 5));
    }
}
