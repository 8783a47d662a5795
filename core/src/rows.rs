//! The rows of a call as a fixed binary tree: the same sums for any number of threads, and a pairwise summation besides.

use core::ops::Range;

use fearless_simd::Level;

use crate::element::{Element, GradientOf};
use crate::kernel::{Place, ReadRow, RowMut, WriteRow};
use crate::outputs::Outputs;
use crate::reduction::Totals;
use crate::scratch::Scratch;
use crate::view::{Logits, LogitsMut, Shape};

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
        match self {
            Self::Read(logits) | Self::Split(logits, _) => logits.level,
            Self::InPlace(logits) => logits.level,
        }
    }

    pub(crate) fn shape(&self) -> Shape {
        match self {
            Self::Read(logits) | Self::Split(logits, _) => logits.shape,
            Self::InPlace(logits) => logits.shape,
        }
    }

    #[cfg(feature = "rayon")]
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
    /// The worker's own row, or none.
    scratch: &'a mut [f32],
}

impl<'a, T: Element, G: GradientOf<T>> Rows<'a, T, G> {
    pub(crate) fn new(first: usize, matrix: Matrix<'a, T, G>, outputs: Outputs<'a>) -> Self {
        Self { first, matrix, outputs, scratch: &mut [] }
    }

    pub(crate) fn len(&self) -> usize {
        self.matrix.shape().rows
    }

    /// One row, with the outputs' slots of all.
    pub(crate) fn row(&mut self, row: usize) -> (Row<'_, T, G>, &mut Outputs<'a>) {
        let stride = self.matrix.shape().row_stride;
        let place = match &mut self.matrix {
            Matrix::Read(logits) => {
                let row = Row::Read(ReadRow::new(logits.row(row), stride));
                return (row, &mut self.outputs);
            }
            Matrix::Split(logits, result) => {
                let source = ReadRow::new(logits.row(row), stride);
                let stride = result.shape.row_stride;
                Place::Split(source, WriteRow::new(result.row_mut(row), stride))
            }
            Matrix::InPlace(logits) => Place::InPlace(WriteRow::new(logits.row_mut(row), stride)),
        };
        let row = Row::Write(RowMut::new(place, self.scratch));
        (row, &mut self.outputs)
    }

    /// Gives a row what ignored rows get: a gradient of exactly 0, and empty outputs. Its logits are not read.
    pub(crate) fn ignore(&mut self, local: usize) {
        if let (Row::Write(mut row), _) = self.row(local) {
            row.clear();
        }
        self.outputs.put_ignored(local);
    }

    #[cfg(feature = "rayon")]
    fn split_at(self, row: usize) -> (Self, Self) {
        let Self { first, matrix, outputs, .. } = self;
        let ((a, b), (c, d)) = (matrix.split_at(row), outputs.split_at(row));
        (Self::new(first, a, c), Self::new(first + row, b, d))
    }

    /// Runs `leaf` over every leaf of the tree and adds up what they return. `cursor` is handed from leaf to leaf in row order; another
    /// thread starts with a copy.
    pub(crate) fn run<C: Clone + Send>(
        self,
        scratch: &Scratch<'_>,
        cursor: &mut C,
        leaf: &(impl Fn(&mut Rows<'_, T, G>, Range<usize>, &mut C) -> Totals + Sync),
    ) -> Totals {
        #[cfg(feature = "rayon")]
        if let Some(middle) = self.parallel_split_point() {
            let (low, high) = self.split_at(middle);
            let mut other = cursor.clone();
            let (low, high) = rayon::join(
                || low.run(scratch, cursor, leaf),
                || high.run(scratch, &mut other, leaf),
            );
            return low.then(high);
        }
        scratch.with(|scratch| {
            let mut rows = Rows { scratch, ..self };
            sum_rows(0..rows.len(), &mut |range| leaf(&mut rows, range, cursor))
        })
    }

    /// Where to cut for another thread, if there is work enough.
    #[cfg(feature = "rayon")]
    fn parallel_split_point(&self) -> Option<usize> {
        let elements = self.len().saturating_mul(self.matrix.shape().vocab);
        split_point(self.len()).filter(|_| elements >= PARALLEL_ELEMENTS)
    }
}

/// Where a range of rows is cut: after the largest power of two of leaves that is not all of it. `None` for a leaf.
pub(crate) fn split_point(rows: usize) -> Option<usize> {
    let leaves = rows.div_ceil(LEAF_ROWS);
    (leaves > 1).then(|| LEAF_ROWS << (leaves - 1).ilog2())
}

/// The tree over row indices alone.
pub(crate) fn sum_rows(
    rows: Range<usize>,
    leaf: &mut impl FnMut(Range<usize>) -> Totals,
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
