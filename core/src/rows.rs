//! The rows of a call as a fixed binary tree: the same sums for any number of threads, and a pairwise summation besides.

use core::ops::Range;

use fearless_simd::Level;

use crate::element::{Element, GradientOf};
use crate::kernel::{Place, ReadRow, RowMut, RowSums, WriteRow};
use crate::outputs::Outputs;
use crate::reduction::Totals;
use crate::scratch::Scratch;
use crate::view::{Logits, LogitsMut, Shape};

/// Rows of a leaf. Small, so that few long rows still spread over threads.
const LEAF_ROWS: usize = 4;

/// Fewer elements than this are not worth another thread.
#[cfg(feature = "rayon")]
const TASK_ELEMENTS: usize = 1 << 16;

/// Tasks for each thread, so that those that are done can help the others.
#[cfg(feature = "rayon")]
const TASKS_PER_THREAD: usize = 8;

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
    /// A row's largest logit, where it was found on the way.
    max: Option<(usize, f32)>,
}

impl<'a, T: Element, G: GradientOf<T>> Rows<'a, T, G> {
    pub(crate) fn new(first: usize, matrix: Matrix<'a, T, G>, outputs: Outputs<'a>) -> Self {
        Self { first, matrix, outputs, scratch: &mut [], max: None }
    }

    pub(crate) fn len(&self) -> usize {
        self.matrix.shape().rows
    }

    /// The row after this one.
    pub(crate) fn after(&self, row: usize) -> Option<usize> {
        Some(row + 1).filter(|&next| next < self.len())
    }

    /// One row, with the outputs' slots of all. `next` is the row that will be asked for next.
    pub(crate) fn row(
        &mut self,
        row: usize,
        next: Option<usize>,
    ) -> (Row<'_, T, G>, &mut Outputs<'a>) {
        let max = self.max.and_then(|(known, max)| (known == row).then_some(max));
        let read = |logits: &Logits<'a, T>| {
            let next = next.map(|next| logits.row(next)).unwrap_or_default();
            ReadRow { row: logits.row(row), max, next }
        };
        let place = match &mut self.matrix {
            Matrix::Read(logits) => return (Row::Read(read(logits)), &mut self.outputs),
            Matrix::Split(logits, result) => {
                let target = WriteRow::target(result.row_mut(row, None).0);
                Place::Split(read(logits), target)
            }
            Matrix::InPlace(logits) => {
                let (row, next) = logits.row_mut(row, next);
                Place::InPlace(WriteRow { row, max, next })
            }
        };
        let row = Row::Write(RowMut::new(place, self.scratch));
        (row, &mut self.outputs)
    }

    /// Keeps the largest logit of the next row.
    pub(crate) fn keep_max(&mut self, next: Option<usize>, sums: &RowSums) {
        self.max = next.map(|next| (next, sums.next_max));
    }

    /// Gives a row what ignored rows get: a gradient of exactly 0, and empty outputs. Its logits are not read.
    pub(crate) fn ignore(&mut self, local: usize) {
        if let (Row::Write(mut row), _) = self.row(local, None) {
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
        {
            let threads = rayon::current_num_threads();
            let least = TASK_ELEMENTS.div_ceil(self.matrix.shape().vocab);
            let task =
                if threads == 1 { self.len() } else { self.len() / (threads * TASKS_PER_THREAD) };
            self.run_tasks(task.max(least), scratch, cursor, leaf)
        }
        #[cfg(not(feature = "rayon"))]
        self.run_here(scratch, cursor, leaf)
    }

    /// As [`Rows::run`], with a task of its own for each subtree of more rows than `task`.
    #[cfg(feature = "rayon")]
    fn run_tasks<C: Clone + Send>(
        self,
        task: usize,
        scratch: &Scratch<'_>,
        cursor: &mut C,
        leaf: &(impl Fn(&mut Rows<'_, T, G>, Range<usize>, &mut C) -> Totals + Sync),
    ) -> Totals {
        let Some(middle) = split_point(self.len()).filter(|_| self.len() > task) else {
            return self.run_here(scratch, cursor, leaf);
        };
        let (low, high) = self.split_at(middle);
        let mut other = cursor.clone();
        let (low, high) = rayon::join(
            || low.run_tasks(task, scratch, cursor, leaf),
            || high.run_tasks(task, scratch, &mut other, leaf),
        );
        low.then(high)
    }

    /// As [`Rows::run`], on this thread.
    fn run_here<C>(
        self,
        scratch: &Scratch<'_>,
        cursor: &mut C,
        leaf: &impl Fn(&mut Rows<'_, T, G>, Range<usize>, &mut C) -> Totals,
    ) -> Totals {
        scratch.with(|scratch| {
            let mut rows = Rows { scratch, ..self };
            sum_rows(0..rows.len(), &mut |range| leaf(&mut rows, range, cursor))
        })
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
