//! First half of a row: the exponentials of all classes but the target, summed and kept where the caller wants them, and meanwhile the
//! next row's maximum. A band of short rows is one call, so that what is done once a row is done in vectors.

use fearless_simd::{Level, Simd};

use super::base::{Base, LaneMap, LogitMap, RowMap, at_maxima};
use super::lanes::{LANES, Lanes};
use super::level::dispatch;
use super::max::RowMax;
use super::sums::{Wide, others};
use super::walk::{BLOCK, InPlace, Read, Split, Walk};

/// Rows of a band at most.
pub(crate) const TOGETHER: usize = 8;

/// Blocks that are added up in f32.
const FEW: usize = 4;

/// The first half of a row.
#[derive(Clone, Copy, Debug)]
pub struct Half {
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

/// The row after a band, as long as the others or empty.
#[derive(Debug)]
pub struct Ahead<'a, T> {
    pub(crate) row: &'a [T],
    /// The largest logit of the band's first row, if it was found on the way, and afterwards that of `row`.
    pub(crate) max: Option<f32>,
}

/// The rows of a band, each as a walk, with the row after it.
trait Band<S: Simd, T> {
    type Row<'r>: Walk<S>
    where
        Self: 'r;
    fn logits(&self, index: usize) -> &[T];
    fn row(&mut self, index: usize) -> (Self::Row<'_>, &[T]);
}

/// Rows to read.
struct Reads<'b, 'a, T>(&'b [&'a [T]]);

impl<S: Simd, T: Lanes> Band<S, T> for Reads<'_, '_, T> {
    type Row<'r>
        = Read<'r, T>
    where
        Self: 'r;

    #[inline(always)]
    fn logits(&self, index: usize) -> &[T] {
        self.0.get(index).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn row(&mut self, index: usize) -> (Read<'_, T>, &[T]) {
        let row = |index| self.0.get(index).copied().unwrap_or_default();
        (Read(row(index)), row(index + 1))
    }
}

/// Rows to read, with room for their exponentials.
struct Splits<'b, 'a, 'p, T>(&'b [&'a [T]], &'b mut [&'p mut [f32]]);

impl<S: Simd, T: Lanes> Band<S, T> for Splits<'_, '_, '_, T> {
    type Row<'r>
        = Split<'r, T, f32>
    where
        Self: 'r;

    #[inline(always)]
    fn logits(&self, index: usize) -> &[T] {
        self.0.get(index).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn row(&mut self, index: usize) -> (Split<'_, T, f32>, &[T]) {
        let row = |index| self.0.get(index).copied().unwrap_or_default();
        let park = self.1.get_mut(index).map_or(&mut [][..], |park| &mut **park);
        (Split(row(index), park), row(index + 1))
    }
}

/// Rows that are overwritten by their exponentials.
struct InPlaces<'b, 'a>(&'b mut [&'a mut [f32]]);

impl<S: Simd> Band<S, f32> for InPlaces<'_, '_> {
    type Row<'r>
        = InPlace<'r, f32>
    where
        Self: 'r;

    #[inline(always)]
    fn logits(&self, index: usize) -> &[f32] {
        self.0.get(index).map_or(&[], |row| &**row)
    }

    #[inline(always)]
    fn row(&mut self, index: usize) -> (InPlace<'_, f32>, &[f32]) {
        let (row, later) = self.0.get_mut(index..).unwrap_or_default().split_at_mut(1);
        let row = row.first_mut().map_or(&mut [][..], |row| &mut **row);
        (InPlace(row), later.first().map_or(&[], |row| &**row))
    }
}

/// The first halves of a band's rows; the exponentials are lost.
pub(super) fn sums<T: Lanes>(
    level: Level,
    map: &LogitMap,
    rows: &[&[T]],
    halves: &mut [Half],
    ahead: &mut Ahead<'_, T>,
) {
    dispatch!(level, simd => each(simd, map, Reads(rows), halves, ahead));
}

/// As [`sums`], with the exponentials parked elsewhere.
pub(super) fn parked<T: Lanes>(
    level: Level,
    map: &LogitMap,
    (rows, parks): (&[&[T]], &mut [&mut [f32]]),
    halves: &mut [Half],
    ahead: &mut Ahead<'_, T>,
) {
    dispatch!(level, simd => each(simd, map, Splits(rows, parks), halves, ahead));
}

/// As [`sums`], with the exponentials parked over the logits.
pub(crate) fn parked_in_place(
    level: Level,
    map: &LogitMap,
    rows: &mut [&mut [f32]],
    halves: &mut [Half],
    ahead: &mut Ahead<'_, f32>,
) {
    dispatch!(level, simd => each(simd, map, InPlaces(rows), halves, ahead));
}

/// The exponentials of the rows' maxima, by the same arithmetic as the loops': what turns the others into exponentials relative to it, with
/// ties exactly 1.
pub(crate) fn at_max(level: Level, halves: &mut [Half]) {
    dispatch!(level, simd => find_at_max(simd, halves));
}

/// Row by row, with the next row's maximum found on the way.
#[inline(always)]
fn each<S: Simd, T: Lanes>(
    simd: S,
    map: &LogitMap,
    mut band: impl Band<S, T>,
    halves: &mut [Half],
    ahead: &mut Ahead<'_, T>,
) {
    let last = halves.len().saturating_sub(1);
    for (index, half) in halves.iter_mut().enumerate() {
        let raw_max = match ahead.max.take() {
            Some(max) => max,
            None => RowMax::new(simd, band.logits(index)).finish(simd),
        };
        let base = Base::new(simd.level(), map, raw_max);
        let (walk, next) = band.row(index);
        let next = if index == last { ahead.row } else { next };
        let (others, next_max) = match base.map {
            RowMap::Linear(map) => sum(simd, walk, half.target, next, map),
            RowMap::General(map) => sum(simd, walk, half.target, next, map),
        };
        ahead.max = (!next.is_empty()).then_some(next_max);
        *half = Half { raw_max, base, others, ..*half };
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

/// Sums in f32 over few blocks, so that few roundings meet, and in f64 beyond; and the largest logit of the next row.
#[inline(always)]
fn sum<S: Simd, T: Lanes>(
    simd: S,
    walk: impl Walk<S>,
    target: usize,
    next: &[T],
    map: impl LaneMap<S>,
) -> (f64, f32) {
    let len = walk.len();
    let (mut sum, mut next) = (Wide::zero(simd), RowMax::new(simd, next));
    let mut few = simd.splat_f32x16(0.0);
    walk.each(
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
    (sum.sum(), next.finish(simd))
}
