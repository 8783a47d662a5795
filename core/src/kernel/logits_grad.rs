//! Second half of a row: the exponentials, parked or computed again, become the gradient or the log-probabilities.

use fearless_simd::{Level, Simd, dispatch, f32x16};

use super::lanes::{LANES, Lanes};
use super::map::{Kind, LaneMap, LogitMap};
use super::row::{Ahead, Block, Each, EachBlock, InPlace, RowIo, Split, load_weights};

/// How far ahead memory is asked for logits that are read once more, in bytes.
const DISTANCE: usize = 4096;

/// Coefficients of a gradient row: `dz[j] = (factor·exp(z'[j] − pivot) − uniform·w[j]) · slope[j]`, then the target's entry.
#[derive(Clone, Copy, Debug)]
pub struct RowGrad {
    /// What the exponents are relative to.
    pub(crate) pivot: f32,
    /// Multiplier of the exponentials, with the logit scale.
    pub(crate) factor: f32,
    /// Subtracted everywhere times the class weight, with the logit scale.
    pub(crate) uniform: f32,
    /// The target's column and its whole entry, where it lies in this row; written by [`RowMut::set`](super::RowMut::set).
    pub(crate) target: Option<(usize, f64)>,
}

/// Turns parked exponentials into the gradient (without soft-cap: its slope needs the logits).
pub(super) fn grad_parked_in_place(
    level: Level,
    row: &mut [f32],
    grad: &RowGrad,
    class_weights: Option<&[f32]>,
) {
    dispatch!(level, simd => {
        of_parked(simd, InPlace { row, ahead: Ahead::NONE }, grad, class_weights);
    });
}

/// Writes the gradient of exponentials that were parked elsewhere.
pub(super) fn grad_parked<G: Lanes>(
    level: Level,
    source: &[f32],
    target: &mut [G],
    grad: &RowGrad,
    class_weights: Option<&[f32]>,
) {
    dispatch!(level, simd => {
        of_parked(simd, Split { source, target, ahead: Ahead::NONE }, grad, class_weights);
    });
}

/// Turns logits into their gradient.
pub(super) fn grad_in_place<T: Lanes>(
    level: Level,
    row: &mut [T],
    map: &LogitMap,
    grad: &RowGrad,
    class_weights: Option<&[f32]>,
) {
    dispatch!(level, simd => {
        let row = InPlace { ahead: Ahead::of(row, DISTANCE), row };
        match map.kind() {
            Kind::Linear(map) => again(simd, row, map, grad, class_weights),
            Kind::Capped(map) => again(simd, row, map, grad, class_weights),
        }
    });
}

/// Writes the gradient of logits elsewhere.
pub(super) fn grad_split<T: Lanes, G: Lanes>(
    level: Level,
    source: &[T],
    target: &mut [G],
    map: &LogitMap,
    grad: &RowGrad,
    class_weights: Option<&[f32]>,
) {
    dispatch!(level, simd => {
        let io = Split { source, target, ahead: Ahead::of(source, DISTANCE) };
        match map.kind() {
            Kind::Linear(map) => again(simd, io, map, grad, class_weights),
            Kind::Capped(map) => again(simd, io, map, grad, class_weights),
        }
    });
}

/// Turns logits into (z − pivot) − shift: log-probabilities, if shift is ln Σ exp(z − pivot). Two subtractions, since lse alone loses digits.
pub(super) fn shift_in_place<T: Lanes>(level: Level, row: &mut [T], pivot: f32, shift: f32) {
    dispatch!(level, simd => InPlace { row, ahead: Ahead::NONE }.each(
        simd,
        Each(
            #[inline(always)]
            |_, z| (z - pivot) - shift,
        ),
    ));
}

/// As [`shift_in_place`], elsewhere.
pub(super) fn shift_split<T: Lanes, G: Lanes>(
    level: Level,
    source: &[T],
    target: &mut [G],
    pivot: f32,
    shift: f32,
) {
    dispatch!(level, simd => Split { source, target, ahead: Ahead::NONE }.each(
        simd,
        Each(
            #[inline(always)]
            |_, z| (z - pivot) - shift,
        ),
    ));
}

/// From parked exponentials to gradient entries. A loop each for a gradient with and without a uniform part.
#[inline(always)]
fn of_parked<S: Simd>(simd: S, io: impl RowIo<S>, grad: &RowGrad, class_weights: Option<&[f32]>) {
    if grad.uniform == 0.0 {
        let factor = grad.factor;
        io.each(
            simd,
            Each(
                #[inline(always)]
                |_, e| e * factor,
            ),
        );
    } else {
        io.each(simd, Each(finish(simd, grad, class_weights)));
    }
}

/// The exponentials computed again from the logits, by the same arithmetic as the first time.
#[inline(always)]
fn again<S: Simd>(
    simd: S,
    io: impl RowIo<S>,
    map: impl LaneMap<S>,
    grad: &RowGrad,
    class_weights: Option<&[f32]>,
) {
    let (pivot, finish) = (grad.pivot, finish(simd, grad, class_weights));
    io.each(
        simd,
        EachBlock(
            #[inline(always)]
            |start, z: Block<S>| {
                let mut grad = map.exp(simd, z, pivot);
                for (index, grad) in grad.iter_mut().enumerate() {
                    *grad = finish(start + index * LANES, *grad) * map.slope(simd, z[index]);
                }
                grad
            },
        ),
    );
}

/// From exponentials to gradient entries, before the slope. Nothing changes where the uniform part is 0.
#[inline(always)]
fn finish<S: Simd>(
    simd: S,
    grad: &RowGrad,
    class_weights: Option<&[f32]>,
) -> impl Fn(usize, f32x16<S>) -> f32x16<S> {
    let (factor, uniform) = (grad.factor, grad.uniform);
    #[inline(always)]
    move |start, e| {
        let weights = match class_weights {
            Some(weights) => load_weights(simd, weights, start),
            None => simd.splat_f32x16(1.0),
        };
        e * factor - weights * uniform
    }
}
