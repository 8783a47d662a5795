//! The hot loops, one row at a time, generic over SIMD level and element type. No objectives, no shapes, no errors.
//!
//! Every path computes the same `exp(z' − pivot)` per element, so in place and separate, fused and staged agree in their bits.

mod exp;
mod lanes;
mod logits_grad;
mod map;
mod prefetch;
mod row;
mod row_stats;
mod table;

use fearless_simd::Level;

pub use lanes::Lanes;
pub use logits_grad::RowGrad;
use map::Kind;
pub use map::LogitMap;
pub use row::ReadRow;
pub(crate) use row::RowMut;
pub use row_stats::Want;
pub(crate) use row_stats::argmax;
pub use table::{LogitKernels, ResultKernels};

/// Sums over one row, as the loops form them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowSums {
    /// The largest z'; `f32::MIN` where none is finite.
    pub(crate) max: f64,
    /// What the exponents are relative to: `max` rounded to f32.
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

impl RowSums {
    /// Everything but the sum of the exponentials.
    fn before<T: LogitKernels>(level: Level, row: &[T], map: &LogitMap, want: Want<'_>) -> Self {
        let max = map.apply(T::max(level, row)).max(f64::from(f32::MIN));
        let pivot = LogitMap::pivot(max);
        let (sum_logits, sum_exp_logits) = if want.sum_logits || want.sum_exp_logits {
            T::moments(level, row, map, pivot, want)
        } else {
            (f64::NAN, f64::NAN)
        };
        Self { max, pivot, sum_exp: 0.0, sum_logits, sum_exp_logits, parked: false }
    }
}

/// Sums of a row whose logits stay as they are.
pub(crate) fn row_stats<T: LogitKernels>(
    level: Level,
    row: ReadRow<'_, T>,
    map: &LogitMap,
    want: Want<'_>,
) -> RowSums {
    let sums = RowSums::before(level, row.row, map, want);
    RowSums { sum_exp: T::exp_sum(level, row, map, sums.pivot), ..sums }
}

/// Sums of a row that a gradient will overwrite: where the result is f32, the exponentials are parked in it.
pub(crate) fn row_stats_parked<T: LogitKernels, G: Lanes>(
    level: Level,
    row: &mut RowMut<'_, T, G>,
    map: &LogitMap,
    want: Want<'_>,
) -> RowSums {
    let Kind::Linear(linear) = map.kind() else {
        // The slope of the soft-cap needs the logits again: nothing may overwrite them.
        return row_stats(level, row.read(), map, want);
    };
    let sums = RowSums::before(level, row.read().row, map, want);
    let pivot = sums.pivot;
    let parked = match row {
        RowMut::Split(source, target) => G::as_f32_mut(target)
            .map(|target| T::exp_sum_parked(level, *source, target, linear, pivot)),
        RowMut::InPlace(row, next) => T::as_f32_mut(row)
            .map(|row| row_stats::exp_sum_in_place(level, row, next.cast(), linear, pivot)),
    };
    match parked {
        Some(sum_exp) => RowSums { sum_exp, parked: true, ..sums },
        None => RowSums { sum_exp: T::exp_sum(level, row.read(), map, pivot), ..sums },
    }
}

/// Writes the gradient of a row.
pub(crate) fn logits_grad_row<T: LogitKernels, G: ResultKernels<T>>(
    level: Level,
    row: &mut RowMut<'_, T, G>,
    parked: bool,
    map: &LogitMap,
    grad: &RowGrad,
    class_weights: Option<&[f32]>,
) {
    if grad.factor == 0.0 && grad.uniform == 0.0 {
        row.clear();
    } else if let Some(row) = row.parked(parked) {
        logits_grad::grad_parked(level, row, grad, class_weights);
    } else {
        match row {
            RowMut::Split(source, target) => {
                G::grad_split(level, *source, target, map, grad, class_weights);
            }
            RowMut::InPlace(row, _) => T::grad_in_place(level, row, map, grad, class_weights),
        }
    }
    if let Some((column, value)) = grad.target {
        row.set(column, value);
    }
}

/// Writes (z − pivot) − shift: log-probabilities, if shift is ln Σ exp(z − pivot).
pub(crate) fn shift_row<T: LogitKernels, G: ResultKernels<T>>(
    level: Level,
    row: &mut RowMut<'_, T, G>,
    pivot: f32,
    shift: f32,
) {
    match row {
        RowMut::Split(source, target) => G::shift_split(level, *source, target, pivot, shift),
        RowMut::InPlace(row, _) => T::shift_in_place(level, row, pivot, shift),
    }
}
