//! The kernels as trait functions of concrete types: compiled here once, and not again in every crate that calls the library.

use fearless_simd::Level;
use half::{bf16, f16};

use super::lanes::Lanes;
use super::map::{Linear, LogitMap};
use super::row::ReadRow;
use super::row_stats::{Moments, RowSums, Want};
use super::{RowGrad, logits_grad, row_stats};

/// Kernels over logits of one type.
pub trait LogitKernels: Lanes {
    /// See [`row_stats::sums`].
    fn sums(level: Level, row: ReadRow<'_, Self>, map: &LogitMap) -> RowSums;
    /// See [`row_stats::moments`].
    fn moments(level: Level, row: ReadRow<'_, Self>, map: &LogitMap, want: Want<'_>) -> Moments;
    /// See [`row_stats::sums_parked`].
    fn sums_parked(
        level: Level,
        row: ReadRow<'_, Self>,
        target: &mut [f32],
        map: Linear,
    ) -> RowSums;
    /// See [`logits_grad::grad_parked`].
    fn grad_parked(
        level: Level,
        parked: &[f32],
        target: &mut [Self],
        grad: &RowGrad,
        class_weights: Option<&[f32]>,
    );
    /// See [`logits_grad::grad_in_place`].
    fn grad_in_place(
        level: Level,
        row: &mut [Self],
        map: &LogitMap,
        grad: &RowGrad,
        class_weights: Option<&[f32]>,
    );
    /// See [`logits_grad::shift_in_place`].
    fn shift_in_place(level: Level, row: &mut [Self], pivot: f32, shift: f32);
}

/// Kernels from logits of type `T` to results of this type.
pub trait ResultKernels<T: Lanes>: Lanes {
    /// See [`logits_grad::grad_split`].
    fn grad_split(
        level: Level,
        source: &[T],
        target: &mut [Self],
        map: &LogitMap,
        grad: &RowGrad,
        class_weights: Option<&[f32]>,
    );
    /// See [`logits_grad::shift_split`].
    fn shift_split(level: Level, source: &[T], target: &mut [Self], pivot: f32, shift: f32);
}

macro_rules! logit_kernels {
    ($($t:ty),*) => {$(
        impl LogitKernels for $t {
            fn sums(level: Level, row: ReadRow<'_, Self>, map: &LogitMap) -> RowSums {
                row_stats::sums(level, row, map)
            }

            fn moments(
                level: Level,
                row: ReadRow<'_, Self>,
                map: &LogitMap,
                want: Want<'_>,
            ) -> Moments {
                row_stats::moments(level, row, map, want)
            }

            fn sums_parked(
                level: Level,
                row: ReadRow<'_, Self>,
                target: &mut [f32],
                map: Linear,
            ) -> RowSums {
                row_stats::sums_parked(level, row, target, map)
            }

            fn grad_parked(
                level: Level,
                parked: &[f32],
                target: &mut [Self],
                        grad: &RowGrad,
                class_weights: Option<&[f32]>,
            ) {
                logits_grad::grad_parked(level, parked, target, grad, class_weights);
            }

            fn grad_in_place(
                level: Level,
                row: &mut [Self],
                map: &LogitMap,
                grad: &RowGrad,
                class_weights: Option<&[f32]>,
            ) {
                logits_grad::grad_in_place(level, row, map, grad, class_weights);
            }

            fn shift_in_place(level: Level, row: &mut [Self], pivot: f32, shift: f32) {
                logits_grad::shift_in_place(level, row, pivot, shift);
            }
        }
    )*};
}
logit_kernels!(f32, bf16, f16);

macro_rules! result_kernels {
    ($($t:ty => $g:ty),*) => {$(
        impl ResultKernels<$t> for $g {
            fn grad_split(
                level: Level,
                source: &[$t],
                target: &mut [Self],
                map: &LogitMap,
                grad: &RowGrad,
                class_weights: Option<&[f32]>,
            ) {
                logits_grad::grad_split(level, source, target, map, grad, class_weights);
            }

            fn shift_split(
                level: Level,
                source: &[$t],
                target: &mut [Self],
                pivot: f32,
                shift: f32,
            ) {
                logits_grad::shift_split(level, source, target, pivot, shift);
            }
        }
    )*};
}
// A result has the type of its logits, or f32.
result_kernels!(f32 => f32, bf16 => bf16, bf16 => f32, f16 => f16, f16 => f32);
