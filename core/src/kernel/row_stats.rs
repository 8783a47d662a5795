//! First half of a row: its maximum, then Σ exp(z' − pivot), with the exponentials parked where they can be.

use fearless_simd::{Level, Simd, dispatch, f32x16, f64x8, prelude::*};

use super::exp::exp;
use super::lanes::{LANES, Lanes};
use super::map::{Kind, LaneMap, Linear, LogitMap};
use super::row::{
    Ahead, Each, InPlace, Read, ReadRow, RowIo, Split, Visit, WriteRow, load_weights,
};

/// Sums over one row, as the loops form them.
#[derive(Clone, Copy, Debug)]
pub struct RowSums {
    /// The largest z'; `f32::MIN` where none is finite.
    pub(crate) max: f64,
    /// What the exponents are relative to: `max` rounded to f32.
    pub(crate) pivot: f32,
    /// Σ exp(z' − pivot).
    pub(crate) sum_exp: f64,
}

/// The sums that few calls want; NaN for those that were not wanted.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    /// Σ w·z'.
    pub(crate) sum_logits: f64,
    /// Σ exp(z' − pivot)·(z' − pivot).
    pub(crate) sum_exp_logits: f64,
}

impl Moments {
    pub(crate) const NONE: Self = Self { sum_logits: f64::NAN, sum_exp_logits: f64::NAN };
}

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

impl Want<'_> {
    pub(crate) fn nothing(&self) -> bool {
        !self.sum_logits && !self.sum_exp_logits
    }
}

/// The sums of a row whose logits stay as they are.
pub(super) fn sums<T: Lanes>(
    level: Level,
    ReadRow { row, next }: ReadRow<'_, T>,
    map: &LogitMap,
) -> RowSums {
    dispatch!(level, simd => {
        let (max, pivot) = max_and_pivot(simd, row, map);
        let read = Read { row, ahead: Ahead::all(next) };
        let sum_exp = match map.kind() {
            Kind::Linear(map) => sum(simd, read, map, pivot),
            Kind::Capped(map) => sum(simd, read, map, pivot),
        };
        RowSums { max, pivot, sum_exp }
    })
}

/// As [`sums`], with the exponentials parked in another row.
pub(super) fn sums_parked<T: Lanes>(
    level: Level,
    ReadRow { row: source, next }: ReadRow<'_, T>,
    WriteRow { row: target, next: target_next }: WriteRow<'_, f32>,
    map: Linear,
) -> RowSums {
    dispatch!(level, simd => {
        let (max, pivot) = max_and_pivot(simd, source, &map.into());
        let (ahead, target_ahead) = (Ahead::all(next), Ahead::unless_null(target_next));
        let split = Split { source, target, ahead, target_ahead };
        RowSums { max, pivot, sum_exp: sum(simd, split, map, pivot) }
    })
}

/// As [`sums`], with the exponentials parked over the logits.
pub(super) fn sums_in_place(
    level: Level,
    WriteRow { row, next }: WriteRow<'_, f32>,
    map: Linear,
) -> RowSums {
    dispatch!(level, simd => {
        let (max, pivot) = max_and_pivot(simd, row, &map.into());
        let row = InPlace { row, ahead: Ahead::all(next) };
        RowSums { max, pivot, sum_exp: sum(simd, row, map, pivot) }
    })
}

/// The other sums that [`Want`] asks for. A function of its own, which looks for the maximum again: most calls do not want any.
pub(super) fn moments<T: Lanes>(
    level: Level,
    row: &[T],
    map: &LogitMap,
    want: Want<'_>,
) -> Moments {
    dispatch!(level, simd => {
        let (_, pivot) = max_and_pivot(simd, row, map);
        match map.kind() {
            Kind::Linear(map) => sum_moments(simd, row, map, pivot, want),
            Kind::Capped(map) => sum_moments(simd, row, map, pivot, want),
        }
    })
}

/// The largest z', and the f32 that exponents are taken relative to.
#[inline(always)]
fn max_and_pivot<S: Simd, T: Lanes>(simd: S, row: &[T], map: &LogitMap) -> (f64, f32) {
    let max = map.apply(T::max(simd, row)).max(f64::from(f32::MIN));
    (max, LogitMap::pivot(max))
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

/// Σ exp(z' − pivot), in f32 within a block, so that few roundings meet, and in f64 from block to block.
struct ExpSum<S: Simd, M> {
    map: M,
    pivot: f32,
    block: f32x16<S>,
    sum: Wide<S>,
}

impl<S: Simd, M: LaneMap<S>> Visit<S> for &mut ExpSum<S, M> {
    #[inline(always)]
    fn chunk(&mut self, simd: S, _: usize, lanes: usize, z: f32x16<S>) -> f32x16<S> {
        let mut e = exp(simd, self.map.centred(simd, z, self.pivot));
        if lanes < LANES {
            // A soft-cap gives the padding mass.
            e = simd.select_f32x16(inside(simd, lanes), e, simd.splat_f32x16(0.0));
        }
        self.block += e;
        e
    }

    #[inline(always)]
    fn end_of_block(&mut self, simd: S) {
        self.sum.add(simd, self.block);
        self.block = simd.splat_f32x16(0.0);
    }
}

/// Σ exp(z' − pivot) over `io`, which receives the exponentials.
#[inline(always)]
fn sum<S: Simd>(simd: S, io: impl RowIo<S>, map: impl LaneMap<S>, pivot: f32) -> f64 {
    let block = simd.splat_f32x16(0.0);
    let mut sum = ExpSum { map, pivot, block, sum: Wide::zero(simd) };
    io.each(simd, &mut sum);
    sum.sum.sum()
}

#[inline(always)]
fn sum_moments<S: Simd, T: Lanes>(
    simd: S,
    row: &[T],
    map: impl LaneMap<S>,
    pivot: f32,
    want: Want<'_>,
) -> Moments {
    let mut moments = Moments::NONE;
    if want.sum_logits {
        // A loop each, so that the one without weights looks for none.
        moments.sum_logits = match want.class_weights {
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
        moments.sum_exp_logits = sum_exp_logits(simd, row, map, pivot);
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
    Read { row, ahead: Ahead::NONE }.each(
        simd,
        Each(
            #[inline(always)]
            |start, lanes, z| {
                let weights = weights(start, lanes);
                // 0·(−inf) is 0: a class without weight has no part in the sum.
                let weighted = simd.simd_gt_f32x16(weights, zero) & inside(simd, lanes);
                let value = simd.select_f32x16(weighted, map.apply(simd, z), zero);
                sum.mul_add(simd, value, weights);
                z
            },
        ),
    );
    sum.sum()
}

/// Σ exp(z' − pivot)·(z' − pivot).
#[inline(always)]
fn sum_exp_logits<S: Simd, T: Lanes>(simd: S, row: &[T], map: impl LaneMap<S>, pivot: f32) -> f64 {
    let (mut sum, zero) = (Wide::zero(simd), simd.splat_f32x16(0.0));
    Read { row, ahead: Ahead::NONE }.each(
        simd,
        Each(
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
        ),
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
