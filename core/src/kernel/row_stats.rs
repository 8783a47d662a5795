//! First half of a row: its maximum, then Σ exp(z' − pivot), with the exponentials parked where they can be.

use fearless_simd::{Level, Simd, dispatch, f32x16, f64x8, prelude::*};

use super::exp::exp;
use super::map::{Kind, LaneMap, Linear, LogitMap};
use super::row::{InPlace, ReadRow, RowIo, RowMut, Split};
use crate::element::{Element, LANES};

/// What to sum besides the exponentials; each costs a slower loop.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Want<'a> {
    /// Σ w·z', with these weights (1 without).
    pub(crate) sum_logits: bool,
    /// The class weights of the row's columns.
    pub(crate) class_weights: Option<&'a [f32]>,
    /// Σ e·(z' − pivot), for the entropy.
    pub(crate) sum_exp_logits: bool,
}

/// Sums over one row, as the loops form them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowSums {
    /// Largest raw logit; `f32::MIN` where none is finite.
    pub(crate) max: f32,
    /// What the exponents are relative to: the largest z', rounded to f32.
    pub(crate) pivot: f32,
    /// Σ exp(z' − pivot).
    pub(crate) sum_exp: f64,
    /// Σ w·z'; NaN if it was not wanted.
    pub(crate) sum_logits: f64,
    /// Σ exp(z' − pivot)·(z' − pivot); NaN if it was not wanted.
    pub(crate) sum_exp_logits: f64,
    /// Whether the output row holds the exponentials now.
    pub(crate) parked: bool,
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
        self.0 = self.0 + low;
        self.1 = self.1 + high;
    }

    #[inline(always)]
    fn mul_add(&mut self, simd: S, a: f32x16<S>, b: f32x16<S>) {
        let ((a0, a1), (b0, b1)) = (simd.widen_f32x16(a), simd.widen_f32x16(b));
        // The product of two f32 is exact in f64, so this is the same with and without FMA.
        self.0 = self.0 + a0 * b0;
        self.1 = self.1 + a1 * b1;
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
fn row_max<S: Simd, T: Element>(simd: S, row: ReadRow<'_, T>) -> f32 {
    let mut max = [simd.splat_f32x16(f32::MIN); 2];
    let (pairs, tail) = row.row.as_chunks::<{ 2 * LANES }>();
    for pair in pairs {
        let (chunks, _) = pair.as_chunks::<LANES>();
        for (max, chunk) in max.iter_mut().zip(chunks) {
            *max = simd.max_f32x16(T::load(simd, chunk), *max);
        }
    }
    let mut all = simd.max_f32x16(max[0], max[1]);
    // Nothing to fetch ahead in this pass: the row itself is still on its way.
    ReadRow { row: tail, next: tail.as_ptr() }.each(
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
fn exp_sum<S: Simd>(simd: S, io: &mut impl RowIo<S>, map: impl LaneMap<S>, pivot: f32) -> f64 {
    let mut sum = Wide::zero(simd);
    let mut block = simd.splat_f32x16(0.0);
    let mut in_block = 0;
    io.each(
        simd,
        #[inline(always)]
        |_, _, z| {
            let e = exp(simd, map.centred(simd, z, pivot));
            block = block + e;
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

/// The sums that [`Want`] asks for. A loop of its own: extras do not slow down rows without them.
#[inline(always)]
fn moments<S: Simd, T: Element>(
    simd: S,
    row: ReadRow<'_, T>,
    map: impl LaneMap<S>,
    pivot: f32,
    want: Want<'_>,
) -> (f64, f64) {
    let (mut logits, mut exp_logits) = (Wide::zero(simd), Wide::zero(simd));
    let zero = simd.splat_f32x16(0.0);
    ReadRow { row: row.row, next: row.row.as_ptr() }.each(
        simd,
        #[inline(always)]
        |start, lanes, z| {
            let inside = inside(simd, lanes);
            if want.sum_logits {
                let mut weights = [1.0; LANES];
                if let Some(all) = want.class_weights {
                    weights[..lanes].copy_from_slice(&all[start..start + lanes]);
                }
                let value = simd.select_f32x16(inside, map.apply(simd, z), zero);
                logits.mul_add(simd, value, f32x16::from_slice(simd, &weights));
            }
            if want.sum_exp_logits {
                let x = map.centred(simd, z, pivot);
                let e = exp(simd, x);
                // 0·(−inf) is 0 here: a class without mass has no part in the entropy.
                let vanished = simd.simd_eq_f32x16(e, zero);
                exp_logits.mul_add(simd, e, simd.select_f32x16(vanished, zero, x));
            }
            z
        },
    );
    let of = |wanted, sum: Wide<S>| if wanted { sum.sum() } else { f64::NAN };
    (of(want.sum_logits, logits), of(want.sum_exp_logits, exp_logits))
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

/// Sums of a row whose logits stay as they are.
pub(crate) fn row_stats<T: Element>(
    level: Level,
    row: ReadRow<'_, T>,
    map: &LogitMap,
    want: Want<'_>,
) -> RowSums {
    dispatch!(level, simd => {
        let mut sums = sums_before(simd, row, map, want);
        sums.sum_exp = match map.kind() {
            Kind::Linear(map) => exp_sum(simd, &mut { row }, map, sums.pivot),
            Kind::Capped(map) => exp_sum(simd, &mut { row }, map, sums.pivot),
        };
        sums
    })
}

/// Sums of a row that a gradient will overwrite: where the result is f32, the exponentials are parked in it.
pub(crate) fn row_stats_parked<T: Element, G: Element>(
    level: Level,
    row: &mut RowMut<'_, T, G>,
    map: &LogitMap,
    want: Want<'_>,
) -> RowSums {
    let Kind::Linear(linear) = map.kind() else {
        // The slope of the soft-cap needs the logits again: nothing may overwrite them.
        return row_stats(level, row.read(), map, want);
    };
    dispatch!(level, simd => {
        let mut sums = sums_before(simd, row.read(), map, want);
        (sums.sum_exp, sums.parked) = park(simd, row, linear, sums.pivot);
        sums
    })
}

/// Everything that is known before the exponentials are summed.
#[inline(always)]
fn sums_before<S: Simd, T: Element>(
    simd: S,
    row: ReadRow<'_, T>,
    map: &LogitMap,
    want: Want<'_>,
) -> RowSums {
    let max = row_max(simd, row);
    let pivot = LogitMap::pivot(map.apply(max));
    let (mut sum_logits, mut sum_exp_logits) = (f64::NAN, f64::NAN);
    if want.sum_logits || want.sum_exp_logits {
        (sum_logits, sum_exp_logits) = match map.kind() {
            Kind::Linear(map) => moments(simd, row, map, pivot, want),
            Kind::Capped(map) => moments(simd, row, map, pivot, want),
        };
    }
    RowSums { max, pivot, sum_exp: 0.0, sum_logits, sum_exp_logits, parked: false }
}

#[inline(always)]
fn park<S: Simd, T: Element, G: Element>(
    simd: S,
    row: &mut RowMut<'_, T, G>,
    map: Linear,
    pivot: f32,
) -> (f64, bool) {
    match row {
        RowMut::Split(source, target) => match G::as_f32_mut(target) {
            Some(target) => {
                let mut io = Split { source: *source, target };
                (exp_sum(simd, &mut io, map, pivot), true)
            }
            None => (exp_sum(simd, source, map, pivot), false),
        },
        RowMut::InPlace(row, next) => {
            if let Some(row) = T::as_f32_mut(row) {
                return (exp_sum(simd, &mut InPlace { row, next: next.cast() }, map, pivot), true);
            }
            (exp_sum(simd, &mut ReadRow { row, next: *next }, map, pivot), false)
        }
    }
}

/// The first index of the largest logit.
pub(crate) fn argmax<T: Element>(row: &[T]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, z) in row.iter().enumerate() {
        if z.to_f32() > best.1 {
            best = (index, z.to_f32());
        }
    }
    best.0
}
