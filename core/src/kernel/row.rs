//! A row as a run of 16-lane chunks, with its tail in a padded one, so that every loop is written once for reading, for
//! reading and writing elsewhere, and for writing in place.

use fearless_simd::{Simd, f32x16};

use super::lanes::{LANES, Lanes};
use super::prefetch::prefetch;

/// Entries of a block: four chunks, so that a loop has work that does not wait for its own results, and short sums.
pub(super) const BLOCK: usize = 4 * LANES;

/// What a loop does with a row.
pub(super) trait Visit<S: Simd> {
    /// Turns the entries from `start` on, of which the first `lanes` lie inside the row (the others are −inf), into what is stored.
    fn chunk(&mut self, simd: S, start: usize, lanes: usize, z: f32x16<S>) -> f32x16<S>;
    /// After each block.
    fn end_of_block(&mut self, _: S) {}
}

/// A visit without state between blocks. The closure must be `#[inline(always)]`, or each lane goes through memory.
pub(super) struct Each<F>(pub(super) F);

impl<S: Simd, F: FnMut(usize, usize, f32x16<S>) -> f32x16<S>> Visit<S> for Each<F> {
    #[inline(always)]
    fn chunk(&mut self, _: S, start: usize, lanes: usize, z: f32x16<S>) -> f32x16<S> {
        (self.0)(start, lanes, z)
    }
}

/// What a loop over a row reads from, and perhaps writes to.
pub(super) trait RowIo<S: Simd> {
    /// Walks the row.
    fn each(self, simd: S, visit: impl Visit<S>);
}

/// A tail with `padding` behind its end.
#[inline(always)]
fn padded<T: Copy>(tail: &[T], padding: T) -> [T; LANES] {
    let mut lanes = [padding; LANES];
    for (lane, &value) in lanes.iter_mut().zip(tail) {
        *lane = value;
    }
    lanes
}

#[inline(always)]
pub(super) fn load_tail<S: Simd, T: Lanes>(simd: S, tail: &[T]) -> f32x16<S> {
    T::load(simd, &padded(tail, T::NEG_INFINITY))
}

#[inline(always)]
fn store_tail<S: Simd, T: Lanes>(simd: S, value: f32x16<S>, tail: &mut [T]) {
    for (entry, lane) in tail.iter_mut().zip(T::lanes(simd, value)) {
        *entry = lane;
    }
}

/// The class weights of a chunk; 1 behind the row's end.
#[inline(always)]
pub(super) fn load_weights<S: Simd>(
    simd: S,
    weights: &[f32],
    start: usize,
    lanes: usize,
) -> f32x16<S> {
    match weights.get(start..start + lanes) {
        Some(weights) => f32::load(simd, &padded(weights, 1.0)),
        None => simd.splat_f32x16(f32::NAN),
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// What a loop asks memory for while it works: some lines with each block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    next: *const u8,
    /// A literal in most places, so that no loop is left of asking for them.
    lines: usize,
}

impl Ahead {
    /// Nothing: what is read is in cache.
    pub(super) const NONE: Self = Self { next: core::ptr::null(), lines: 0 };

    /// As much as the loop reads (or writes) of a row of `T`, from this address on.
    #[inline(always)]
    pub(super) fn all<T>(next: *const T) -> Self {
        Self { next: next.cast(), lines: BLOCK * size_of::<T>() / LINE }
    }

    /// As [`Ahead::all`], but nothing from null on.
    #[inline(always)]
    pub(super) fn unless_null<T>(next: *const T) -> Self {
        if next.is_null() { Self::NONE } else { Self::all(next) }
    }

    /// Within the same row, for a loop that is the first to read it.
    #[inline(always)]
    pub(super) fn same_row<T>(row: &[T]) -> Self {
        const DISTANCE: usize = 4096;
        Self::all(row.as_ptr().wrapping_byte_add(DISTANCE))
    }

    #[inline(always)]
    fn block(&mut self) {
        for line in 0..self.lines {
            prefetch(self.next.wrapping_add(line * LINE));
        }
        self.next = self.next.wrapping_add(self.lines * LINE);
    }
}

/// A row to read.
#[derive(Clone, Copy, Debug)]
pub struct ReadRow<'a, T> {
    pub(crate) row: &'a [T],
    /// What will be needed next, to fetch it while this row is computed. Only an address.
    pub(crate) next: *const T,
}

impl<'a, T> ReadRow<'a, T> {
    /// A row whose successor starts `stride` elements behind it.
    pub(crate) fn new(row: &'a [T], stride: usize) -> Self {
        Self { row, next: row.as_ptr().wrapping_add(stride) }
    }
}

impl<T: Lanes> ReadRow<'_, T> {
    /// One logit; `None` where the row has no such column.
    pub(crate) fn logit(&self, column: usize) -> Option<f32> {
        self.row.get(column).map(|z| z.to_f32())
    }
}

/// A row to write.
#[derive(Debug)]
pub struct WriteRow<'a, T> {
    pub(crate) row: &'a mut [T],
    /// What will be written (or overwritten) next; null if that is in cache. Only an address.
    pub(crate) next: *const T,
}

impl<'a, T> WriteRow<'a, T> {
    /// A row whose successor starts `stride` elements behind it.
    pub(crate) fn new(row: &'a mut [T], stride: usize) -> Self {
        let next = row.as_ptr().wrapping_add(stride);
        Self { row, next }
    }

    /// A row that is in cache and will be used again.
    pub(super) fn cached(row: &'a mut [T]) -> Self {
        Self { row, next: core::ptr::null() }
    }
}

/// Reads only.
pub(super) struct Read<'a, T> {
    pub(super) row: &'a [T],
    pub(super) ahead: Ahead,
}

impl<S: Simd, T: Lanes> RowIo<S> for Read<'_, T> {
    #[inline(always)]
    fn each(self, simd: S, mut visit: impl Visit<S>) {
        let Self { row, mut ahead } = self;
        let (blocks, rest) = row.as_chunks::<BLOCK>();
        let mut start = 0;
        for block in blocks {
            ahead.block();
            for chunk in block.as_chunks::<LANES>().0 {
                visit.chunk(simd, start, LANES, T::load(simd, chunk));
                start += LANES;
            }
            visit.end_of_block(simd);
        }
        let (chunks, tail) = rest.as_chunks::<LANES>();
        for chunk in chunks {
            visit.chunk(simd, start, LANES, T::load(simd, chunk));
            start += LANES;
        }
        if !tail.is_empty() {
            visit.chunk(simd, start, tail.len(), load_tail(simd, tail));
        }
        visit.end_of_block(simd);
    }
}

/// Reads `source`, writes `target` of the same length.
pub(super) struct Split<'a, T, G> {
    pub(super) source: &'a [T],
    pub(super) target: &'a mut [G],
    pub(super) ahead: Ahead,
    pub(super) target_ahead: Ahead,
}

impl<S: Simd, T: Lanes, G: Lanes> RowIo<S> for Split<'_, T, G> {
    #[inline(always)]
    fn each(self, simd: S, mut visit: impl Visit<S>) {
        let Self { source, target, mut ahead, mut target_ahead } = self;
        let (blocks, rest) = source.as_chunks::<BLOCK>();
        let (out_blocks, out_rest) = target.as_chunks_mut::<BLOCK>();
        let mut start = 0;
        for (block, out) in blocks.iter().zip(out_blocks) {
            ahead.block();
            target_ahead.block();
            let outs = out.as_chunks_mut::<LANES>().0;
            for (chunk, out) in block.as_chunks::<LANES>().0.iter().zip(outs) {
                *out = G::lanes(simd, visit.chunk(simd, start, LANES, T::load(simd, chunk)));
                start += LANES;
            }
            visit.end_of_block(simd);
        }
        let (chunks, tail) = rest.as_chunks::<LANES>();
        let (outs, out_tail) = out_rest.as_chunks_mut::<LANES>();
        for (chunk, out) in chunks.iter().zip(outs) {
            *out = G::lanes(simd, visit.chunk(simd, start, LANES, T::load(simd, chunk)));
            start += LANES;
        }
        if !tail.is_empty() {
            let value = visit.chunk(simd, start, tail.len(), load_tail(simd, tail));
            store_tail(simd, value, out_tail);
        }
        visit.end_of_block(simd);
    }
}

/// Reads and overwrites.
pub(super) struct InPlace<'a, T> {
    pub(super) row: &'a mut [T],
    pub(super) ahead: Ahead,
}

impl<S: Simd, T: Lanes> RowIo<S> for InPlace<'_, T> {
    #[inline(always)]
    fn each(self, simd: S, mut visit: impl Visit<S>) {
        let Self { row, mut ahead } = self;
        let (blocks, rest) = row.as_chunks_mut::<BLOCK>();
        let mut start = 0;
        for block in blocks {
            ahead.block();
            for chunk in block.as_chunks_mut::<LANES>().0 {
                *chunk = T::lanes(simd, visit.chunk(simd, start, LANES, T::load(simd, chunk)));
                start += LANES;
            }
            visit.end_of_block(simd);
        }
        let (chunks, tail) = rest.as_chunks_mut::<LANES>();
        for chunk in chunks {
            *chunk = T::lanes(simd, visit.chunk(simd, start, LANES, T::load(simd, chunk)));
            start += LANES;
        }
        if !tail.is_empty() {
            let value = visit.chunk(simd, start, tail.len(), load_tail(simd, tail));
            store_tail(simd, value, tail);
        }
        visit.end_of_block(simd);
    }
}
