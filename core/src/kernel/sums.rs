//! Sums over a row: the exponentials of all classes but the target, and the moments that few calls want.

use fearless_simd::{Level, Simd, f32x16, f64x8, prelude::*};

use super::base::{Base, LaneMap, RowMap};
use super::lanes::{LANES, Lanes};
use super::level::dispatch;
use super::walk::{BLOCK, Block, Read, Walk, load_weights};

/// What few calls want, of all classes but the target: Σ e·x and Σ e², with x relative to the base's origin.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    pub(crate) exp_logits: f64,
    pub(crate) exp_squared: f64,
}

/// f64 accumulators for 16 lanes of f32.
#[derive(Clone, Copy)]
pub(super) struct Wide<S: Simd>(f64x8<S>, f64x8<S>);

impl<S: Simd> Wide<S> {
    #[inline(always)]
    pub(super) fn zero(simd: S) -> Self {
        Self(simd.splat_f64x8(0.0), simd.splat_f64x8(0.0))
    }

    #[inline(always)]
    pub(super) fn add(&mut self, simd: S, lanes: f32x16<S>) {
        let (low, high) = simd.widen_f32x16(lanes);
        self.0 += low;
        self.1 += high;
    }

    #[inline(always)]
    fn mul_add(&mut self, simd: S, a: f32x16<S>, b: f32x16<S>) {
        let ((a0, a1), (b0, b1)) = (simd.widen_f32x16(a), simd.widen_f32x16(b));
        // The product of two f32 is exact in f64, so this is the same with and without FMA.
        self.0 += a0 * b0;
        self.1 += a1 * b1;
    }

    /// Sum of the lanes, in a fixed order.
    #[inline(always)]
    pub(super) fn sum(self) -> f64 {
        let [a, b, c, d, e, f, g, h]: [f64; 8] = (self.0 + self.1).into();
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
}

/// The places of a vector's lanes within its block.
#[inline(always)]
fn places<S: Simd>(simd: S, index: usize) -> f32x16<S> {
    let mut places = [0.0; LANES];
    for (lane, place) in places.iter_mut().enumerate() {
        *place = (index * LANES + lane) as f32;
    }
    f32x16::from_slice(simd, &places)
}

/// A place within a block as a number: one past the block for all that lie beyond.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "at most a block")]
fn place(offset: usize) -> f32 {
    f32::from(offset.min(BLOCK) as u16)
}

/// The exponentials of a block, 0 for the target and, where padding has mass, past the row's end. Rare blocks, so a branch and not a mask.
#[inline(always)]
pub(super) fn others<S: Simd, M: LaneMap<S>>(
    simd: S,
    map: M,
    (start, z): (usize, Block<S>),
    (target, len): (usize, usize),
) -> Block<S> {
    let mut e = map.exp(simd, z);
    let zero = simd.splat_f32x16(0.0);
    let (target, end) = (target.wrapping_sub(start), len - start);
    if target < BLOCK {
        let target = simd.splat_f32x16(place(target));
        for (index, e) in e.iter_mut().enumerate() {
            let other = simd.simd_ne_f32x16(places(simd, index), target);
            *e = simd.select_f32x16(other, *e, zero);
        }
    }
    if M::PADDING_HAS_MASS && end < BLOCK {
        let end = simd.splat_f32x16(place(end));
        for (index, e) in e.iter_mut().enumerate() {
            let inside = simd.simd_lt_f32x16(places(simd, index), end);
            *e = simd.select_f32x16(inside, *e, zero);
        }
    }
    e
}

/// See [`Moments`]: a second walk over the row, with a second exponential for each class.
pub(super) fn moments<T: Lanes>(level: Level, row: &[T], target: usize, base: &Base) -> Moments {
    dispatch!(level, simd => match base.row_map(simd.level()) {
        RowMap::Unit(map) => sum_moments(simd, row, target, map),
        RowMap::Linear(map) => sum_moments(simd, row, target, map),
        RowMap::General(map) => sum_moments(simd, row, target, map),
    })
}

#[inline(always)]
fn sum_moments<S: Simd, T: Lanes>(
    simd: S,
    row: &[T],
    target: usize,
    map: impl LaneMap<S>,
) -> Moments {
    let (mut logits, mut squared) = (Wide::zero(simd), Wide::zero(simd));
    let zero = simd.splat_f32x16(0.0);
    Read(row).each(
        simd,
        #[inline(always)]
        |start, z| {
            let e = others(simd, map, (start, z), (target, row.len()));
            for (e, x) in e.into_iter().zip(map.centred(simd, z)) {
                // A class without mass has no part in the sum, nor has padding.
                let massive = simd.simd_ne_f32x16(e, zero);
                logits.mul_add(simd, e, simd.select_f32x16(massive, x, zero));
            }
            let [a, b, c, d] = e;
            squared.add(simd, ((a * a + b * b) + c * c) + d * d);
            z
        },
    );
    Moments { exp_logits: logits.sum(), exp_squared: squared.sum() }
}

/// Σ w·z' over all classes. Weights are 1 without.
pub(super) fn weighted<T: Lanes>(
    level: Level,
    row: &[T],
    base: &Base,
    weights: Option<&[f32]>,
) -> f64 {
    let (sum, weight, factor) = dispatch!(level, simd => match base.row_map(simd.level()) {
        RowMap::General(map) if base.is_capped() => {
            let (sum, weight) = sum_weighted(
                simd,
                row,
                weights,
                #[inline(always)]
                |z| map.centred(simd, z),
            );
            (sum, weight, 1.0)
        }
        // The raw logits: f64 has digits enough for any offset, and room for any scale.
        RowMap::Unit(_) | RowMap::Linear(_) | RowMap::General(_) => {
            let (sum, _) = sum_weighted(
                simd,
                row,
                weights,
                #[inline(always)]
                |z| z,
            );
            (sum, 0.0, base.scale())
        }
    });
    sum * factor + weight * (base.max + base.origin)
}

/// Σ w·x, and Σ w.
#[inline(always)]
fn sum_weighted<S: Simd, T: Lanes>(
    simd: S,
    row: &[T],
    weights: Option<&[f32]>,
    x: impl Fn(Block<S>) -> Block<S>,
) -> (f64, f64) {
    let (mut sum, mut total) = (Wide::zero(simd), Wide::zero(simd));
    let zero = simd.splat_f32x16(0.0);
    Read(row).each(
        simd,
        #[inline(always)]
        |start, z| {
            let (mut x, left) = (x(z), row.len() - start);
            if left < BLOCK {
                let end = simd.splat_f32x16(place(left));
                for (index, x) in x.iter_mut().enumerate() {
                    let inside = simd.simd_lt_f32x16(places(simd, index), end);
                    *x = simd.select_f32x16(inside, *x, zero);
                }
            }
            let Some(weights) = weights else {
                for x in x {
                    sum.add(simd, x);
                }
                return z;
            };
            for (x, weights) in x.into_iter().zip(load_weights(simd, weights, start)) {
                // 0·(−inf) is 0: a class without weight has no part in the sum, nor has what lies past the end.
                let counts = simd.simd_gt_f32x16(weights, zero);
                sum.mul_add(simd, simd.select_f32x16(counts, x, zero), weights);
                total.add(simd, weights);
            }
            z
        },
    );
    (sum.sum(), if weights.is_some() { total.sum() } else { row.len() as f64 })
}
