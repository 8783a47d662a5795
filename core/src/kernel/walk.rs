//! A row as a run of blocks, the last one padded, so that every loop is written once for reading, for reading and writing
//! elsewhere, and for writing in place.

use fearless_simd::{Simd, f32x16};

use super::lanes::{LANES, Lanes};
use super::prefetch::ahead_of;

/// How far ahead memory that will be written is asked for, in bytes.
const AHEAD: usize = 4096;

/// Entries of a block: four vectors, so that a loop has work that does not wait for its own results, and short sums.
pub(super) const BLOCK: usize = 4 * LANES;

/// The vectors of a block.
pub(super) type Block<S> = [f32x16<S>; BLOCK / LANES];

/// Each vector of a block by itself. Not `map` of the array, whose parts are functions of their own that lack the level's instructions.
#[inline(always)]
pub(super) fn vectors<S: Simd>(
    mut block: Block<S>,
    f: impl Fn(f32x16<S>) -> f32x16<S>,
) -> Block<S> {
    for vector in &mut block {
        *vector = f(*vector);
    }
    block
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

/// The rest of a row as a last block, with −inf past its end; none where nothing is left.
#[inline(always)]
pub(super) fn padded<T: Lanes>(rest: &[T]) -> Option<[T; BLOCK]> {
    if rest.is_empty() {
        return None;
    }
    let mut block = [T::NEG_INFINITY; BLOCK];
    copy(rest, &mut block);
    Some(block)
}

/// As many entries as both have, a block at most. Unrolled by hand: of a loop the compiler makes a call, around which all accumulators are saved.
#[inline(always)]
fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    const FEW: usize = 4;
    for start in (0..BLOCK).step_by(FEW) {
        let (from, to) = (from.get(start..), to.get_mut(start..));
        let (Some(from), Some(to)) = (from, to) else { return };
        if let (Some(from), Some(to)) = (from.first_chunk::<FEW>(), to.first_chunk_mut::<FEW>()) {
            *to = *from;
            continue;
        }
        for index in 0..FEW - 1 {
            if let (Some(from), Some(to)) = (from.get(index), to.get_mut(index)) {
                *to = *from;
            }
        }
        return;
    }
}

/// The weights of a block; 0 past the row's end.
#[inline(always)]
pub(super) fn load_weights<S: Simd>(simd: S, weights: &[f32], start: usize) -> Block<S> {
    let weights = weights.get(start..).unwrap_or_default();
    if let Some(block) = weights.first_chunk() {
        return load(simd, block);
    }
    let mut block = [0.0; BLOCK];
    copy(weights, &mut block);
    load(simd, &block)
}

/// What a loop reads from, and perhaps writes to. Each walk has one loop for blocks and padded rest, so that its body stands once in the
/// program; the visiting closure is given where a block starts, and must be `#[inline(always)]`, or each lane goes through memory.
pub(super) trait Walk<S: Simd> {
    type Logit: Lanes;
    /// Whether what is visited is stored.
    const PARKS: bool;
    /// The row, before the walk.
    fn row(&self) -> &[Self::Logit];
    /// Turns every block (−inf past the row's end) into what is stored.
    fn each(&mut self, simd: S, visit: impl FnMut(usize, Block<S>) -> Block<S>);
}

/// Reads only.
#[derive(Debug)]
pub struct Read<'a, T>(pub(crate) &'a [T]);

/// Reads the first, writes the second, which is as long.
#[derive(Debug)]
pub struct Split<'a, T, G>(pub(crate) &'a [T], pub(crate) Out<'a, G>);

/// Entries that will be written.
#[derive(Debug)]
pub struct Out<'a, G> {
    pub(crate) row: &'a mut [G],
    /// Whether they are likely to be out of cache. A store waits for its line, and the next ones wait behind it: so the lines are asked for ahead.
    pub(crate) cold: bool,
}

/// Reads and overwrites.
#[derive(Debug)]
pub struct InPlace<'a, T>(pub(crate) &'a mut [T]);

impl<'a, G> Out<'a, G> {
    /// Entries that were used just before, or will be again.
    pub(crate) fn warm(row: &'a mut [G]) -> Self {
        Self { row, cold: false }
    }

    /// Entries that nobody has looked at.
    pub(crate) fn cold(row: &'a mut [G]) -> Self {
        Self { row, cold: true }
    }
}

impl<T> Default for Read<'_, T> {
    fn default() -> Self {
        Self(&[])
    }
}

impl<T, G> Default for Split<'_, T, G> {
    fn default() -> Self {
        Self(&[], Out::warm(&mut []))
    }
}

impl<T> Default for InPlace<'_, T> {
    fn default() -> Self {
        Self(&mut [])
    }
}

impl<S: Simd, T: Lanes> Walk<S> for Read<'_, T> {
    type Logit = T;
    const PARKS: bool = false;

    #[inline(always)]
    fn row(&self) -> &[T] {
        self.0
    }

    #[inline(always)]
    fn each(&mut self, simd: S, mut visit: impl FnMut(usize, Block<S>) -> Block<S>) {
        let (blocks, rest) = self.0.as_chunks::<BLOCK>();
        let mut start = 0;
        for block in blocks.iter().chain(&padded(rest)) {
            visit(start, load(simd, block));
            start += BLOCK;
        }
    }
}

impl<S: Simd, T: Lanes, G: Lanes> Walk<S> for Split<'_, T, G> {
    type Logit = T;
    const PARKS: bool = true;

    #[inline(always)]
    fn row(&self) -> &[T] {
        self.0
    }

    #[inline(always)]
    fn each(&mut self, simd: S, mut visit: impl FnMut(usize, Block<S>) -> Block<S>) {
        let (blocks, rest) = self.0.as_chunks::<BLOCK>();
        let Out { row, cold } = &mut self.1;
        let (outs, out_rest) = row.as_chunks_mut::<BLOCK>();
        let mut last = [G::ZERO; BLOCK];
        let mut start = 0;
        let outs = outs.iter_mut().chain([&mut last]);
        for (block, out) in blocks.iter().chain(&padded(rest)).zip(outs) {
            if *cold {
                ahead_of(out.as_ptr(), AHEAD);
            }
            store(simd, visit(start, load(simd, block)), out);
            start += BLOCK;
        }
        copy(&last, out_rest);
    }
}

impl<S: Simd, T: Lanes> Walk<S> for InPlace<'_, T> {
    type Logit = T;
    const PARKS: bool = true;

    #[inline(always)]
    fn row(&self) -> &[T] {
        self.0
    }

    #[inline(always)]
    fn each(&mut self, simd: S, mut visit: impl FnMut(usize, Block<S>) -> Block<S>) {
        let (blocks, rest) = self.0.as_chunks_mut::<BLOCK>();
        let mut last = padded(rest);
        let mut start = 0;
        for block in blocks.iter_mut().chain(&mut last) {
            store(simd, visit(start, load(simd, block)), block);
            start += BLOCK;
        }
        copy(last.as_ref().map_or(&[], <[T; BLOCK]>::as_slice), rest);
    }
}
