//! A row as a run of blocks, the last one padded, so that every loop is written once for reading, for reading and writing
//! elsewhere, and for writing in place.

use fearless_simd::{Simd, f32x16};

use super::lanes::{LANES, Lanes};
use super::prefetch::prefetch;

/// Entries of a block: four vectors, so that a loop has work that does not wait for its own results, and short sums.
pub(super) const BLOCK: usize = 4 * LANES;

/// The vectors of a block.
pub(super) type Block<S> = [f32x16<S>; BLOCK / LANES];

/// What a loop does with a row.
pub(super) trait Visit<S: Simd> {
    /// Turns the 64 entries from `start` on (those behind the row's end are −inf) into what is stored.
    fn block(&mut self, simd: S, start: usize, z: Block<S>) -> Block<S>;
}

/// A visit by a closure. It must be `#[inline(always)]`, or each lane goes through memory.
pub(super) struct EachBlock<F>(pub(super) F);

impl<S: Simd, F: FnMut(usize, Block<S>) -> Block<S>> Visit<S> for EachBlock<F> {
    #[inline(always)]
    fn block(&mut self, _: S, start: usize, z: Block<S>) -> Block<S> {
        (self.0)(start, z)
    }
}

/// As [`EachBlock`], for a closure that sees one vector at a time.
pub(super) struct Each<F>(pub(super) F);

impl<S: Simd, F: FnMut(usize, f32x16<S>) -> f32x16<S>> Visit<S> for Each<F> {
    #[inline(always)]
    fn block(&mut self, _: S, start: usize, mut z: Block<S>) -> Block<S> {
        for (index, z) in z.iter_mut().enumerate() {
            *z = (self.0)(start + index * LANES, *z);
        }
        z
    }
}

#[inline(always)]
fn load<S: Simd, T: Lanes>(simd: S, block: &[T; BLOCK]) -> Block<S> {
    let mut z = [simd.splat_f32x16(0.0); BLOCK / LANES];
    for (z, lanes) in z.iter_mut().zip(block.as_chunks().0) {
        *z = T::load(simd, lanes);
    }
    z
}

#[inline(always)]
fn store<S: Simd, T: Lanes>(simd: S, z: Block<S>, block: &mut [T; BLOCK]) {
    for (z, lanes) in z.into_iter().zip(block.as_chunks_mut().0) {
        *lanes = T::lanes(simd, z);
    }
}

/// What a loop over a row reads from, and perhaps writes to.
pub(super) trait RowIo<S: Simd> {
    /// Entries of the row.
    fn len(&self) -> usize;
    /// Walks the row.
    fn each(self, simd: S, visit: impl Visit<S>);
}

/// The rest of a row as a last block, with −inf behind its end; none where nothing is left.
#[inline(always)]
pub(super) fn padded<T: Lanes>(rest: &[T]) -> Option<[T; BLOCK]> {
    let mut block = [T::NEG_INFINITY; BLOCK];
    copy(rest, &mut block);
    (!rest.is_empty()).then_some(block)
}

/// As many entries as both have.
#[inline(always)]
fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from;
    }
}

/// The class weights of a vector; 1 behind the row's end.
#[inline(always)]
pub(super) fn load_weights<S: Simd>(simd: S, weights: &[f32], start: usize) -> f32x16<S> {
    let weights = weights.get(start..).unwrap_or_default();
    if let Some(lanes) = weights.first_chunk() {
        return f32::load(simd, lanes);
    }
    let mut lanes = [1.0; LANES];
    copy(weights, &mut lanes);
    f32::load(simd, &lanes)
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// What a loop asks memory for while it works: some lines with each block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ahead {
    next: *const u8,
    /// A literal wherever this is made, so that no loop is left of asking for them.
    lines: usize,
}

impl Ahead {
    /// Nothing: what is read is in cache.
    pub(super) const NONE: Self = Self { next: core::ptr::null(), lines: 0 };

    /// What the loop will read of this row when it has come so many bytes further.
    #[inline(always)]
    pub(super) fn of<T>(row: &[T], distance: usize) -> Self {
        let next = row.as_ptr().wrapping_byte_add(distance).cast();
        Self { next, lines: BLOCK * size_of::<T>() / LINE }
    }

    #[inline(always)]
    pub(super) fn block(&mut self) {
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
    /// Its largest logit, if it is known.
    pub(crate) max: Option<f32>,
    /// The row that will be read next, as long as this one, or none: its maximum is found meanwhile.
    pub(crate) next: &'a [T],
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
    /// Of what it holds, as in [`ReadRow`].
    pub(crate) max: Option<f32>,
    /// As in [`ReadRow`].
    pub(crate) next: &'a [T],
}

impl<'a, T> WriteRow<'a, T> {
    /// A row whose entries mean nothing yet.
    pub(crate) fn target(row: &'a mut [T]) -> Self {
        Self { row, max: None, next: &[] }
    }

    pub(super) fn read(&self) -> ReadRow<'_, T> {
        ReadRow { row: self.row, max: self.max, next: self.next }
    }
}

// Each walk has one loop for blocks and padded rest: its body stands once in the program.

/// Reads only.
pub(super) struct Read<'a, T>(pub(super) &'a [T]);

impl<S: Simd, T: Lanes> RowIo<S> for Read<'_, T> {
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline(always)]
    fn each(self, simd: S, mut visit: impl Visit<S>) {
        let (blocks, rest) = self.0.as_chunks::<BLOCK>();
        let mut start = 0;
        for block in blocks.iter().chain(&padded(rest)) {
            visit.block(simd, start, load(simd, block));
            start += BLOCK;
        }
    }
}

/// Reads `source`, writes `target` of the same length.
pub(super) struct Split<'a, T, G> {
    pub(super) source: &'a [T],
    pub(super) target: &'a mut [G],
    pub(super) ahead: Ahead,
}

impl<S: Simd, T: Lanes, G: Lanes> RowIo<S> for Split<'_, T, G> {
    fn len(&self) -> usize {
        self.source.len()
    }

    #[inline(always)]
    fn each(self, simd: S, mut visit: impl Visit<S>) {
        let Self { source, target, mut ahead } = self;
        let (blocks, rest) = source.as_chunks::<BLOCK>();
        let (outs, out_rest) = target.as_chunks_mut::<BLOCK>();
        let mut last = [G::ZERO; BLOCK];
        let mut start = 0;
        let outs = outs.iter_mut().chain([&mut last]);
        for (block, out) in blocks.iter().chain(&padded(rest)).zip(outs) {
            ahead.block();
            store(simd, visit.block(simd, start, load(simd, block)), out);
            start += BLOCK;
        }
        copy(&last, out_rest);
    }
}

/// Reads and overwrites.
pub(super) struct InPlace<'a, T> {
    pub(super) row: &'a mut [T],
    pub(super) ahead: Ahead,
}

impl<S: Simd, T: Lanes> RowIo<S> for InPlace<'_, T> {
    fn len(&self) -> usize {
        self.row.len()
    }

    #[inline(always)]
    fn each(self, simd: S, mut visit: impl Visit<S>) {
        let Self { row, mut ahead } = self;
        let (blocks, rest) = row.as_chunks_mut::<BLOCK>();
        let mut last = padded(rest);
        let mut start = 0;
        for block in blocks.iter_mut().chain(&mut last) {
            ahead.block();
            store(simd, visit.block(simd, start, load(simd, block)), block);
            start += BLOCK;
        }
        copy(last.as_ref().map_or(&[], <[T; BLOCK]>::as_slice), rest);
    }
}
