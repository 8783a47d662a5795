//! Second half of a row: exponentials become gradient entries, logits become log-probabilities.

use fearless_simd::{Level, Simd, prelude::*};

use super::base::{Base, LaneMap, RowMap};
use super::lanes::{LANES, Lanes};
use super::level::dispatch;
use super::prefetch::ahead_of;
use super::walk::{BLOCK, InPlace, Out, Split, Walk, load_weights, vectors};

/// How far ahead memory is asked for, in bytes.
const DISTANCE: usize = 4096;

/// From exponentials e to gradient entries: `factor·e − uniform·w`, with the weight of each class, 1 without.
#[derive(Clone, Copy, Debug)]
pub struct Affine<'a> {
    pub(crate) factor: f32,
    pub(crate) uniform: f32,
    pub(crate) weights: Option<&'a [f32]>,
}

impl Affine<'_> {
    /// Nothing but the rounding to another type.
    pub(crate) const IDENTITY: Self = Self { factor: 1.0, uniform: 0.0, weights: None };

    /// The same for the entries from `start` on.
    pub(crate) fn from(&self, start: usize) -> Self {
        let weights = self.weights.map(|weights| weights.get(start..).unwrap_or_default());
        Self { weights, ..*self }
    }
}

/// A loop each with and without weights.
#[inline(always)]
fn affine<S: Simd>(simd: S, mut walk: impl Walk<S>, affine: Affine<'_>) {
    let Affine { factor, uniform, weights } = affine;
    match weights.filter(|_| uniform != 0.0) {
        None => walk.each(
            simd,
            #[inline(always)]
            |_, e| {
                vectors(
                    e,
                    #[inline(always)]
                    |e| e.mul_sub(simd.splat_f32x16(factor), simd.splat_f32x16(uniform)),
                )
            },
        ),
        Some(weights) => walk.each(
            simd,
            #[inline(always)]
            |start, mut e| {
                for (e, weights) in e.iter_mut().zip(load_weights(simd, weights, start)) {
                    *e = e.mul_sub(simd.splat_f32x16(factor), weights * uniform);
                }
                e
            },
        ),
    }
}

/// Exponentials in f32 become entries of any type, elsewhere.
#[inline]
pub(super) fn finish<G: Lanes>(level: Level, source: &[f32], out: Out<'_, G>, entry: Affine<'_>) {
    // Loops apart: where one asks whether to look ahead, rows of 64 classes take a twentieth longer.
    let Out { row, cold } = out;
    if cold {
        dispatch!(level, simd => affine(simd, Split(source, Out::cold(row)), entry));
    } else {
        dispatch!(level, simd => affine(simd, Split(source, Out::warm(row)), entry));
    }
}

/// As [`finish`], in place.
pub(super) fn finish_in_place(level: Level, row: &mut [f32], entry: Affine<'_>) {
    dispatch!(level, simd => affine(simd, InPlace(row), entry));
}

/// Entries straight from logits, whose exponentials are computed again by the same arithmetic as the first time.
pub(super) fn entries<T: Lanes>(
    level: Level,
    logits: &[T],
    base: &Base,
    out: Out<'_, f32>,
    entry: Affine<'_>,
) {
    dispatch!(level, simd => match base.row_map(simd.level()) {
        RowMap::Unit(map) => again(simd, logits, out, map, entry),
        RowMap::Linear(map) => again(simd, logits, out, map, entry),
        RowMap::General(map) => again(simd, logits, out, map, entry),
    });
}

#[inline(always)]
fn again<S: Simd, T: Lanes>(
    simd: S,
    logits: &[T],
    out: Out<'_, f32>,
    map: impl LaneMap<S>,
    entry: Affine<'_>,
) {
    let Affine { factor, uniform, weights } = entry;
    let weights = weights.filter(|_| uniform != 0.0);
    let address = logits.as_ptr();
    Split(logits, out).each(
        simd,
        #[inline(always)]
        |start, z| {
            ahead_of(address.wrapping_add(start), DISTANCE);
            let (mut e, slope) = map.exp_and_slope(simd, z);
            let mut uniforms = [simd.splat_f32x16(uniform); BLOCK / LANES];
            if let Some(weights) = weights {
                let weights = load_weights(simd, weights, start);
                for (uniform, weights) in uniforms.iter_mut().zip(weights) {
                    *uniform *= weights;
                }
            }
            for (index, e) in e.iter_mut().enumerate() {
                *e = e.mul_sub(simd.splat_f32x16(factor), uniforms[index]) * slope[index];
            }
            e
        },
    );
}

/// (z − pivot) − shift: log-probabilities, if shift is ln Σ exp(z − pivot). Two subtractions, since lse alone loses digits.
pub(super) fn shift<T: Lanes>(level: Level, logits: &[T], out: Out<'_, f32>, pivot: f32, by: f32) {
    dispatch!(level, simd => Split(logits, out).each(
        simd,
        #[inline(always)]
        |_, z| {
            vectors(
                z,
                #[inline(always)]
                |z| (z - pivot) - by,
            )
        },
    ));
}
