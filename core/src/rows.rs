//! The rows of a call as a fixed binary tree: the same sums for any number of threads, and a pairwise summation besides.

use fearless_simd::Level;

use crate::element::{Element, GradientOf};
use crate::kernel::{ReadRow, RowMut};
use crate::outputs::Outputs;
use crate::reduction::Totals;
use crate::view::{Logits, LogitsMut};

/// Rows of a leaf. Small, so that few long rows still spread over threads.
const LEAF_ROWS: usize = 4;

/// Fewer elements than this are not worth another thread.
#[cfg(feature = "rayon")]
const PARALLEL_ELEMENTS: usize = 1 << 16;

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

/// One row of a [`Matrix`].
#[derive(Debug)]
pub(crate) enum Row<'a, T, G> {
    Read(ReadRow<'a, T>),
    Write(RowMut<'a, T, G>),
}

impl<T: Element, G: GradientOf<T>> Row<'_, T, G> {
    pub(crate) fn read(&self) -> ReadRow<'_, T> {
        match self {
            Self::Read(row) => *row,
            Self::Write(row) => row.read(),
        }
    }
}

impl<'a, T: Element, G: GradientOf<T>> Matrix<'a, T, G> {
    pub(crate) fn logits(&self) -> Logits<'_, T> {
        match self {
            Self::Read(logits) | Self::Split(logits, _) => *logits,
            Self::InPlace(logits) => logits.as_logits(),
        }
    }

    pub(crate) fn level(&self) -> Level {
        self.logits().level
    }

    pub(crate) fn row(&mut self, row: usize) -> Row<'_, T, G> {
        let stride = self.logits().shape.row_stride;
        match self {
            Self::Read(logits) => Row::Read(ReadRow::new(logits.row(row), stride)),
            Self::Split(logits, result) => {
                let source = ReadRow::new(logits.row(row), stride);
                Row::Write(RowMut::Split(source, result.row_mut(row)))
            }
            Self::InPlace(logits) => {
                let row = logits.row_mut(row);
                let next = row.as_ptr().wrapping_add(stride);
                Row::Write(RowMut::InPlace(row, next))
            }
        }
    }

    fn split_at(self, row: usize) -> (Self, Self) {
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

/// A range of rows with all that a call reads and writes there.
#[derive(Debug)]
pub(crate) struct Rows<'a, T, G> {
    /// Index of the first row in the batch.
    pub(crate) first: usize,
    pub(crate) matrix: Matrix<'a, T, G>,
    pub(crate) outputs: Outputs<'a>,
}

impl<'a, T: Element, G: GradientOf<T>> Rows<'a, T, G> {
    pub(crate) fn new(first: usize, matrix: Matrix<'a, T, G>, outputs: Outputs<'a>) -> Self {
        Self { first, matrix, outputs }
    }

    pub(crate) fn len(&self) -> usize {
        self.matrix.logits().rows()
    }

    /// Gives a row what ignored rows get: a gradient of exactly 0, and empty outputs. Its logits are not read.
    pub(crate) fn ignore(&mut self, local: usize) {
        if let Row::Write(mut row) = self.matrix.row(local) {
            row.clear();
        }
        self.outputs.put_ignored(local);
    }

    fn split_at(self, row: usize) -> (Self, Self) {
        let (a, b) = self.matrix.split_at(row);
        let (c, d) = self.outputs.split_at(row);
        let first = self.first + row;
        (Self { first: self.first, matrix: a, outputs: c }, Self { first, matrix: b, outputs: d })
    }

    /// Runs `leaf` over every leaf of the tree and adds up what they return. `cursor` is handed from leaf to leaf in row order; another
    /// thread starts with a copy.
    pub(crate) fn run<C: Clone + Send>(
        self,
        cursor: &mut C,
        leaf: &(impl Fn(Self, &mut C) -> Totals + Sync),
    ) -> Totals {
        let rows = self.len();
        let Some(middle) = split_point(rows) else { return leaf(self, cursor) };
        #[cfg(feature = "rayon")]
        let parallel = rows.saturating_mul(self.matrix.logits().vocab()) >= PARALLEL_ELEMENTS;
        let (low, high) = self.split_at(middle);
        #[cfg(feature = "rayon")]
        if parallel {
            let mut other = cursor.clone();
            let (low, high) = rayon::join(|| low.run(cursor, leaf), || high.run(&mut other, leaf));
            return low.then(high);
        }
        let low = low.run(cursor, leaf);
        low.then(high.run(cursor, leaf))
    }
}

/// Where a range of rows is cut: after the largest power of two of leaves that is not all of it. `None` for a leaf.
pub(crate) fn split_point(rows: usize) -> Option<usize> {
    let leaves = rows.div_ceil(LEAF_ROWS);
    (leaves > 1).then(|| LEAF_ROWS << (leaves - 1).ilog2())
}

/// The same tree over row indices alone, for the stage that has no matrix.
pub(crate) fn sum_rows(
    rows: core::ops::Range<usize>,
    leaf: &mut impl FnMut(core::ops::Range<usize>) -> Totals,
) -> Totals {
    match split_point(rows.len()) {
        None => leaf(rows),
        Some(middle) => {
            let middle = rows.start + middle;
            let low = sum_rows(rows.start..middle, leaf);
            low.then(sum_rows(middle..rows.end, leaf))
        }
    }
}
