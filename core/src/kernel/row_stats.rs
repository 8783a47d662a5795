//! First half of a row: its maximum, then Σ exp(z' − pivot), with the exponentials parked where they can be.

use fearless_simd::{Level, Simd, dispatch, f32x16, f64x8, prelude::*};

use super::exp::exp;
use super::lanes::{LANES, Lanes};
use super::map::{Kind, LaneMap, Linear, LogitMap};
use super::row::{InPlace, ReadRow, RowIo, Split, load_weights};

/// What to sum besides the exponentials; each costs a pass of its own over the row while it is in cache.
#[derive(Clone, Copy, Debug, Default)]
pub struct Want<'a> {
    /// Σ w·z', with these weights (1 without).
    pub(crate) sum_logits: bool,
    /// The class weights of the row's columns.
    pub(crate) class_weights: Option<&'a [f32]>,
    /// Σ e·(z' − pivot), for the entropy.
    pub(crate) sum_exp_logits: bool,
}

/// The largest logit; `f32::MIN` where none is finite. A NaN is left to the sum to find.
pub(super) fn max<T: Lanes>(level: Level, row: &[T]) -> f32 {
    dispatch!(level, simd => row_max(simd, row))
}

/// Σ exp(z' − pivot).
pub(super) fn exp_sum<T: Lanes>(
    level: Level,
    mut row: ReadRow<'_, T>,
    map: &LogitMap,
    pivot: f32,
) -> f64 {
    dispatch!(level, simd => match map.kind() {
        Kind::Linear(map) => sum(simd, &mut row, map, pivot),
        Kind::Capped(map) => sum(simd, &mut row, map, pivot),
    })
}

/// Σ exp(scale·z − pivot), with the exponentials parked in another row.
pub(super) fn exp_sum_parked<T: Lanes>(
    level: Level,
    source: ReadRow<'_, T>,
    target: &mut [f32],
    map: Linear,
    pivot: f32,
) -> f64 {
    dispatch!(level, simd => sum(simd, &mut Split { source, target }, map, pivot))
}

/// Σ exp(scale·z − pivot), with the exponentials parked over the logits.
pub(super) fn exp_sum_in_place(
    level: Level,
    row: &mut [f32],
    next: *const f32,
    map: Linear,
    pivot: f32,
) -> f64 {
    dispatch!(level, simd => sum(simd, &mut InPlace { row, next }, map, pivot))
}

/// The sums that [`Want`] asks for, NaN where it does not.
pub(super) fn moments<T: Lanes>(
    level: Level,
    row: &[T],
    map: &LogitMap,
    pivot: f32,
    want: Want<'_>,
) -> (f64, f64) {
    dispatch!(level, simd => match map.kind() {
        Kind::Linear(map) => sum_moments(simd, row, map, pivot, want),
        Kind::Capped(map) => sum_moments(simd, row, map, pivot, want),
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
        let mut lanes = [0.0; 8];
        (self.0 + self.1).store_slice(&mut lanes);
        lanes.iter().sum()
    }
}

/// Chunks whose exponentials are added in f32 before they go to f64. Short, so that few roundings meet.
const BLOCK: usize = 4;

#[inline(always)]
fn row_max<S: Simd, T: Lanes>(simd: S, row: &[T]) -> f32 {
    let mut max = [simd.splat_f32x16(f32::MIN); 2];
    let (pairs, tail) = row.as_chunks::<{ 2 * LANES }>();
    for pair in pairs {
        let (chunks, _) = pair.as_chunks::<LANES>();
        for (max, chunk) in max.iter_mut().zip(chunks) {
            *max = simd.max_f32x16(T::load(simd, chunk), *max);
        }
    }
    let mut all = simd.max_f32x16(max[0], max[1]);
    // Nothing to fetch ahead in this pass: the row itself is still on its way.
    ReadRow::cached(tail).each(
        simd,
        #[inline(always)]
        |_, _, z| {
            all = simd.max_f32x16(z, all);
            z
        },
    );
    let max = simd.reduce_max_f32x16(all);
    // A NaN that got here (which lane survives is not specified) shows in the sum; +inf must stay.
    if max >= f32::MIN { max } else { f32::MIN }
}

/// Σ exp(z' − pivot) over `io`, which receives the exponentials.
#[inline(always)]
fn sum<S: Simd>(simd: S, io: &mut impl RowIo<S>, map: impl LaneMap<S>, pivot: f32) -> f64 {
    let mut sum = Wide::zero(simd);
    let mut block = simd.splat_f32x16(0.0);
    let mut in_block = 0;
    io.each(
        simd,
        #[inline(always)]
        |_, lanes, z| {
            let mut e = exp(simd, map.centred(simd, z, pivot));
            if lanes < LANES {
                // A soft-cap gives the padding mass.
                e = simd.select_f32x16(inside(simd, lanes), e, simd.splat_f32x16(0.0));
            }
            block += e;
            in_block += 1;
            if in_block == BLOCK {
                sum.add(simd, block);
                block = simd.splat_f32x16(0.0);
                in_block = 0;
            }
            e
        },
    );
    sum.add(simd, block);
    sum.sum()
}

#[inline(always)]
fn sum_moments<S: Simd, T: Lanes>(
    simd: S,
    row: &[T],
    map: impl LaneMap<S>,
    pivot: f32,
    want: Want<'_>,
) -> (f64, f64) {
    let mut moments = (f64::NAN, f64::NAN);
    if want.sum_logits {
        // A loop each, so that the one without weights looks for none.
        moments.0 = match want.class_weights {
            None => sum_logits(
                simd,
                row,
                map,
                #[inline(always)]
                |_, _| simd.splat_f32x16(1.0),
            ),
            Some(weights) => sum_logits(
                simd,
                row,
                map,
                #[inline(always)]
                |start, lanes| load_weights(simd, weights, start, lanes),
            ),
        };
    }
    if want.sum_exp_logits {
        moments.1 = sum_exp_logits(simd, row, map, pivot);
    }
    moments
}

/// Σ w·z'.
#[inline(always)]
fn sum_logits<S: Simd, T: Lanes>(
    simd: S,
    row: &[T],
    map: impl LaneMap<S>,
    weights: impl Fn(usize, usize) -> f32x16<S>,
) -> f64 {
    let (mut sum, zero) = (Wide::zero(simd), simd.splat_f32x16(0.0));
    ReadRow::cached(row).each(
        simd,
        #[inline(always)]
        |start, lanes, z| {
            let weights = weights(start, lanes);
            // 0·(−inf) is 0: a class without weight has no part in the sum.
            let weighted = simd.simd_gt_f32x16(weights, zero) & inside(simd, lanes);
            let value = simd.select_f32x16(weighted, map.apply(simd, z), zero);
            sum.mul_add(simd, value, weights);
            z
        },
    );
    sum.sum()
}

/// Σ exp(z' − pivot)·(z' − pivot).
#[inline(always)]
fn sum_exp_logits<S: Simd, T: Lanes>(simd: S, row: &[T], map: impl LaneMap<S>, pivot: f32) -> f64 {
    let (mut sum, zero) = (Wide::zero(simd), simd.splat_f32x16(0.0));
    ReadRow::cached(row).each(
        simd,
        #[inline(always)]
        |_, lanes, z| {
            let x = map.centred(simd, z, pivot);
            let e = exp(simd, x);
            // A class without mass has no part in the sum, nor has padding.
            let massive = simd.simd_ne_f32x16(e, zero) & inside(simd, lanes);
            let x = simd.select_f32x16(massive, x, zero);
            sum.mul_add(simd, e, x);
            z
        },
    );
    sum.sum()
}

/// Lanes below `count`.
#[inline(always)]
fn inside<S: Simd>(simd: S, count: usize) -> fearless_simd::mask32x16<S> {
    let mut index = [0.0; LANES];
    for (lane, index) in index.iter_mut().enumerate() {
        *index = lane as f32;
    }
    let count = simd.splat_f32x16(count as f32);
    simd.simd_lt_f32x16(f32x16::from_slice(simd, &index), count)
}

/// The first index of the largest logit.
pub(crate) fn argmax<T: Lanes>(row: &[T]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, z) in row.iter().enumerate() {
        if z.to_f32() > best.1 {
            best = (index, z.to_f32());
        }
    }
    best.0
}
