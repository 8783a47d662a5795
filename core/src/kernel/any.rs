//! Rows of any element type: what works on rows stands in the program once, and not once for each type or pair of types. Where it comes to
//! the elements, a `match` a row finds the type.

use core::ops::Range;

use fearless_simd::Level;
use half::{bf16, f16};

use super::lanes::Lanes;
use super::{Affine, Base, Moments, Out, finish, max, sums};
use crate::entry;

/// The same thing of one of the element types.
#[derive(Clone, Copy, Debug)]
pub enum Any<A, B, C> {
    F32(A),
    Bf16(B),
    F16(C),
}

/// A row to read.
pub type Row<'a> = Any<&'a [f32], &'a [bf16], &'a [f16]>;

/// A row to write.
pub type RowMut<'a> = Any<&'a mut [f32], &'a mut [bf16], &'a mut [f16]>;

/// An expression of what an [`Any`] holds, whatever its type.
macro_rules! typed {
    ($any:expr, $value:pat => $op:expr) => {
        match $any {
            $crate::kernel::Any::F32($value) => $op,
            $crate::kernel::Any::Bf16($value) => $op,
            $crate::kernel::Any::F16($value) => $op,
        }
    };
}
pub(crate) use typed;

impl Default for Row<'_> {
    fn default() -> Self {
        Self::F32(&[])
    }
}

impl<'a> Row<'a> {
    #[inline]
    pub(crate) fn len(self) -> usize {
        typed!(self, row => row.len())
    }

    /// An entry as f32.
    #[inline]
    pub(crate) fn get(self, column: usize) -> Option<f32> {
        typed!(self, row => row.get(column).map(|z| z.lane_f32()))
    }

    /// Some of the columns, as far as there are any.
    #[inline]
    pub(crate) fn part(self, columns: Range<usize>) -> Self {
        typed!(self, row => Lanes::row(row.get(columns).unwrap_or_default()))
    }

    /// See [`max::argmax`].
    pub(crate) fn argmax(self) -> usize {
        typed!(self, row => max::argmax(row))
    }

    /// See [`max::max`].
    pub(crate) fn max(self, level: Level) -> f32 {
        typed!(self, row => max::max(level, row))
    }

    /// See [`sums::moments`].
    pub(crate) fn moments(self, level: Level, target: usize, base: &Base) -> Moments {
        typed!(self, row => sums::moments(level, row, target, base))
    }

    /// See [`sums::weighted`].
    pub(crate) fn weighted(self, level: Level, base: &Base, weights: Option<&[f32]>) -> f64 {
        typed!(self, row => sums::weighted(level, row, base, weights))
    }

    /// See [`finish::entries`].
    pub(crate) fn entries(self, level: Level, base: &Base, out: Out<'_, f32>, entry: Affine<'_>) {
        typed!(self, row => finish::entries(level, row, base, out, entry));
    }

    /// See [`finish::shift`].
    pub(crate) fn shift(self, level: Level, out: Out<'_, f32>, pivot: f32, by: f32) {
        typed!(self, row => finish::shift(level, row, out, pivot, by));
    }
}

impl<'a> RowMut<'a> {
    /// The same row to read.
    #[inline]
    pub(crate) fn as_row(&self) -> Row<'_> {
        typed!(self, row => Lanes::row(row))
    }

    /// Some of the columns, as far as there are any.
    #[inline]
    pub(crate) fn part(&mut self, columns: Range<usize>) -> RowMut<'_> {
        typed!(self, row => Lanes::row_mut(row.get_mut(columns).unwrap_or_default()))
    }

    /// Writes zeros.
    #[inline]
    pub(crate) fn clear(self) {
        typed!(self, row => row.fill(Lanes::ZERO));
    }

    /// Writes NaN.
    pub(crate) fn invalidate(self) {
        typed!(self, row => row.fill(Lanes::NAN));
    }

    /// Rounds a value into an entry, where there is such a one.
    #[inline]
    pub(crate) fn set(&mut self, column: usize, value: f32) {
        typed!(self, row => entry::write(row, column, Lanes::lane_of(value)));
    }

    /// Rounds values into entries, which may be [`Out::cold`].
    pub(crate) fn copy(self, level: Level, source: &[f32], cold: bool) {
        match self {
            Self::F32(row) => row.iter_mut().zip(source).for_each(|(entry, value)| *entry = *value),
            Self::Bf16(row) => finish::finish(level, source, Out { row, cold }, Affine::IDENTITY),
            Self::F16(row) => finish::finish(level, source, Out { row, cold }, Affine::IDENTITY),
        }
    }

    /// Exponentials become entries. Those of an f32 row are in the row itself, those of others in `source`; others may be [`Out::cold`].
    #[inline]
    pub(crate) fn finish(&mut self, level: Level, source: &[f32], cold: bool, entry: Affine<'_>) {
        match self {
            Self::F32(row) => finish::finish_in_place(level, row, entry),
            Self::Bf16(row) => finish::finish(level, source, Out { row, cold }, entry),
            Self::F16(row) => finish::finish(level, source, Out { row, cold }, entry),
        }
    }
}
