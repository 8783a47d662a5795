//! How large a matrix is, and where its columns lie in the whole vocabulary.

use core::ops::Range;

use crate::error::{Argument, Error};

/// Rows and columns of a matrix, and the vocabulary that it is a part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) vocab: usize,
    pub(crate) vocab_start: usize,
    pub(crate) vocab_total: usize,
}

impl Shape {
    /// Of whole rows.
    pub(super) fn new(rows: usize, vocab: usize) -> Self {
        Self { rows, vocab, vocab_start: 0, vocab_total: vocab }
    }

    /// The columns as the part of a vocabulary of `vocab_total` that starts at `vocab_start`.
    pub(super) fn shard(mut self, vocab_start: usize, vocab_total: usize) -> Result<Self, Error> {
        let vocab = self.vocab;
        match vocab_start.checked_add(vocab) {
            Some(end) if end <= vocab_total => {}
            _ => return Err(Error::Shard { vocab_start, vocab, vocab_total }),
        }
        (self.vocab_start, self.vocab_total) = (vocab_start, vocab_total);
        Ok(self)
    }

    pub(crate) fn check_whole(self) -> Result<(), Error> {
        if self.vocab == self.vocab_total { Ok(()) } else { Err(Error::NeedsWholeRows) }
    }

    /// Checks that a result has this shape, and the same place in the vocabulary if it names one.
    pub(crate) fn check_same(self, argument: Argument, other: Self) -> Result<(), Error> {
        if (self.rows, self.vocab) != (other.rows, other.vocab) {
            return Err(Error::Shape { argument });
        }
        let place = (other.vocab_start, other.vocab_total);
        if other.vocab != other.vocab_total && place != (self.vocab_start, self.vocab_total) {
            return Err(Error::OtherShard { argument, vocab_start: place.0, vocab_total: place.1 });
        }
        Ok(())
    }

    /// The classes of its columns.
    pub(crate) fn classes(self) -> Range<usize> {
        self.vocab_start..self.vocab_start + self.vocab
    }

    /// The shapes of the rows before one, and of the others.
    pub(super) fn split_at(self, row: usize) -> (Self, Self) {
        (Self { rows: row, ..self }, Self { rows: self.rows - row, ..self })
    }
}
