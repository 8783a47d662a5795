//! Second half of a row: the exponentials, parked or computed again, become the gradient or the log-probabilities.

use fearless_simd::{Level, Simd, dispatch, f32x16, prelude::*};

use super::exp::exp;
use super::map::{Kind, LaneMap, LogitMap};
use super::row::{InPlace, RowIo, RowMut, Split};
use crate::element::{Element, LANES};

/// Coefficients of a gradient row: `dz[j] = (factor·exp(z'[j] − pivot) − uniform·w[j]) · slope[j]`, then the target's entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowGrad {
    /// What the exponents are relative to.
    pub(crate) pivot: f32,
    /// Multiplier of the exponentials, with the logit scale.
    pub(crate) factor: f32,
    /// Subtracted everywhere times the class weight, with the logit scale.
    pub(crate) uniform: f32,
    /// The target's column and its whole entry, where it lies in this row.
    pub(crate) target: Option<(usize, f64)>,
}

/// Writes the gradient of a row.
pub(crate) fn logits_grad_row<T: Element, G: Element>(
    level: Level,
    row: &mut RowMut<'_, T, G>,
    parked: bool,
    map: &LogitMap,
    grad: &RowGrad,
    class_weights: Option<&[f32]>,
) {
    if grad.factor == 0.0 && grad.uniform == 0.0 {
        row.clear();
    } else {
        dispatch!(level, simd => {
            match parked_row(row, parked) {
                Some(row) => {
                    let finish = finish(simd, grad, class_weights);
                    InPlace::cached(row).each(simd, finish);
                }
                None => match map.kind() {
                    Kind::Linear(map) => again(simd, row, map, grad, class_weights),
                    Kind::Capped(map) => again(simd, row, map, grad, class_weights),
                },
            }
        });
    }
    if let Some((index, value)) = grad.target {
        row.set(index, value);
    }
}

/// The row that holds the exponentials.
fn parked_row<'r, T: Element, G: Element>(
    row: &'r mut RowMut<'_, T, G>,
    parked: bool,
) -> Option<&'r mut [f32]> {
    match row {
        _ if !parked => None,
        RowMut::Split(_, target) => G::as_f32_mut(target),
        RowMut::InPlace(row, _) => T::as_f32_mut(row),
    }
}

/// From exponentials to gradient entries.
#[inline(always)]
fn finish<'g, S: Simd>(
    simd: S,
    grad: &'g RowGrad,
    class_weights: Option<&'g [f32]>,
) -> impl Fn(usize, usize, f32x16<S>) -> f32x16<S> + Copy + 'g
where
    S: 'g,
{
    #[inline(always)]
    move |start, lanes, e| {
        let scaled = e * grad.factor;
        if grad.uniform == 0.0 {
            return scaled;
        }
        let mut weights = [1.0; LANES];
        if let Some(all) = class_weights {
            weights[..lanes].copy_from_slice(&all[start..start + lanes]);
        }
        scaled - f32x16::from_slice(simd, &weights) * grad.uniform
    }
}

/// The exponentials computed again from the logits, by the same arithmetic as the first time.
#[inline(always)]
fn again<S: Simd, T: Element, G: Element>(
    simd: S,
    row: &mut RowMut<'_, T, G>,
    map: impl LaneMap<S>,
    grad: &RowGrad,
    class_weights: Option<&[f32]>,
) {
    let finish = finish(simd, grad, class_weights);
    each(
        simd,
        row,
        #[inline(always)]
        |start, lanes, z| {
            let e = exp(simd, map.centred(simd, z, grad.pivot));
            finish(start, lanes, e) * map.slope(simd, z)
        },
    );
}

/// Runs a loop over a row, in place or not.
#[inline(always)]
fn each<S: Simd, T: Element, G: Element>(
    simd: S,
    row: &mut RowMut<'_, T, G>,
    step: impl FnMut(usize, usize, f32x16<S>) -> f32x16<S>,
) {
    match row {
        RowMut::Split(source, target) => Split { source: *source, target }.each(simd, step),
        RowMut::InPlace(row, next) => InPlace { row, next: *next }.each(simd, step),
    }
}

/// Writes (z' − pivot) − shift: log-probabilities, if shift is ln Σ exp(z' − pivot). Two subtractions, since lse alone loses digits.
pub(crate) fn log_softmax_row<T: Element, G: Element>(
    level: Level,
    row: &mut RowMut<'_, T, G>,
    pivot: f32,
    shift: f32,
) {
    dispatch!(level, simd => each(
        simd,
        row,
        #[inline(always)]
        |_, _, z| (z - pivot) - shift,
    ));
}
