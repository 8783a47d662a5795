//! First half of a row: Σ exp(z' − pivot), with the exponentials parked where they can be, and meanwhile the next row's maximum.

use fearless_simd::{Level, Simd, dispatch, f32x16, f64x8, prelude::*};

use super::lanes::{LANES, Lanes};
use super::map::{Kind, LaneMap, Linear, LogitMap};
use super::row::{
    Ahead, Block, Each, EachBlock, InPlace, Read, ReadRow, RowIo, Split, Visit, WriteRow,
    load_weights,
};
use super::row_max::{RowMax, row_max};

/// Sums over one row, as the loops form them.
#[derive(Clone, Copy, Debug)]
pub struct RowSums {
    /// The largest z'; `f32::MIN` where none is finite.
    pub(crate) max: f64,
    /// What the exponents are relative to: `max` rounded to f32.
    pub(crate) pivot: f32,
    /// Σ exp(z' − pivot).
    pub(crate) sum_exp: f64,
    /// The largest logit of the next row, if there is one.
    pub(crate) next_max: f32,
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
pub(super) fn sums<T: Lanes>(level: Level, row: ReadRow<'_, T>, map: &LogitMap) -> RowSums {
    let max = max_of(level, row);
    dispatch!(level, simd => match map.kind() {
        Kind::Linear(map) => sum(simd, Read(row.row), max, row.next, map),
        Kind::Capped(map) => sum(simd, Read(row.row), max, row.next, map),
    })
}

/// As [`sums`], with the exponentials parked in another row.
pub(super) fn sums_parked<T: Lanes>(
    level: Level,
    row: ReadRow<'_, T>,
    target: &mut [f32],
    map: Linear,
) -> RowSums {
    let max = max_of(level, row);
    dispatch!(level, simd => {
        let io = Split { source: row.row, target, ahead: Ahead::NONE };
        sum(simd, io, max, row.next, map)
    })
}

/// As [`sums`], with the exponentials parked over the logits.
pub(super) fn sums_in_place(level: Level, row: WriteRow<'_, f32>, map: Linear) -> RowSums {
    let max = max_of(level, row.read());
    let WriteRow { row, next, .. } = row;
    dispatch!(level, simd => sum(simd, InPlace { row, ahead: Ahead::NONE }, max, next, map))
}

/// The other sums that [`Want`] asks for. A function of its own: most calls do not want any.
pub(super) fn moments<T: Lanes>(
    level: Level,
    row: ReadRow<'_, T>,
    map: &LogitMap,
    want: Want<'_>,
) -> Moments {
    let (_, pivot) = max_and_pivot(max_of(level, row), map);
    dispatch!(level, simd => match map.kind() {
        Kind::Linear(map) => sum_moments(simd, row.row, map, pivot, want),
        Kind::Capped(map) => sum_moments(simd, row.row, map, pivot, want),
    })
}

/// The largest logit.
fn max_of<T: Lanes>(level: Level, row: ReadRow<'_, T>) -> f32 {
    row.max.unwrap_or_else(|| row_max(level, row.row))
}

/// The largest z', and the f32 that exponents are taken relative to.
#[inline]
fn max_and_pivot(max: f32, map: &LogitMap) -> (f64, f32) {
    let max = map.apply(max).max(f64::from(f32::MIN));
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
struct ExpSum<'a, S: Simd, M, T: Lanes> {
    len: usize,
    map: M,
    pivot: f32,
    sum: Wide<S>,
    next: RowMax<'a, S, T>,
}

impl<S: Simd, M: LaneMap<S>, T: Lanes> Visit<S> for &mut ExpSum<'_, S, M, T> {
    #[inline(always)]
    fn block(&mut self, simd: S, start: usize, z: Block<S>) -> Block<S> {
        let mut e = self.map.exp(simd, z, self.pivot);
        if M::PADDING_HAS_MASS {
            for (index, e) in e.iter_mut().enumerate() {
                let inside = inside(simd, start + index * LANES, self.len);
                *e = simd.select_f32x16(inside, *e, simd.splat_f32x16(0.0));
            }
        }
        let [a, b, c, d] = e;
        self.sum.add(simd, ((a + b) + c) + d);
        self.next.block(simd);
        e
    }
}

/// Sums over `io`, which receives the exponentials. `max` is the row's largest logit, `next` the next row, which is as long.
#[inline(always)]
fn sum<S: Simd, T: Lanes>(
    simd: S,
    io: impl RowIo<S>,
    max: f32,
    next: &[T],
    map: impl LaneMap<S>,
) -> RowSums {
    let len = io.len();
    let (max, pivot) = max_and_pivot(max, &map.into());
    let next = RowMax::new(simd, next);
    let mut sum = ExpSum { len, map, pivot, sum: Wide::zero(simd), next };
    io.each(simd, &mut sum);
    RowSums { max, pivot, sum_exp: sum.sum.sum(), next_max: sum.next.finish(simd) }
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
                |_| simd.splat_f32x16(1.0),
            ),
            Some(weights) => sum_logits(
                simd,
                row,
                map,
                #[inline(always)]
                |start| load_weights(simd, weights, start),
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
    weights: impl Fn(usize) -> f32x16<S>,
) -> f64 {
    let (mut sum, zero) = (Wide::zero(simd), simd.splat_f32x16(0.0));
    Read(row).each(
        simd,
        Each(
            #[inline(always)]
            |start, z| {
                let weights = weights(start);
                // 0·(−inf) is 0: a class without weight has no part in the sum.
                let weighted = simd.simd_gt_f32x16(weights, zero) & inside(simd, start, row.len());
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
    Read(row).each(
        simd,
        EachBlock(
            #[inline(always)]
            |start, z: Block<S>| {
                let e = map.exp(simd, z, pivot);
                for index in 0..z.len() {
                    let inside = inside(simd, start + index * LANES, row.len());
                    // A class without mass has no part in the sum, nor has padding.
                    let massive = simd.simd_ne_f32x16(e[index], zero) & inside;
                    let x = map.centred(simd, z[index], pivot);
                    sum.mul_add(simd, e[index], simd.select_f32x16(massive, x, zero));
                }
                z
            },
        ),
    );
    sum.sum()
}

/// Which of the lanes from `start` on lie inside a row of this length.
#[inline(always)]
fn inside<S: Simd>(simd: S, start: usize, len: usize) -> fearless_simd::mask32x16<S> {
    let mut index = [0.0; LANES];
    for (lane, index) in index.iter_mut().enumerate() {
        *index = lane as f32;
    }
    let count = simd.splat_f32x16(len.saturating_sub(start) as f32);
    simd.simd_lt_f32x16(f32x16::from_slice(simd, &index), count)
}
