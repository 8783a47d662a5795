//! A row as a run of 16-lane chunks, with its tail in a padded one, so that every loop is written once for reading, for
//! reading and writing elsewhere, and for writing in place.

use fearless_simd::{Simd, f32x16};

use super::lanes::{LANES, Lanes};
use super::prefetch::prefetch;
use crate::entry;

/// What a loop over a row reads from, and perhaps writes to.
pub(super) trait RowIo<S: Simd> {
    /// Calls `step(first index, lanes that count, value)` for every chunk and stores what it returns. Lanes behind the end of the
    /// row hold −inf and are not stored.
    fn each(&mut self, simd: S, step: impl FnMut(usize, usize, f32x16<S>) -> f32x16<S>);
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
fn load_tail<S: Simd, T: Lanes>(simd: S, tail: &[T]) -> f32x16<S> {
    T::load(simd, &padded(tail, T::NEG_INFINITY))
}

#[inline(always)]
fn store_tail<S: Simd, T: Lanes>(simd: S, value: f32x16<S>, tail: &mut [T]) {
    let mut lanes = [T::ZERO; LANES];
    T::store(simd, value, &mut lanes);
    for (entry, lane) in tail.iter_mut().zip(lanes) {
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

/// Reads only.
#[derive(Clone, Copy, Debug)]
pub struct ReadRow<'a, T> {
    pub(crate) row: &'a [T],
    /// Where the next row starts, to fetch it while this one is computed. Only an address.
    pub(crate) next: *const T,
}

impl<'a, T> ReadRow<'a, T> {
    /// A row whose successor starts `stride` elements behind it.
    pub(crate) fn new(row: &'a [T], stride: usize) -> Self {
        Self { row, next: row.as_ptr().wrapping_add(stride) }
    }

    /// A row that is in cache, with nothing to fetch ahead but itself.
    pub(super) fn cached(row: &'a [T]) -> Self {
        Self { row, next: row.as_ptr() }
    }
}

impl<T: Lanes> ReadRow<'_, T> {
    /// One logit; `None` where the row has no such column.
    pub(crate) fn logit(&self, column: usize) -> Option<f32> {
        self.row.get(column).map(|z| z.to_f32())
    }
}

impl<S: Simd, T: Lanes> RowIo<S> for ReadRow<'_, T> {
    #[inline(always)]
    fn each(&mut self, simd: S, mut step: impl FnMut(usize, usize, f32x16<S>) -> f32x16<S>) {
        let (chunks, tail) = self.row.as_chunks::<LANES>();
        for (i, chunk) in chunks.iter().enumerate() {
            prefetch(self.next.wrapping_add(i * LANES));
            step(i * LANES, LANES, T::load(simd, chunk));
        }
        if !tail.is_empty() {
            step(chunks.len() * LANES, tail.len(), load_tail(simd, tail));
        }
    }
}

/// Reads `source`, writes `target` of the same length.
pub(super) struct Split<'a, T, G> {
    pub(super) source: ReadRow<'a, T>,
    pub(super) target: &'a mut [G],
}

impl<S: Simd, T: Lanes, G: Lanes> RowIo<S> for Split<'_, T, G> {
    #[inline(always)]
    fn each(&mut self, simd: S, mut step: impl FnMut(usize, usize, f32x16<S>) -> f32x16<S>) {
        let (chunks, tail) = self.source.row.as_chunks::<LANES>();
        let (outs, out_tail) = self.target.as_chunks_mut::<LANES>();
        for (i, (chunk, out)) in chunks.iter().zip(outs).enumerate() {
            prefetch(self.source.next.wrapping_add(i * LANES));
            G::store(simd, step(i * LANES, LANES, T::load(simd, chunk)), out);
        }
        if !tail.is_empty() {
            let value = step(chunks.len() * LANES, tail.len(), load_tail(simd, tail));
            store_tail(simd, value, out_tail);
        }
    }
}

/// Reads and overwrites.
pub(super) struct InPlace<'a, T> {
    pub(super) row: &'a mut [T],
    pub(super) next: *const T,
}

impl<'a, T> InPlace<'a, T> {
    /// As [`ReadRow::cached`].
    pub(super) fn cached(row: &'a mut [T]) -> Self {
        let next = row.as_ptr();
        Self { row, next }
    }
}

impl<S: Simd, T: Lanes> RowIo<S> for InPlace<'_, T> {
    #[inline(always)]
    fn each(&mut self, simd: S, mut step: impl FnMut(usize, usize, f32x16<S>) -> f32x16<S>) {
        let (chunks, tail) = self.row.as_chunks_mut::<LANES>();
        let start = chunks.len() * LANES;
        for (i, chunk) in chunks.iter_mut().enumerate() {
            prefetch(self.next.wrapping_add(i * LANES));
            let value = step(i * LANES, LANES, T::load(simd, chunk));
            T::store(simd, value, chunk);
        }
        if !tail.is_empty() {
            let value = step(start, tail.len(), load_tail(simd, tail));
            store_tail(simd, value, tail);
        }
    }
}

/// A row to compute a gradient (or log-probabilities) for.
#[derive(Debug)]
pub(crate) enum RowMut<'a, T, G> {
    /// Logits here, the result elsewhere.
    Split(ReadRow<'a, T>, &'a mut [G]),
    /// The result overwrites the logits; the successor of the row starts at the address.
    InPlace(&'a mut [T], *const T),
}

impl<T: Lanes, G: Lanes> RowMut<'_, T, G> {
    /// The logits, before anything is written.
    pub(crate) fn read(&self) -> ReadRow<'_, T> {
        match self {
            Self::Split(source, _) => *source,
            Self::InPlace(row, next) => ReadRow { row, next: *next },
        }
    }

    /// The row that holds the exponentials, if they were parked.
    pub(super) fn parked(&mut self, parked: bool) -> Option<&mut [f32]> {
        match self {
            _ if !parked => None,
            Self::Split(_, target) => G::as_f32_mut(target),
            Self::InPlace(row, _) => T::as_f32_mut(row),
        }
    }

    /// Writes zeros without reading.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Split(_, target) => target.fill(G::ZERO),
            Self::InPlace(row, _) => row.fill(T::ZERO),
        }
    }

    /// Overwrites one entry.
    pub(crate) fn set(&mut self, index: usize, value: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
        let value = value as f32;
        match self {
            Self::Split(_, target) => entry::write(target, index, G::from_f32(value)),
            Self::InPlace(row, _) => entry::write(row, index, T::from_f32(value)),
        }
    }
}
