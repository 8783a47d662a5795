//! First half of a row: the exponentials of all classes but the target, summed and kept where the caller wants them, and meanwhile the
//! next row's maximum; the moments that few calls want.

use fearless_simd::{Level, Simd, f32x16, f64x8, prelude::*};

use super::base::{Base, LaneMap, RowMap};
use super::lanes::{LANES, Lanes};
use super::level::dispatch;
use super::max::RowMax;
use super::walk::{BLOCK, Block, InPlace, Read, Split, Walk, load_weights};

/// Sums over one row, relative to its base.
#[derive(Clone, Copy, Debug)]
pub struct Sums {
    /// Σ of the exponentials of all classes but the target.
    pub(crate) others: f64,
    /// The exponential of the maximum.
    pub(crate) at_max: f64,
    /// The largest logit of the next row, if there is one.
    pub(crate) next_max: f32,
}

/// What few calls want, of all classes but the target: Σ e·x and Σ e², with x relative to the base's origin.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    pub(crate) exp_logits: f64,
    pub(crate) exp_squared: f64,
}

/// A row to read: its logits, the target's column (`usize::MAX` where it has none), and the row that will be read next, as long or empty.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a, T> {
    pub(crate) row: &'a [T],
    pub(crate) target: usize,
    pub(crate) next: &'a [T],
}

/// The sums of a row; the exponentials are lost.
pub(super) fn sums<T: Lanes>(level: Level, source: Source<'_, T>, base: &Base) -> Sums {
    let Source { row, target, next } = source;
    dispatch!(level, simd => match base.map {
        RowMap::Linear(map) => sum(simd, Read(row), target, next, map),
        RowMap::General(map) => sum(simd, Read(row), target, next, map),
    })
}

/// As [`sums`], with the exponentials parked elsewhere.
pub(super) fn parked<T: Lanes>(
    level: Level,
    source: Source<'_, T>,
    base: &Base,
    park: &mut [f32],
) -> Sums {
    let Source { row, target, next } = source;
    dispatch!(level, simd => match base.map {
        RowMap::Linear(map) => sum(simd, Split(row, park), target, next, map),
        RowMap::General(map) => sum(simd, Split(row, park), target, next, map),
    })
}

/// As [`sums`], with the exponentials parked over the logits.
pub(crate) fn parked_in_place(
    level: Level,
    row: &mut [f32],
    target: usize,
    next: &[f32],
    base: &Base,
) -> Sums {
    dispatch!(level, simd => match base.map {
        RowMap::Linear(map) => sum(simd, InPlace(row), target, next, map),
        RowMap::General(map) => sum(simd, InPlace(row), target, next, map),
    })
}

/// f64 accumulators for 16 lanes of f32.
struct Wide<S: Simd>(f64x8<S>, f64x8<S>);

impl<S: Simd> Wide<S> {
    #[inline(always)]
    fn zero(simd: S) -> Self {
        Self(simd.splat_f64x8(0.0), simd.splat_f64x8(0.0))
    }

    #[inline(always)]
    fn add(&mut self, simd: S, lanes: f32x16<S>) {
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
    fn sum(self) -> f64 {
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
fn others<S: Simd, M: LaneMap<S>>(
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

/// Sums in f32 within a block, so that few roundings meet, and in f64 from block to block.
#[inline(always)]
fn sum<S: Simd, T: Lanes>(
    simd: S,
    walk: impl Walk<S>,
    target: usize,
    next: &[T],
    map: impl LaneMap<S>,
) -> Sums {
    let len = walk.len();
    let (mut sum, mut next) = (Wide::zero(simd), RowMax::new(simd, next));
    let at_max = map.at_max(simd);
    walk.each(
        simd,
        #[inline(always)]
        |start, z| {
            let e = others(simd, map, (start, z), (target, len));
            let [a, b, c, d] = e;
            sum.add(simd, ((a + b) + c) + d);
            next.block(simd);
            e
        },
    );
    Sums { others: sum.sum(), at_max, next_max: next.finish(simd) }
}

/// See [`Moments`]: a second walk over the row, with a second exponential for each class.
pub(super) fn moments<T: Lanes>(level: Level, source: Source<'_, T>, base: &Base) -> Moments {
    let Source { row, target, .. } = source;
    dispatch!(level, simd => match base.map {
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
            for (e, z) in e.into_iter().zip(z) {
                // A class without mass has no part in the sum, nor has padding.
                let massive = simd.simd_ne_f32x16(e, zero);
                let x = map.centred(simd, z);
                logits.mul_add(simd, e, simd.select_f32x16(massive, x, zero));
            }
            let [a, b, c, d] = e;
            squared.add(simd, ((a * a + b * b) + c * c) + d * d);
            z
        },
    );
    Moments { exp_logits: logits.sum(), exp_squared: squared.sum() }
}

/// Σ w·x over all classes, with x relative to the base's origin, and Σ w. Weights are 1 without.
pub(super) fn weighted<T: Lanes>(
    level: Level,
    row: &[T],
    base: &Base,
    weights: Option<&[f32]>,
) -> (f64, f64) {
    dispatch!(level, simd => match base.map {
        RowMap::Linear(map) => sum_weighted(simd, row, map, weights),
        RowMap::General(map) => sum_weighted(simd, row, map, weights),
    })
}

#[inline(always)]
fn sum_weighted<S: Simd, T: Lanes>(
    simd: S,
    row: &[T],
    map: impl LaneMap<S>,
    weights: Option<&[f32]>,
) -> (f64, f64) {
    let (mut sum, mut total) = (Wide::zero(simd), Wide::zero(simd));
    let counted = weights.is_some();
    let (zero, one) = (simd.splat_f32x16(0.0), simd.splat_f32x16(1.0));
    Read(row).each(
        simd,
        #[inline(always)]
        |start, z| {
            let end = simd.splat_f32x16(place(row.len() - start));
            for (index, &z) in z.iter().enumerate() {
                let start = start + index * LANES;
                let weights = weights.map_or(one, |weights| load_weights(simd, weights, start));
                // 0·(−inf) is 0: a class without weight has no part in the sum.
                let inside = simd.simd_lt_f32x16(places(simd, index), end);
                let counts = simd.simd_gt_f32x16(weights, zero) & inside;
                let x = simd.select_f32x16(counts, map.centred(simd, z), zero);
                sum.mul_add(simd, x, weights);
                if counted {
                    total.add(simd, simd.select_f32x16(counts, weights, zero));
                }
            }
            z
        },
    );
    (sum.sum(), if counted { total.sum() } else { row.len() as f64 })
}
