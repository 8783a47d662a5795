//! Stage 3: from a row's term to its gradient. The arithmetic stands here once, over [`Real`], for the CPU and for the shader that prints it.

use fearless_simd::Level;

use crate::entry;
use crate::kernel::{Affine, Any, Base, LogitMap, Out, Row, RowMut};
use crate::objective::Real;

/// The options of a loss as numbers.
#[derive(Clone, Copy, Debug)]
pub struct Options<R> {
    /// Label smoothing ε.
    pub label_smoothing: R,
    /// ε/V.
    pub smoothing_per_class: R,
    /// Σ of the class weights: V without.
    pub class_weight_sum: R,
    /// z-loss c.
    pub z_loss: R,
}

/// What is known of a row once its objective has been evaluated.
#[derive(Clone, Copy, Debug)]
pub struct RowValues<R> {
    /// p of the target.
    pub p: R,
    /// 1 − p, known without a subtraction.
    pub miss: R,
    /// ln Σ exp(z).
    pub lse: R,
    /// Σ_j w_j·(lse − z_j); anything without label smoothing.
    pub smoothed: R,
    /// Token weight.
    pub token_weight: R,
    /// Class weight of the target.
    pub class_weight: R,
    /// What multiplies the gradient: [`Loss::grad_scale`](crate::Loss::grad_scale) over the reduction's denominator.
    pub scale: R,
}

/// A token's contribution: [`TokenTerm`](crate::objective::TokenTerm) over any number.
#[derive(Clone, Copy, Debug)]
pub struct Term<R> {
    /// The weighted loss before the reduction divides it.
    pub loss: R,
    /// −∂(reduced loss)/∂ln p.
    pub coef: R,
    /// What multiplies the dense extras.
    pub dense: R,
}

impl<R: Real> Term<R> {
    /// The term of an objective with this value and this weight −∂ℓ/∂ln p; `extras` is what multiplies the dense extras besides the token
    /// weight. A factor of 0 wins over an infinite one: what has no weight costs nothing.
    pub fn new(value: R, weight: R, extras: R, row: &RowValues<R>, options: &Options<R>) -> Self {
        let of_objective = row.class_weight * (-options.label_smoothing + 1.0);
        let smoothing = options.smoothing_per_class.weigh(row.smoothed);
        let dense = smoothing + options.z_loss.weigh(row.lse * row.lse);
        let scale = row.scale * row.token_weight;
        Self {
            loss: row.token_weight.weigh(of_objective.weigh(value) + extras.weigh(dense)),
            coef: (scale * of_objective).weigh(weight),
            dense: scale.weigh(extras),
        }
    }
}

/// The coefficients of one gradient row, with respect to the transformed logits:
/// `dz'[j] = coef·(p_j − [j = t]) + dense·( ε/V·(p_j·Σw − w_j) + 2c·lse·p_j )`.
#[derive(Clone, Copy, Debug)]
pub struct Coefs<R> {
    coef: R,
    dense: R,
    smoothing: R,
    weight_sum: R,
    squared: R,
}

impl<R: Real> Coefs<R> {
    /// Of a row with this term and this lse.
    pub fn new(coef: R, dense: R, lse: R, options: &Options<R>) -> Self {
        Self {
            coef,
            dense,
            smoothing: options.smoothing_per_class,
            weight_sum: options.class_weight_sum,
            squared: options.z_loss.weigh(lse * 2.0),
        }
    }

    /// One entry; `missing` is p − \[j = t\].
    pub fn entry(&self, p: R, missing: R, class_weight: R) -> R {
        let dense = self.smoothing * (p * self.weight_sum - class_weight) + self.squared * p;
        missing.weigh(self.coef) + dense.weigh(self.dense)
    }

    /// The target's entry.
    pub fn target(&self, row: &RowValues<R>) -> R {
        self.entry(row.p, -row.miss, row.class_weight)
    }

    /// The multiplier of p_j in every other entry.
    pub fn prob(&self) -> R {
        self.coef + (self.smoothing * self.weight_sum + self.squared).weigh(self.dense)
    }

    /// What is subtracted from every other entry times its class weight.
    pub fn uniform(&self) -> R {
        self.smoothing.weigh(self.dense)
    }
}

impl Coefs<f64> {
    /// Whether nothing flows, whatever the logits are: the objective dropped the token or gives it no weight.
    #[inline]
    pub(crate) fn is_zero(&self) -> bool {
        self.coef == 0.0 && self.dense == 0.0
    }
}

/// How a row's exponentials become its gradient.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowGrad<'a> {
    pub(crate) map: LogitMap,
    pub(crate) base: Base,
    pub(crate) coefs: Coefs<f64>,
    /// 1/Σ exp(z − max).
    pub(crate) inverse: f64,
    /// Class weights of the row's columns.
    pub(crate) weights: Option<&'a [f32]>,
    /// The target's column and its whole entry, where it lies in this row.
    pub(crate) target: Option<(usize, f64)>,
}

impl RowGrad<'_> {
    /// The entries as f32 arithmetic; `None` where a coefficient leaves the range of f32.
    #[inline]
    fn affine(&self, at_max: f64) -> Option<Affine<'_>> {
        let scale = f64::from(self.map.scale);
        #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
        let round = |value: f64| (value * scale) as f32;
        // + 0.0 makes a −0 positive, or an entry that is 0 would have the sign of a coefficient.
        let (factor, uniform) =
            (round(self.coefs.prob() * self.inverse / at_max), round(self.coefs.uniform()) + 0.0);
        let fits = !factor.is_infinite() && !uniform.is_infinite();
        fits.then_some(Affine { factor, uniform, weights: self.weights })
    }

    /// One entry in double precision, where the coefficients want it. `slope` is that of the soft-cap.
    #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
    fn double(&self, at_max: f64, column: usize, e: f32, slope: f64) -> f32 {
        let p = f64::from(e) * self.inverse / at_max;
        let weight = self.weights.map_or(1.0, |weights| entry::read(weights, column));
        Real::weigh(slope * f64::from(self.map.scale), self.coefs.entry(p, p, weight)) as f32
    }

    /// Makes entries of exponentials that were parked, in the result itself if that is f32; others may be [`Out::cold`]. `at_max` is the exponential of
    /// the maximum.
    #[inline]
    pub(crate) fn finish(
        &self,
        level: Level,
        at_max: f64,
        parked: &[f32],
        out: &mut RowMut<'_>,
        cold: bool,
    ) {
        let parked = parked.get(..out.as_row().len()).unwrap_or_default();
        let double = |(j, e): (usize, f32)| self.double(at_max, j, e, 1.0);
        match (self.affine(at_max), &mut *out) {
            (Some(affine), _) => out.finish(level, parked, cold, affine),
            (None, Any::F32(row)) => {
                row.iter_mut().enumerate().for_each(|(j, e)| *e = double((j, *e)));
            }
            (None, _) => {
                parked.iter().enumerate().for_each(|(j, e)| out.set(j, double((j, *e))));
            }
        }
    }

    /// Makes entries of a part of a row from its logits. `start` is the part's first column.
    pub(crate) fn again(
        &self,
        level: Level,
        at_max: f64,
        start: usize,
        logits: Row<'_>,
        out: Out<'_, f32>,
    ) {
        if let Some(affine) = self.affine(at_max) {
            return logits.entries(level, &self.base, out, affine.from(start));
        }
        let Out { row, cold } = out;
        if self.map.cap.is_none() {
            let parked = Out { row: &mut *row, cold };
            logits.entries(level, &self.base, parked, Affine::IDENTITY);
            let entries = row.iter_mut().enumerate();
            return entries.for_each(|(j, e)| *e = self.double(at_max, start + j, *e, 1.0));
        }
        for (j, out) in row.iter_mut().enumerate() {
            let Some(z) = logits.get(j) else { break };
            #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
            let e = libm::exp(self.map.apply(z) - self.base.max) as f32;
            *out = self.double(1.0, start + j, e, self.map.slope(z));
        }
    }

    /// Overwrites the target's entry.
    #[inline]
    pub(crate) fn set_target(&self, row: &mut RowMut<'_>) {
        if let Some((column, value)) = self.target {
            #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
            row.set(column, value as f32);
        }
    }
}
