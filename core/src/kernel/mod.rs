//! The hot loops, one row (or a tile of one) at a time, generic over SIMD level and element type. No objectives, no shapes, no errors.
//!
//! Every path computes the same exponentials, so in place and separate, fused and staged agree in their bits.

mod base;
mod exp;
mod finish;
mod first;
mod lanes;
pub(crate) mod level;
mod max;
mod native;
mod prefetch;
mod sums;
mod walk;

use fearless_simd::Level;
use half::{bf16, f16};

pub use base::{Base, LogitMap};
pub use finish::Affine;
pub(crate) use finish::finish_in_place;
pub use first::{Ahead, Half};
pub(crate) use first::{TOGETHER, at_max};
pub use lanes::Lanes;
pub(crate) use max::argmax;
pub use sums::Moments;
pub use walk::{InPlace, Read, Split};

/// Entries of a row that are worked on at a time where there is no room for a whole one: 4 KiB of f32.
pub(crate) const TILE: usize = 1024;

/// The kernels as functions of concrete types: compiled here once, and not again in every crate that calls the library.
pub trait Kernels: Lanes {
    /// See [`max::max`].
    fn max(level: Level, row: &[Self]) -> f32;
    /// See [`first::sums`].
    fn sums(
        level: Level,
        map: &LogitMap,
        rows: &mut [Read<'_, Self>],
        halves: &mut [Half],
        ahead: &mut Ahead<'_, '_, Self>,
    );
    /// See [`first::parked`].
    fn parked(
        level: Level,
        map: &LogitMap,
        rows: &mut [Split<'_, Self, f32>],
        halves: &mut [Half],
        ahead: &mut Ahead<'_, '_, Self>,
    );
    /// See [`first::parked_in_place`]; false where only f32 could hold the exponentials.
    fn parked_in_place(
        level: Level,
        map: &LogitMap,
        rows: &mut [InPlace<'_, Self>],
        halves: &mut [Half],
        ahead: &mut Ahead<'_, '_, Self>,
    ) -> bool {
        let _ = (level, map, rows, halves, ahead);
        false
    }
    /// See [`sums::moments`].
    fn moments(level: Level, row: &[Self], target: usize, base: &Base) -> Moments;
    /// See [`sums::weighted`].
    fn weighted(level: Level, row: &[Self], base: &Base, weights: Option<&[f32]>) -> f64;
    /// See [`finish::finish`].
    fn finish(level: Level, source: &[f32], out: &mut [Self], entry: Affine<'_>);
    /// See [`finish::entries`].
    fn entries(level: Level, logits: &[Self], base: &Base, out: &mut [f32], entry: Affine<'_>);
    /// See [`finish::shift`].
    fn shift(level: Level, logits: &[Self], out: &mut [f32], pivot: f32, by: f32);
}

macro_rules! kernels {
    ($($t:ty { $($more:item)? })*) => {$(
        impl Kernels for $t {
            $($more)?

            fn max(level: Level, row: &[Self]) -> f32 {
                max::max(level, row)
            }

            fn sums(
                level: Level,
                map: &LogitMap,
                rows: &mut [Read<'_, Self>],
                halves: &mut [Half],
                ahead: &mut Ahead<'_, '_, Self>,
            ) {
                first::sums(level, map, rows, halves, ahead);
            }

            fn parked(
                level: Level,
                map: &LogitMap,
                rows: &mut [Split<'_, Self, f32>],
                halves: &mut [Half],
                ahead: &mut Ahead<'_, '_, Self>,
            ) {
                first::parked(level, map, rows, halves, ahead);
            }

            fn moments(level: Level, row: &[Self], target: usize, base: &Base) -> Moments {
                sums::moments(level, row, target, base)
            }

            fn weighted(level: Level, row: &[Self], base: &Base, weights: Option<&[f32]>) -> f64 {
                sums::weighted(level, row, base, weights)
            }

            fn finish(level: Level, source: &[f32], out: &mut [Self], entry: Affine<'_>) {
                finish::finish(level, source, out, entry);
            }

            fn entries(level: Level, logits: &[Self], base: &Base, out: &mut [f32], entry: Affine<'_>) {
                finish::entries(level, logits, base, out, entry);
            }

            fn shift(level: Level, logits: &[Self], out: &mut [f32], pivot: f32, by: f32) {
                finish::shift(level, logits, out, pivot, by);
            }
        }
    )*};
}
kernels! {
    f32 {
        fn parked_in_place(
            level: Level,
            map: &LogitMap,
            rows: &mut [InPlace<'_, f32>],
            halves: &mut [Half],
            ahead: &mut Ahead<'_, '_, f32>,
        ) -> bool {
            first::parked_in_place(level, map, rows, halves, ahead);
            true
        }
    }
    bf16 {}
    f16 {}
}
