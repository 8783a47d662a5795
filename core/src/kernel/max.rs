//! The largest logit of a row: alone, or within a loop over the row before it, whose arithmetic hides the wait for memory.

use fearless_simd::{Level, Simd};

use super::lanes::Lanes;
use super::level::dispatch;
use super::prefetch::ahead_of;
use super::walk::{BLOCK, padded};

/// How far ahead memory is asked for, in bytes.
const DISTANCE: usize = 8192;

/// A maximum in the making.
pub(super) struct RowMax<'a, S: Simd, T: Lanes> {
    blocks: core::slice::Iter<'a, [T; BLOCK]>,
    rest: &'a [T],
    max: T::Max<S>,
}

impl<'a, S: Simd, T: Lanes> RowMax<'a, S, T> {
    #[inline(always)]
    pub(super) fn new(simd: S, row: &'a [T]) -> Self {
        let (blocks, rest) = row.as_chunks::<BLOCK>();
        Self { blocks: blocks.iter(), rest, max: T::no_max(simd) }
    }

    /// Looks at the next block, if there is one.
    #[inline(always)]
    pub(super) fn block(&mut self, simd: S) {
        if let Some(block) = self.blocks.next() {
            ahead_of(block.as_ptr(), DISTANCE);
            self.max = T::max_with(simd, self.max, block);
        }
    }

    /// The largest of all entries in each lane, after looking at those that are left.
    #[inline(always)]
    pub(super) fn of_lanes(self, simd: S) -> T::Max<S> {
        let mut max = self.max;
        for block in self.blocks.chain(&padded(self.rest)) {
            max = T::max_with(simd, max, block);
        }
        max
    }

    /// The largest of all entries, as [`max_of_lanes`] defines it.
    #[inline(always)]
    pub(super) fn finish(self, simd: S) -> f32 {
        max_of_lanes::<S, T>(simd, self.of_lanes(simd))
    }
}

/// The largest of all lanes; `f32::MIN` where none is finite. What comes out where there is a NaN is not specified.
#[inline(always)]
pub(super) fn max_of_lanes<S: Simd, T: Lanes>(simd: S, max: T::Max<S>) -> f32 {
    let max = T::max_lane(simd, max);
    // A NaN's place is taken by `f32::MIN`; +inf stays.
    if max >= f32::MIN { max } else { f32::MIN }
}

/// The largest logit of a row, as [`max_of_lanes`] defines it.
pub(super) fn max<T: Lanes>(level: Level, row: &[T]) -> f32 {
    dispatch!(level, simd => RowMax::new(simd, row).finish(simd))
}

/// The first index of the largest logit.
pub(crate) fn argmax<T: Lanes>(row: &[T]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, z) in row.iter().enumerate() {
        if z.lane_f32() > best.1 {
            best = (index, z.lane_f32());
        }
    }
    best.0
}
