//! The rows of a call as a fixed binary tree: the same sums for any number of threads, and a pairwise summation besides. The driver owns
//! iteration, ranges, threads and the next row's maximum; what is done with a row's halves are the caller's closures.

mod band;
mod scratch;
mod second;

use core::ops::Range;

use fearless_simd::Level;

use crate::kernel::{Ahead, LogitMap, Row, TILE, TOGETHER};
use crate::loss::Outputs;
use crate::matrix::Matrix;
use crate::report::Totals;
use crate::stats::{RowStats, Softmax};

use band::Band;
pub(crate) use band::{Ask, Facts};
pub(crate) use scratch::Scratch;
pub(crate) use second::{Place, Second};

/// Rows are worked on together while they are in the first-level cache: so many elements.
const TOGETHER_ELEMENTS: usize = 8192;

/// Rows of a band, which is a leaf of the tree: as many as are worked on together, one where they are long, so that few of them still spread
/// over threads.
pub(crate) fn band_rows(vocab: usize) -> usize {
    (TOGETHER_ELEMENTS / vocab.max(1)).clamp(1, TOGETHER)
}

/// Fewer elements than this are not worth another thread.
#[cfg(feature = "rayon")]
const TASK_ELEMENTS: usize = 1 << 16;

/// Tasks for each thread, so that those that are done can help the others.
#[cfg(feature = "rayon")]
const TASKS_PER_THREAD: usize = 8;

/// A range of rows with all that a call reads and writes there.
#[derive(Debug)]
pub(crate) struct Rows<'a> {
    /// Index of the first row in the batch.
    first: usize,
    matrix: Matrix<'a>,
    outputs: Outputs<'a>,
    level: Level,
}

/// A row between its halves, with its place.
#[derive(Debug)]
pub(crate) struct Item<'r, 'a> {
    /// Its index in the batch.
    pub(crate) index: usize,
    /// Its index in `outputs`, which are those of the task's rows.
    pub(crate) local: usize,
    pub(crate) stats: &'r RowStats,
    /// Nothing where the pass does not want it.
    pub(crate) softmax: &'r Softmax,
    pub(crate) facts: Facts<'r>,
    pub(crate) second: Second<'r>,
    pub(crate) outputs: &'r mut Outputs<'a>,
}

/// What becomes of first halves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum First<'a> {
    /// They are looked for in the logits.
    Ask(Ask<'a>),
    /// They are known, from `start` of the batch on.
    Known { map: LogitMap, start: usize, stats: &'a [RowStats] },
}

/// What a pass does with the rows.
pub(crate) trait Pass<C>: Sync {
    /// Whether a row takes part. Those that do not get a gradient of exactly 0 and empty outputs; their logits are not read.
    fn is_active(&self, index: usize) -> bool;
    /// The column of an active row's target, where the row has it.
    fn target(&self, index: usize) -> Option<usize>;
    fn first(&self) -> First<'_>;
    /// Whether softmaxes are wanted.
    fn wants_softmax(&self) -> bool;
    /// The second half of an active row.
    fn second(&self, item: Item<'_, '_>, cursor: &mut C, totals: &mut Totals);
}

/// A pass by closures.
pub(crate) struct Halves<'a, A, F, S> {
    pub(crate) active: A,
    pub(crate) target: F,
    pub(crate) first: First<'a>,
    pub(crate) wants_softmax: bool,
    pub(crate) second: S,
}

impl<C, A, F, S> Pass<C> for Halves<'_, A, F, S>
where
    A: Fn(usize) -> bool + Sync,
    F: Fn(usize) -> Option<usize> + Sync,
    S: Fn(Item<'_, '_>, &mut C, &mut Totals) + Sync,
{
    #[inline]
    fn is_active(&self, index: usize) -> bool {
        (self.active)(index)
    }

    #[inline]
    fn target(&self, index: usize) -> Option<usize> {
        (self.target)(index)
    }

    fn first(&self) -> First<'_> {
        self.first
    }

    fn wants_softmax(&self) -> bool {
        self.wants_softmax
    }

    #[inline]
    fn second(&self, item: Item<'_, '_>, cursor: &mut C, totals: &mut Totals) {
        (self.second)(item, cursor, totals);
    }
}

impl<'a> Rows<'a> {
    pub(crate) fn new(
        first: usize,
        matrix: Matrix<'a>,
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
        pass: &impl Pass<C>,
    ) -> Totals {
        #[cfg(feature = "rayon")]
        {
            let threads = rayon::current_num_threads();
            let least = TASK_ELEMENTS.div_ceil(self.matrix.shape().vocab);
            let task =
                if threads == 1 { self.len() } else { self.len() / (threads * TASKS_PER_THREAD) };
            self.each_task(task.max(least), scratch, cursor, pass)
        }
        #[cfg(not(feature = "rayon"))]
        scratch.with(|scratch| self.each_here(scratch, cursor, pass))
    }

    /// As [`Rows::each`], with a task of its own for each subtree of more rows than `task`.
    #[cfg(feature = "rayon")]
    fn each_task<C: Clone + Send>(
        self,
        task: usize,
        scratch: &Scratch<'_>,
        cursor: &mut C,
        pass: &impl Pass<C>,
    ) -> Totals {
        let band = band_rows(self.matrix.shape().vocab);
        let Some(middle) = split_point(self.len(), band).filter(|_| self.len() > task) else {
            return scratch.with(|scratch| self.each_here(scratch, cursor, pass));
        };
        let Self { first, matrix, outputs, level } = self;
        let ((a, b), (c, d)) = (matrix.split_at(middle), outputs.split_at(middle));
        let (low, high) = (Self::new(first, a, c, level), Self::new(first + middle, b, d, level));
        let mut other = cursor.clone();
        let (low, high) = rayon::join(
            || low.each_task(task, scratch, cursor, pass),
            || high.each_task(task, scratch, &mut other, pass),
        );
        low.then(high)
    }

    /// As [`Rows::each`], on this thread: short rows together, as many as there is room for, so that what is done once a row is done in vectors.
    fn each_here<C>(mut self, scratch: &mut [f32], cursor: &mut C, pass: &impl Pass<C>) -> Totals {
        let band = band_rows(self.matrix.shape().vocab);
        // Exponentials of short 16-bit rows wait on the stack, of long ones in the scratch; others need a tile at most.
        let (mut tile, mut parking) = ([0.0; TILE], None);
        let room: &mut [f32] = if band > 1 && self.matrix.is_16_bit() {
            parking.insert([0.0; TOGETHER_ELEMENTS])
        } else if scratch.is_empty() {
            &mut tile
        } else {
            scratch
        };
        let (first, len) = (self.first, self.len());
        let band_at = |start: usize| start..len.min(start + band);
        // The next band, with those of its rows' largest logits that have been found on the way.
        let mut upcoming = Upcoming::of(band_at(0), |local| pass.is_active(first + local));
        sum_rows(0..len, band, &mut |rows| {
            debug_assert_eq!(rows, upcoming.rows, "a leaf is a band");
            let mut totals = Totals::default();
            self.visit(&mut upcoming, band_at(rows.end), room, cursor, pass, &mut totals);
            totals
        })
    }

    /// A band: all first halves, their softmaxes, all second halves. `upcoming` is that band, and afterwards the next one.
    fn visit<C>(
        &mut self,
        upcoming: &mut Upcoming,
        next: Range<usize>,
        room: &mut [f32],
        cursor: &mut C,
        pass: &impl Pass<C>,
        totals: &mut Totals,
    ) {
        let Self { first, matrix, outputs, level } = self;
        let following = Upcoming::of(next.clone(), |local| pass.is_active(*first + local));
        let current = core::mem::replace(upcoming, following);
        let rows = current.rows.clone();
        matrix.clear_padding(rows.clone());
        let mut band = Band::new(*level);
        let following = matrix.band(rows.clone(), band.places());
        for (slot, local) in rows.enumerate() {
            if current.has(slot) {
                band.keep(slot, pass.target(*first + local));
            } else {
                band.clear(slot);
                outputs.put_ignored(local);
            }
        }
        let locals = current.locals();
        let mut stats = [RowStats::UNASKED; TOGETHER];
        match pass.first() {
            First::Ask(ask) => {
                let (mut rows, mut len) = ([Row::default(); TOGETHER], 0);
                for (slot, row) in rows.iter_mut().zip(upcoming.locals()) {
                    *slot = following.row(row - next.start);
                    len += 1;
                }
                let rows = rows.get(..len).unwrap_or_default();
                let mut ahead = Ahead { rows, max: current.max };
                band.first(&ask, room, &mut ahead, &mut stats);
                upcoming.max = ahead.max;
            }
            First::Known { map, start, stats: known } => {
                for (stats, local) in stats.iter_mut().zip(locals.clone()) {
                    *stats = known.get(*first + local - start).copied().unwrap_or(*stats);
                }
                band.known(&map, &stats);
            }
        }
        let softmax = if pass.wants_softmax() {
            Softmax::of_rows(*level, &stats)
        } else {
            [Softmax::NONE; TOGETHER]
        };
        let known = locals.zip(stats.iter().zip(&softmax));
        for (slot, (local, (stats, softmax))) in known.enumerate() {
            let Some((facts, second)) = band.second(slot, room) else { break };
            let index = *first + local;
            let item = Item { index, local, stats, softmax, facts, second, outputs };
            pass.second(item, cursor, totals);
        }
    }
}

/// Rows of a band, and which of them take part.
struct Upcoming {
    rows: Range<usize>,
    /// A bit for each row.
    active: u32,
    /// The largest logits of those that take part, one after the other, where they are known.
    max: [Option<f32>; TOGETHER],
}

impl Upcoming {
    fn of(rows: Range<usize>, is_active: impl Fn(usize) -> bool) -> Self {
        let bits = rows.clone().enumerate();
        let active = bits.fold(0, |bits, (slot, row)| bits | u32::from(is_active(row)) << slot);
        Self { rows, active, max: [None; TOGETHER] }
    }

    fn has(&self, slot: usize) -> bool {
        self.active >> slot & 1 == 1
    }

    /// The rows that take part.
    fn locals(&self) -> impl Iterator<Item = usize> + Clone {
        let (start, active) = (self.rows.start, self.active);
        self.rows.clone().filter(move |row| active >> (row - start) & 1 == 1)
    }
}

/// Where a range of rows is cut: after the largest power of two of leaves that is not all of it. `None` for a leaf.
fn split_point(rows: usize, leaf: usize) -> Option<usize> {
    let leaves = rows.div_ceil(leaf.max(1));
    (leaves > 1).then(|| leaf << (leaves - 1).ilog2())
}

/// The tree over row indices alone, with leaves of so many rows.
pub(crate) fn sum_rows(
    rows: Range<usize>,
    leaf: usize,
    visit: &mut impl FnMut(Range<usize>) -> Totals,
) -> Totals {
    match split_point(rows.len(), leaf) {
        None => visit(rows),
        Some(middle) => {
            let middle = rows.start + middle;
            let low = sum_rows(rows.start..middle, leaf, visit);
            low.then(sum_rows(middle..rows.end, leaf, visit))
        }
    }
}
