//! Views over the caller's matrices. Every check of a shape lives here and only here.

use core::ops::Range;

use fearless_simd::Level;

use crate::kernel::TOGETHER;
use crate::rows::Place;

use crate::element::Element;
use crate::error::{Argument, Error};

/// Rows, columns and stride of a row-major matrix, and where its columns lie in the whole vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) vocab: usize,
    pub(crate) row_stride: usize,
    pub(crate) vocab_start: usize,
    pub(crate) vocab_total: usize,
}

impl Shape {
    fn new(
        argument: Argument,
        len: usize,
        rows: usize,
        vocab: usize,
        row_stride: usize,
    ) -> Result<Self, Error> {
        if vocab == 0 {
            return Err(Error::EmptyVocab);
        }
        if row_stride < vocab {
            return Err(Error::Stride { argument, row_stride, vocab });
        }
        let end = rows.checked_mul(row_stride).ok_or(Error::Extent { argument })?;
        // The padding of the last row may be missing.
        let least = end.saturating_sub(row_stride - vocab);
        if len < least || len > end {
            return Err(Error::Length { argument, expected: least, actual: len });
        }
        Ok(Self { rows, vocab, row_stride, vocab_start: 0, vocab_total: vocab })
    }

    /// The columns as the part of a vocabulary of `vocab_total` that starts at `vocab_start`.
    fn shard(mut self, vocab_start: usize, vocab_total: usize) -> Result<Self, Error> {
        let vocab = self.vocab;
        match vocab_start.checked_add(vocab) {
            Some(end) if end <= vocab_total => {}
            _ => return Err(Error::Shard { vocab_start, vocab, vocab_total }),
        }
        (self.vocab_start, self.vocab_total) = (vocab_start, vocab_total);
        Ok(self)
    }

    /// Where a row lies; past the end of the data if there is no such row.
    fn row(self, row: usize) -> Range<usize> {
        let start = row.saturating_mul(self.row_stride);
        start..start.saturating_add(self.vocab)
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
}

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
    pub(crate) data: &'a [T],
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
        let shape = Shape::new(Argument::Logits, data.len(), rows, vocab, row_stride)?;
        Ok(Self { data, shape })
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
        self.data.get(self.shape.row(row)).unwrap_or_default()
    }

    fn rows_of(&self, rows: Range<usize>) -> [&'a [T]; TOGETHER] {
        let mut slices = [&[][..]; TOGETHER];
        for (slot, row) in slices.iter_mut().zip(rows) {
            *slot = self.row(row);
        }
        slices
    }

    #[cfg(feature = "rayon")]
    pub(crate) fn split_at(self, row: usize) -> (Self, Self) {
        let (low, high) = split_shape(self.shape, row);
        let (a, b) = self.data.split_at(split_offset(self.shape, row, self.data.len()));
        (Self { data: a, shape: low }, Self { data: b, shape: high })
    }
}

/// A matrix `[rows × vocab]` to write: the gradient, log-probabilities, or logits that a call overwrites in place.
///
/// Same layout rules as [`Logits`]. The columns past `vocab` keep their values, unless [`LogitsMut::zero_padding`] says otherwise.
#[derive(Debug)]
pub struct LogitsMut<'a, T> {
    pub(crate) data: &'a mut [T],
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
        let shape = Shape::new(Argument::Dlogits, data.len(), rows, vocab, row_stride)?;
        Ok(Self { data, shape, zero_padding: false })
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
        Logits { data: self.data, shape: self.shape }
    }

    /// Rows to write, and those that follow to read.
    fn band(
        &mut self,
        rows: Range<usize>,
        next: Range<usize>,
    ) -> (impl Iterator<Item = &mut [T]>, [&[T]; TOGETHER]) {
        let Shape { vocab, row_stride, .. } = self.shape;
        let middle = (rows.end * row_stride).min(self.data.len());
        let (low, high) = self.data.split_at_mut(middle);
        let rows = low.get_mut(rows.start * row_stride..).unwrap_or_default();
        let rows = rows.chunks_mut(row_stride.max(1));
        let rows = rows.map(move |row| row.get_mut(..vocab).unwrap_or_default());
        let mut later = [&[][..]; TOGETHER];
        for (slot, row) in later.iter_mut().zip(high.chunks(row_stride.max(1))).take(next.len()) {
            *slot = row.get(..vocab).unwrap_or_default();
        }
        (rows, later)
    }

    fn clear_padding(&mut self, rows: Range<usize>) {
        let Shape { vocab, row_stride, .. } = self.shape;
        for row in rows.filter(|_| self.zero_padding) {
            let start = row * row_stride;
            let range = start + vocab..self.data.len().min(start + row_stride);
            self.data.get_mut(range).unwrap_or_default().fill(T::ZERO);
        }
    }

    #[cfg(feature = "rayon")]
    pub(crate) fn split_at(self, row: usize) -> (Self, Self) {
        let (low, high) = split_shape(self.shape, row);
        let (a, b) = self.data.split_at_mut(split_offset(self.shape, row, self.data.len()));
        let zero_padding = self.zero_padding;
        (Self { data: a, shape: low, zero_padding }, Self { data: b, shape: high, zero_padding })
    }
}

#[cfg(feature = "rayon")]
fn split_shape(shape: Shape, row: usize) -> (Shape, Shape) {
    (Shape { rows: row, ..shape }, Shape { rows: shape.rows - row, ..shape })
}

#[cfg(feature = "rayon")]
fn split_offset(shape: Shape, row: usize, len: usize) -> usize {
    (row * shape.row_stride).min(len)
}

/// The matrices of a call.
#[derive(Debug)]
pub(crate) enum Matrix<'a, T, G> {
    /// Logits to read.
    Read(Logits<'a, T>),
    /// Logits to read, a result to write.
    Split(Logits<'a, T>, LogitsMut<'a, G>),
    /// Logits to overwrite.
    InPlace(LogitsMut<'a, T>),
}

impl<'a, T: Element, G: Element> Matrix<'a, T, G> {
    pub(crate) fn shape(&self) -> Shape {
        match self {
            Self::Read(logits) | Self::Split(logits, _) => logits.shape,
            Self::InPlace(logits) => logits.shape,
        }
    }

    /// Whether results are 16-bit numbers.
    pub(crate) fn is_16_bit(&self) -> bool {
        match self {
            Self::Read(_) => false,
            Self::Split(..) => size_of::<G>() == 2,
            Self::InPlace(_) => size_of::<T>() == 2,
        }
    }

    /// The logits alone.
    pub(crate) fn logits(&self) -> Logits<'_, T> {
        match self {
            Self::Read(logits) | Self::Split(logits, _) => *logits,
            Self::InPlace(logits) => logits.as_logits(),
        }
    }

    /// Where the logits of a band are and where its results go, with the logits of the band that follows.
    pub(crate) fn band(
        &mut self,
        rows: Range<usize>,
        next: Range<usize>,
    ) -> ([Place<'_, T, G>; TOGETHER], [&[T]; TOGETHER]) {
        let mut places: [Place<'_, T, G>; TOGETHER] = Default::default();
        let later = match self {
            Self::Read(logits) => {
                for (place, row) in places.iter_mut().zip(rows) {
                    *place = Place::Read(logits.row(row));
                }
                logits.rows_of(next)
            }
            Self::Split(logits, result) => {
                let (outs, _) = result.band(rows.clone(), 0..0);
                for ((place, row), out) in places.iter_mut().zip(rows).zip(outs) {
                    *place = Place::Split(logits.row(row), out);
                }
                logits.rows_of(next)
            }
            Self::InPlace(logits) => {
                let (rows, later) = logits.band(rows, next);
                for (place, row) in places.iter_mut().zip(rows) {
                    *place = Place::Over(row);
                }
                later
            }
        };
        (places, later)
    }

    /// Sets the padding of rows where that is to be zero.
    pub(crate) fn clear_padding(&mut self, rows: Range<usize>) {
        match self {
            Self::Read(_) => {}
            Self::Split(_, result) => result.clear_padding(rows),
            Self::InPlace(logits) => logits.clear_padding(rows),
        }
    }

    #[cfg(feature = "rayon")]
    pub(crate) fn split_at(self, row: usize) -> (Self, Self) {
        match self {
            Self::Read(logits) => {
                let (a, b) = logits.split_at(row);
                (Self::Read(a), Self::Read(b))
            }
            Self::Split(logits, result) => {
                let ((a, b), (c, d)) = (logits.split_at(row), result.split_at(row));
                (Self::Split(a, c), Self::Split(b, d))
            }
            Self::InPlace(logits) => {
                let (a, b) = logits.split_at(row);
                (Self::InPlace(a), Self::InPlace(b))
            }
        }
    }
}
