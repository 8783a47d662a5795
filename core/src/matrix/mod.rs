//! Views over the caller's matrices. Every check of a shape lives here and only here.

mod address;
mod operands;
mod shape;

use core::ops::Range;

use fearless_simd::Level;

use crate::element::Element;
use crate::error::{Argument, Error};
use crate::rows::Place;

use address::{Rows, RowsMut};
use operands::AnyLogits;
pub(crate) use operands::Matrix;
pub(crate) use operands::Typed;
pub(crate) use shape::Shape;

/// The best SIMD level that can be known here: of the machine with feature `std`, of the target without.
#[must_use]
pub fn default_level() -> Level {
    Level::try_detect().unwrap_or(Level::baseline())
}

/// Logits `[rows × vocab]`, row-major, read-only.
///
/// A row starts every `row_stride ≥ vocab` elements; the columns past `vocab` (a padded vocabulary) are neither read
/// nor written. Copy it freely: it is a pointer and a shape.
///
/// ```
/// # use surprisal::{Error, Logits};
/// let z = [0.0_f32; 6];
/// assert!(Logits::new(&z, 2, 3).is_ok());
/// assert_eq!(Logits::new(&z, 2, 0).unwrap_err(), Error::EmptyVocab);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Logits<'a, T> {
    rows: Rows<'a, T>,
    pub(crate) shape: Shape,
}

impl<'a, T: Element> Logits<'a, T> {
    /// Rows without padding: `data` has exactly `rows * vocab` elements.
    ///
    /// # Errors
    /// [`Error::EmptyVocab`], [`Error::Extent`], [`Error::Length`].
    pub fn new(data: &'a [T], rows: usize, vocab: usize) -> Result<Self, Error> {
        Self::strided(data, rows, vocab, vocab)
    }

    /// Rows that start every `row_stride` elements; the padding of the last row may be missing.
    ///
    /// # Errors
    /// As [`Logits::new`], and [`Error::Stride`] where `row_stride < vocab`.
    pub fn strided(
        data: &'a [T],
        rows: usize,
        vocab: usize,
        row_stride: usize,
    ) -> Result<Self, Error> {
        let shape = Shape::new(rows, vocab);
        Ok(Self { rows: Rows::of_slice(Argument::Logits, data, rows, vocab, row_stride)?, shape })
    }

    /// Says that the columns are the classes from `vocab_start` on of a vocabulary of `vocab_total` (tensor parallelism).
    ///
    /// # Errors
    /// [`Error::Shard`] where the columns do not lie inside `0..vocab_total`.
    pub fn shard(mut self, vocab_start: usize, vocab_total: usize) -> Result<Self, Error> {
        self.shape = self.shape.shard(vocab_start, vocab_total)?;
        Ok(self)
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// Number of columns that are read.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.shape.vocab
    }

    /// One row, without its padding; empty where `row >= rows`.
    #[must_use]
    pub fn row(&self, row: usize) -> &'a [T] {
        self.rows.row(row)
    }

    /// Where rows are, to read; and all those that follow them.
    fn band(self, rows: Range<usize>, places: &mut [Place<'a>]) -> AnyLogits<'a> {
        for (place, row) in places.iter_mut().zip(rows.clone()) {
            place.logits = Some(T::row(self.row(row)));
        }
        T::logits(self.split_at(rows.end).1)
    }

    pub(crate) fn split_at(self, row: usize) -> (Self, Self) {
        let (a, b) = self.rows.split_at(row);
        let (low, high) = self.shape.split_at(row);
        (Self { rows: a, shape: low }, Self { rows: b, shape: high })
    }
}

/// A matrix `[rows × vocab]` to write: the gradient, log-probabilities, or logits that a call overwrites in place.
///
/// Same layout rules as [`Logits`]. The columns past `vocab` keep their values, unless [`LogitsMut::zero_padding`] says otherwise.
#[derive(Debug)]
pub struct LogitsMut<'a, T> {
    rows: RowsMut<'a, T>,
    pub(crate) shape: Shape,
    zero_padding: bool,
}

impl<'a, T: Element> LogitsMut<'a, T> {
    /// Rows without padding: `data` has exactly `rows * vocab` elements.
    ///
    /// # Errors
    /// [`Error::EmptyVocab`], [`Error::Extent`], [`Error::Length`].
    pub fn new(data: &'a mut [T], rows: usize, vocab: usize) -> Result<Self, Error> {
        Self::strided(data, rows, vocab, vocab)
    }

    /// Rows that start every `row_stride` elements; the padding of the last row may be missing.
    ///
    /// # Errors
    /// As [`LogitsMut::new`], and [`Error::Stride`] where `row_stride < vocab`.
    pub fn strided(
        data: &'a mut [T],
        rows: usize,
        vocab: usize,
        row_stride: usize,
    ) -> Result<Self, Error> {
        let shape = Shape::new(rows, vocab);
        let rows = RowsMut::of_slice(Argument::Dlogits, data, rows, vocab, row_stride)?;
        Ok(Self { rows, shape, zero_padding: false })
    }

    /// As [`Logits::shard`].
    ///
    /// # Errors
    /// [`Error::Shard`].
    pub fn shard(mut self, vocab_start: usize, vocab_total: usize) -> Result<Self, Error> {
        self.shape = self.shape.shard(vocab_start, vocab_total)?;
        Ok(self)
    }

    /// Sets the columns between `vocab` and the stride to zero, in every row that a call writes: a trainer whose vocabulary is padded for
    /// speed multiplies by them. Padding that is missing from the last row stays missing.
    #[must_use]
    pub fn zero_padding(mut self) -> Self {
        self.zero_padding = true;
        self
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    /// Number of columns that are written.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.shape.vocab
    }

    /// The same matrix to read from.
    #[must_use]
    pub fn as_logits(&self) -> Logits<'_, T> {
        Logits { rows: self.rows.as_rows(), shape: self.shape }
    }

    /// Where rows are, to write; and all those that follow them, to read.
    fn band<'m>(&'m mut self, rows: Range<usize>, places: &mut [Place<'m>]) -> AnyLogits<'m> {
        let (low, high) = self.rows.reborrow().split_at(rows.end);
        for (place, row) in places.iter_mut().zip(low.into_rows(rows)) {
            place.result = Some(T::row_mut(row));
        }
        T::logits(Logits { rows: high.into_shared(), shape: self.shape })
    }

    fn clear_padding(&mut self, rows: Range<usize>) {
        if self.zero_padding {
            self.rows.reborrow().into_padding(rows).for_each(|padding| padding.fill(T::ZERO));
        }
    }

    #[cfg(feature = "rayon")]
    pub(crate) fn split_at(self, row: usize) -> (Self, Self) {
        let (a, b) = self.rows.split_at(row);
        let (low, high) = self.shape.split_at(row);
        let zero_padding = self.zero_padding;
        (Self { rows: a, shape: low, zero_padding }, Self { rows: b, shape: high, zero_padding })
    }
}
