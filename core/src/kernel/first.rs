//! First half of a row: the exponentials of all classes but the target, summed and kept where the caller wants them, and meanwhile the
//! next row's maximum. A band of short rows is one call, so that what is done once a row is done in vectors.

use fearless_simd::{Level, Simd};

use super::any::Row;
use super::base::{Base, LaneMap, LogitMap, RowMap, at_maxima};
use super::lanes::{LANES, Lanes};
use super::level::dispatch;
use super::max::{RowMax, max_of_lanes};
use super::sums::{Wide, others};
use super::walk::{BLOCK, InPlace, Read, Split, Walk};

/// Rows of a band at most.
pub(crate) const TOGETHER: usize = 8;

/// Blocks that are added up in f32.
const FEW: usize = 4;

/// The first half of a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Half {
    /// The target's column, given; `usize::MAX` where the row has none.
    pub(crate) target: usize,
    /// The largest raw logit.
    pub(crate) raw_max: f32,
    pub(crate) base: Base,
    /// Σ of the exponentials of all classes but the target, relative to the maximum.
    pub(crate) others: f64,
    /// The exponential of the maximum, relative to the base.
    pub(crate) at_max: f64,
}

impl Half {
    pub(crate) const NONE: Self =
        Self { target: usize::MAX, raw_max: f32::MIN, base: Base::NONE, others: 0.0, at_max: 1.0 };
}

/// The rows that are looked at after a band's, as long as those.
#[derive(Debug)]
pub(crate) struct Ahead<'r, 'a> {
    pub(crate) rows: &'r [Row<'a>],
    /// The largest logits of the band's own rows where they were found on the way, and afterwards those of `rows`.
    pub(crate) max: [Option<f32>; TOGETHER],
}

/// The first halves of a band's rows; the exponentials are lost.
pub(crate) fn sums<T: Lanes>(
    level: Level,
    map: &LogitMap,
    rows: &mut [Read<'_, T>],
    halves: &mut [Half],
    ahead: &mut Ahead<'_, '_>,
) {
    dispatch!(level, simd => each(simd, map, rows, halves, ahead));
}

/// As [`sums`], with the exponentials parked elsewhere.
pub(crate) fn parked<T: Lanes>(
    level: Level,
    map: &LogitMap,
    rows: &mut [Split<'_, T, f32>],
    halves: &mut [Half],
    ahead: &mut Ahead<'_, '_>,
) {
    dispatch!(level, simd => each(simd, map, rows, halves, ahead));
}

/// As [`sums`], with the exponentials parked over the logits.
pub(crate) fn parked_in_place(
    level: Level,
    map: &LogitMap,
    rows: &mut [InPlace<'_, f32>],
    halves: &mut [Half],
    ahead: &mut Ahead<'_, '_>,
) {
    dispatch!(level, simd => each(simd, map, rows, halves, ahead));
}

/// The exponentials of the rows' maxima, by the same arithmetic as the loops': what turns the others into exponentials relative to it, with
/// ties exactly 1.
pub(crate) fn at_max(level: Level, halves: &mut [Half]) {
    dispatch!(level, simd => find_at_max(simd, halves));
}

/// A step for all rows before the next step, so that rows do not wait for each other's latencies: bases, loops, sums over lanes. The maxima of
/// the rows ahead are found on the way, where the arithmetic hides the wait for memory.
#[inline(always)]
fn each<S: Simd, W: Walk<S>>(
    simd: S,
    map: &LogitMap,
    rows: &mut [W],
    halves: &mut [Half],
    ahead: &mut Ahead<'_, '_>,
) {
    for ((row, half), max) in rows.iter().zip(&mut *halves).zip(&mut ahead.max) {
        half.raw_max = match max.take() {
            Some(max) => max,
            None => RowMax::new(simd, row.row()).finish(simd),
        };
        half.base = Base::new(simd.level(), map, half.raw_max);
    }
    let mut sums = [Wide::zero(simd); TOGETHER];
    let mut maxima = [W::Logit::no_max(simd); TOGETHER];
    let found = sums.iter_mut().zip(&mut maxima);
    for (index, ((row, half), (sum, max))) in rows.iter_mut().zip(&*halves).zip(found).enumerate() {
        let next = ahead.rows.get(index).map_or(&[][..], |row| W::Logit::of(*row));
        (*sum, *max) = match half.base.row_map(simd.level()) {
            RowMap::Unit(map) => walk(simd, row, half.target, next, map),
            RowMap::Linear(map) => walk(simd, row, half.target, next, map),
            // Capped exponentials are never parked.
            RowMap::General(map) if W::PARKS => walk(simd, row, half.target, next, map.uncapped()),
            RowMap::General(map) => walk(simd, row, half.target, next, map),
        };
    }
    for (half, sum) in halves.iter_mut().zip(sums) {
        half.others = sum.sum();
    }
    // Rows ahead that had no row beside them have not been looked at.
    let seen = ahead.rows.len().min(halves.len());
    for (max, of_lanes) in ahead.max.iter_mut().zip(maxima).take(seen) {
        *max = Some(max_of_lanes::<S, W::Logit>(simd, of_lanes));
    }
    find_at_max(simd, halves);
    for half in halves {
        half.others /= half.at_max;
    }
}

#[inline(always)]
fn find_at_max<S: Simd>(simd: S, halves: &mut [Half]) {
    let mut bases = [None; LANES];
    for (base, half) in bases.iter_mut().zip(&*halves) {
        *base = Some(half.base);
    }
    for (half, at_max) in halves.iter_mut().zip(at_maxima(simd, &bases)) {
        half.at_max = at_max;
    }
}

/// Sums in f32 over few blocks, so that few roundings meet, and in f64 beyond; and the largest logits of the next row.
#[inline(always)]
fn walk<S: Simd, W: Walk<S>>(
    simd: S,
    row: &mut W,
    target: usize,
    next: &[W::Logit],
    map: impl LaneMap<S>,
) -> (Wide<S>, <W::Logit as Lanes>::Max<S>) {
    let len = row.row().len();
    let (mut sum, mut next) = (Wide::zero(simd), RowMax::new(simd, next));
    let mut few = simd.splat_f32x16(0.0);
    row.each(
        simd,
        #[inline(always)]
        |start, z| {
            let e = others(simd, map, (start, z), (target, len));
            let [a, b, c, d] = e;
            few += (a + b) + (c + d);
            if (start / BLOCK) % FEW == FEW - 1 {
                sum.add(simd, few);
                few = simd.splat_f32x16(0.0);
            }
            next.block(simd);
            e
        },
    );
    sum.add(simd, few);
    (sum, next.of_lanes(simd))
}
