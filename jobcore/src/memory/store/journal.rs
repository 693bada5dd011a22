//! An append-only list with sequence numbers, whose old entries can be removed.

use std::collections::VecDeque;

/// How many entries a block has: growing never moves more than the list of blocks.
const BLOCK: u64 = 512;

/// Entries numbered from 0 in the order in which they were pushed. A removed one leaves a hole until its whole block,
/// and all before it, are empty.
#[derive(Debug)]
pub(super) struct Journal<T> {
    blocks: VecDeque<Block<T>>,
    /// The number of the first block.
    first_block: u64,
    end: u64,
}

#[derive(Debug)]
struct Block<T> {
    entries: Vec<Option<T>>,
    filled: usize,
}

impl<T> Default for Journal<T> {
    fn default() -> Self {
        Self {
            blocks: VecDeque::new(),
            first_block: 0,
            end: 0,
        }
    }
}

impl<T> Journal<T> {
    /// Appends an entry and returns its number.
    pub(super) fn push(&mut self, entry: T) -> u64 {
        let number = self.end;
        if number.is_multiple_of(BLOCK) {
            self.blocks.push_back(Block {
                entries: Vec::with_capacity(BLOCK as usize),
                filled: 0,
            });
        }
        let block = self
            .blocks
            .back_mut()
            .expect("invariant: the last block has room for the next entry");
        block.entries.push(Some(entry));
        block.filled += 1;
        self.end += 1;
        number
    }

    /// The number that the next entry gets.
    pub(super) const fn end(&self) -> u64 {
        self.end
    }

    /// The lowest number that an entry may still have.
    pub(super) const fn start(&self) -> u64 {
        self.first_block * BLOCK
    }

    pub(super) fn get(&self, number: u64) -> Option<&T> {
        let (block, place) = self.place(number)?;
        self.blocks.get(block)?.entries.get(place)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let (block, place) = self.place(number)?;
        self.blocks.get_mut(block)?.entries.get_mut(place)?.as_mut()
    }

    /// Removes an entry. Numbers of others stay.
    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let (block, place) = self.place(number)?;
        let block = self.blocks.get_mut(block)?;
        let entry = block.entries.get_mut(place)?.take()?;
        block.filled -= 1;
        // The last block stays while it can take more: its place is known by the count of all.
        while self
            .blocks
            .front()
            .is_some_and(|block| block.filled == 0 && block.entries.len() as u64 == BLOCK)
        {
            self.blocks.pop_front();
            self.first_block += 1;
        }
        Some(entry)
    }

    /// The entries from `number` on, oldest first.
    pub(super) fn from(&self, number: u64) -> impl Iterator<Item = (u64, &T)> {
        (number.max(self.start())..self.end).filter_map(|number| Some((number, self.get(number)?)))
    }

    /// The entries before `number`, newest first.
    pub(super) fn back_from(&self, number: u64) -> impl Iterator<Item = (u64, &T)> {
        (self.start()..number.min(self.end))
            .rev()
            .filter_map(|number| Some((number, self.get(number)?)))
    }

    fn place(&self, number: u64) -> Option<(usize, usize)> {
        let block = (number / BLOCK).checked_sub(self.first_block)?;
        Some((usize::try_from(block).ok()?, (number % BLOCK) as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_last_and_empty_blocks_go() {
        let mut journal = Journal::default();
        for number in 0..2_000u64 {
            assert_eq!(journal.push(number), number);
        }
        for number in 0..1_500 {
            assert_eq!(journal.remove(number), Some(number));
        }
        assert_eq!((journal.start(), journal.end()), (1_024, 2_000));
        assert_eq!((journal.get(1_499), journal.get(1_500)), (None, Some(&1_500)));
        assert_eq!(journal.remove(3), None);
        assert_eq!(journal.back_from(u64::MAX).next(), Some((1_999, &1_999)));
        assert_eq!(journal.from(0).next(), Some((1_500, &1_500)));
    }

    #[test]
    fn an_emptied_last_block_goes_on_counting() {
        let mut journal = Journal::default();
        journal.push('a');
        journal.remove(0);
        assert_eq!(journal.push('b'), 1);
        assert_eq!(journal.from(0).collect::<Vec<_>>(), [(1, &'b')]);
    }
}
