//! The rows of a call as a fixed binary tree: the same sums for any number of threads, and a pairwise summation besides. The driver owns
//! iteration, ranges, threads and the next row's maximum; what is done with a row is the caller's closure.

mod row;
mod scratch;

use core::ops::Range;

use fearless_simd::Level;

use crate::element::Element;
use crate::kernel::TILE;
use crate::loss::Outputs;
use crate::matrix::Matrix;
use crate::report::Totals;

pub(crate) use row::{Ask, Place, Row, Second};
pub(crate) use scratch::Scratch;

/// Rows of a leaf. Small, so that few long rows still spread over threads.
const LEAF_ROWS: usize = 4;

/// Fewer elements than this are not worth another thread.
#[cfg(feature = "rayon")]
const TASK_ELEMENTS: usize = 1 << 16;

/// Tasks for each thread, so that those that are done can help the others.
#[cfg(feature = "rayon")]
const TASKS_PER_THREAD: usize = 8;

/// A range of rows with all that a call reads and writes there.
#[derive(Debug)]
pub(crate) struct Rows<'a, T, G> {
    /// Index of the first row in the batch.
    first: usize,
    matrix: Matrix<'a, T, G>,
    outputs: Outputs<'a>,
    level: Level,
}

/// A row with its place.
#[derive(Debug)]
pub(crate) struct Item<'r, 'a, T, G> {
    /// Its index in the batch.
    pub(crate) index: usize,
    /// Its index in `outputs`, which are those of the task's rows.
    pub(crate) local: usize,
    pub(crate) row: Row<'r, T, G>,
    pub(crate) outputs: &'r mut Outputs<'a>,
}

/// What a pass does with the rows.
pub(crate) trait Visit<T, G, C>: Sync {
    /// Whether a row takes part. Those that do not get a gradient of exactly 0 and empty outputs; their logits are not read.
    fn is_active(&self, index: usize) -> bool;
    /// Works on an active row.
    fn visit(&self, item: Item<'_, '_, T, G>, cursor: &mut C, totals: &mut Totals);
}

/// A pass over the rows that a predicate picks, by a closure.
pub(crate) struct Each<A, F>(pub(crate) A, pub(crate) F);

impl<T, G, C, A, F> Visit<T, G, C> for Each<A, F>
where
    A: Fn(usize) -> bool + Sync,
    F: Fn(Item<'_, '_, T, G>, &mut C, &mut Totals) + Sync,
{
    #[inline]
    fn is_active(&self, index: usize) -> bool {
        (self.0)(index)
    }

    #[inline]
    fn visit(&self, item: Item<'_, '_, T, G>, cursor: &mut C, totals: &mut Totals) {
        (self.1)(item, cursor, totals);
    }
}

impl<'a, T: Element, G: Element> Rows<'a, T, G> {
    pub(crate) fn new(
        first: usize,
        matrix: Matrix<'a, T, G>,
        outputs: Outputs<'a>,
        level: Level,
    ) -> Self {
        Self { first, matrix, outputs, level }
    }

    fn len(&self) -> usize {
        self.matrix.shape().rows
    }

    /// Visits every row. `cursor` is handed from row to row in order; another thread starts with a copy.
    pub(crate) fn each<C: Clone + Send>(
        self,
        scratch: &Scratch<'_>,
        cursor: &mut C,
        visit: &impl Visit<T, G, C>,
    ) -> Totals {
        #[cfg(feature = "rayon")]
        {
            let threads = rayon::current_num_threads();
            let least = TASK_ELEMENTS.div_ceil(self.matrix.shape().vocab);
            let task =
                if threads == 1 { self.len() } else { self.len() / (threads * TASKS_PER_THREAD) };
            self.each_task(task.max(least), scratch, cursor, visit)
        }
        #[cfg(not(feature = "rayon"))]
        scratch.with(|scratch| self.each_here(scratch, cursor, visit))
    }

    /// As [`Rows::each`], with a task of its own for each subtree of more rows than `task`.
    #[cfg(feature = "rayon")]
    fn each_task<C: Clone + Send>(
        self,
        task: usize,
        scratch: &Scratch<'_>,
        cursor: &mut C,
        visit: &impl Visit<T, G, C>,
    ) -> Totals {
        let Some(middle) = split_point(self.len()).filter(|_| self.len() > task) else {
            return scratch.with(|scratch| self.each_here(scratch, cursor, visit));
        };
        let Self { first, matrix, outputs, level } = self;
        let ((a, b), (c, d)) = (matrix.split_at(middle), outputs.split_at(middle));
        let (low, high) = (Self::new(first, a, c, level), Self::new(first + middle, b, d, level));
        let mut other = cursor.clone();
        let (low, high) = rayon::join(
            || low.each_task(task, scratch, cursor, visit),
            || high.each_task(task, scratch, &mut other, visit),
        );
        low.then(high)
    }

    /// As [`Rows::each`], on this thread.
    fn each_here<C>(
        mut self,
        scratch: &mut [f32],
        cursor: &mut C,
        visit: &impl Visit<T, G, C>,
    ) -> Totals {
        let mut tile = [0.0; TILE];
        let scratch = if scratch.is_empty() { &mut tile } else { scratch };
        // The largest logit of the next row to visit, which is found on the way.
        let mut known = None;
        sum_rows(0..self.len(), &mut |leaf| {
            let mut totals = Totals::default();
            for local in leaf {
                self.visit(local, scratch, &mut known, cursor, visit, &mut totals);
            }
            totals
        })
    }

    #[inline]
    fn visit<C>(
        &mut self,
        local: usize,
        scratch: &mut [f32],
        known: &mut Option<f32>,
        cursor: &mut C,
        visit: &impl Visit<T, G, C>,
        totals: &mut Totals,
    ) {
        let (index, level) = (self.first + local, self.level);
        let is_active = visit.is_active(index);
        let later = if is_active { local + 1..self.len() } else { 0..0 };
        let later = later.into_iter().find(|later| visit.is_active(self.first + later));
        let (place, next) = self.matrix.row(local, later);
        let second = Second::new(place, level, scratch);
        if is_active {
            let row = Row::new(second, next, known);
            visit.visit(Item { index, local, row, outputs: &mut self.outputs }, cursor, totals);
        } else {
            second.clear();
            self.outputs.put_ignored(local);
        }
    }
}

/// Where a range of rows is cut: after the largest power of two of leaves that is not all of it. `None` for a leaf.
fn split_point(rows: usize) -> Option<usize> {
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
