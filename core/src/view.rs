//! Views over the caller's memory. Every check of a shape lives here and only here.

use core::ops::Range;

use fearless_simd::Level;

use crate::element::Element;
use crate::error::{Argument, Error, check_len};

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
        // The padding behind the last row may be missing.
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

    /// Where a row lies; behind the end of the data if there is no such row.
    fn row(self, row: usize) -> Range<usize> {
        let start = row.saturating_mul(self.row_stride);
        start..start.saturating_add(self.vocab)
    }

    pub(crate) fn check_whole(self) -> Result<(), Error> {
        if self.vocab == self.vocab_total { Ok(()) } else { Err(Error::NeedsWholeRows) }
    }

    pub(crate) fn check_same(self, argument: Argument, other: Self) -> Result<(), Error> {
        if (self.rows, self.vocab) == (other.rows, other.vocab) {
            Ok(())
        } else {
            Err(Error::Shape { argument })
        }
    }
}

/// The best SIMD level that can be known here: of the machine with feature `std`, of the target without.
#[must_use]
pub fn default_level() -> Level {
    Level::try_detect().unwrap_or(Level::baseline())
}

/// Logits `[rows × vocab]`, row-major, read-only.
///
/// A row starts every `row_stride ≥ vocab` elements; the columns behind `vocab` (a padded vocabulary) are neither read
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
    pub(crate) level: Level,
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
        Ok(Self { data, shape, level: default_level() })
    }

    /// Says that the columns are the classes from `vocab_start` on of a vocabulary of `vocab_total` (tensor parallelism).
    ///
    /// # Errors
    /// [`Error::Shard`] where the columns do not lie inside `0..vocab_total`.
    pub fn shard(mut self, vocab_start: usize, vocab_total: usize) -> Result<Self, Error> {
        self.shape = self.shape.shard(vocab_start, vocab_total)?;
        Ok(self)
    }

    /// Runs the kernels over this view at a given SIMD level instead of the best one (tests, and `no_std` callers that detected it themselves).
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
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

    #[cfg(feature = "rayon")]
    pub(crate) fn split_at(self, row: usize) -> (Self, Self) {
        let (low, high) = split_shape(self.shape, row);
        let (a, b) = self.data.split_at(split_offset(self.shape, row, self.data.len()));
        (Self { data: a, shape: low, ..self }, Self { data: b, shape: high, ..self })
    }
}

/// A matrix `[rows × vocab]` to write: the gradient, log-probabilities, or logits that a call overwrites in place.
///
/// Same layout rules as [`Logits`]. The columns behind `vocab` keep their values.
#[derive(Debug)]
pub struct LogitsMut<'a, T> {
    pub(crate) data: &'a mut [T],
    pub(crate) shape: Shape,
    pub(crate) level: Level,
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
        Ok(Self { data, shape, level: default_level() })
    }

    /// As [`Logits::shard`].
    ///
    /// # Errors
    /// [`Error::Shard`].
    pub fn shard(mut self, vocab_start: usize, vocab_total: usize) -> Result<Self, Error> {
        self.shape = self.shape.shard(vocab_start, vocab_total)?;
        Ok(self)
    }

    /// As [`Logits::level`].
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
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
        Logits { data: self.data, shape: self.shape, level: self.level }
    }

    /// A row to write, with a later one to read; empty where there is none.
    pub(crate) fn row_mut(&mut self, row: usize, later: Option<usize>) -> (&mut [T], &[T]) {
        let later = later.map_or(usize::MAX, |later| self.shape.row(later).start);
        let (low, high) = self.data.split_at_mut(later.min(self.data.len()));
        let row = low.get_mut(self.shape.row(row)).unwrap_or_default();
        (row, high.get(..self.shape.vocab).unwrap_or_default())
    }

    #[cfg(feature = "rayon")]
    pub(crate) fn split_at(self, row: usize) -> (Self, Self) {
        let (low, high) = split_shape(self.shape, row);
        let (a, b) = self.data.split_at_mut(split_offset(self.shape, row, self.data.len()));
        let level = self.level;
        (Self { data: a, shape: low, level }, Self { data: b, shape: high, level })
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

/// Integer ids over the caller's memory: targets or sequence offsets, as `i32`, `u32` or `i64`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Ids<'a> {
    /// 32-bit signed (llama.cpp's `llama_token`, `FlashAttention`'s `cu_seqlens`).
    I32(&'a [i32]),
    /// 32-bit unsigned (candle).
    U32(&'a [u32]),
    /// 64-bit signed (PyTorch).
    I64(&'a [i64]),
}

impl Ids<'_> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::I32(ids) => ids.len(),
            Self::U32(ids) => ids.len(),
            Self::I64(ids) => ids.len(),
        }
    }

    pub(crate) fn get(self, index: usize) -> Option<i64> {
        match self {
            Self::I32(ids) => ids.get(index).map(|&id| i64::from(id)),
            Self::U32(ids) => ids.get(index).map(|&id| i64::from(id)),
            Self::I64(ids) => ids.get(index).copied(),
        }
    }
}

macro_rules! ids_from {
    ($($int:ty => $variant:ident),*) => {$(
        impl<'a> From<&'a [$int]> for Ids<'a> {
            fn from(ids: &'a [$int]) -> Self {
                Self::$variant(ids)
            }
        }

        impl<'a, const N: usize> From<&'a [$int; N]> for Ids<'a> {
            fn from(ids: &'a [$int; N]) -> Self {
                Self::$variant(ids)
            }
        }

        #[cfg(feature = "std")]
        impl<'a> From<&'a std::vec::Vec<$int>> for Ids<'a> {
            fn from(ids: &'a std::vec::Vec<$int>) -> Self {
                Self::$variant(ids)
            }
        }
    )*};
}
ids_from!(i32 => I32, u32 => U32, i64 => I64);

/// Sequences of a packed batch, as cumulative offsets: sequence `i` has the rows `offsets[i]..offsets[i + 1]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sequences<'a>(pub(crate) Ids<'a>);

impl Sequences<'_> {
    /// Offsets start at 0, never fall, and end at `rows`.
    pub(crate) fn check(self, rows: usize) -> Result<(), Error> {
        let offsets = self.0;
        if offsets.len() == 0 {
            return check_len(Argument::Sequences, 0, 1);
        }
        let mut last = 0;
        for (index, offset) in (0..).map_while(|i| offsets.get(i)).enumerate() {
            let starts = index > 0 || offset == 0;
            let ends = index + 1 < offsets.len() || usize::try_from(offset) == Ok(rows);
            if offset < last || !starts || !ends {
                return Err(Error::Sequences { index, offset });
            }
            last = offset;
        }
        Ok(())
    }

    pub(crate) fn len(self) -> usize {
        self.0.len() - 1
    }

    /// The rows of a sequence, none where there is no such sequence; the offsets have been checked.
    pub(crate) fn rows(self, sequence: usize) -> Range<usize> {
        let offset = |i| self.0.get(i).and_then(|offset| usize::try_from(offset).ok());
        let end = offset(sequence.saturating_add(1));
        offset(sequence).zip(end).map_or(0..0, |(start, end)| start..end)
    }

    /// The sequence that a row lies in: the last one that starts at or before it.
    pub(crate) fn of_row(self, row: usize) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.rows(middle).end <= row { low = middle + 1 } else { high = middle }
        }
        low
    }
}
