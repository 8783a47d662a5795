//! Dense extras: what a row's loss may have beside the objective, and how logits are transformed before all else.
//!
//! With z' the transformed logits, u the token weight, w the class weights, ε the label smoothing, c the z-loss and ℓ the objective:
//!
//! `loss = u · ( w_t·(1−ε)·ℓ(ln p_t) + x·( ε/V · Σ_j w_j·(−ln p_j) + c·lse² ) )`
//!
//! where x is 1, or the objective's own coefficient ([`ExtrasScale`]). Without extras this is u·ℓ.

use core::ops::Range;

use crate::entry;
use crate::error::{Argument, Error, check_len, check_parameter, check_values};
use crate::kernel::LogitMap;
use crate::objective::TokenTerm;
use crate::stats::Softmax;

/// What multiplies label smoothing and z-loss besides the token weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ExtrasScale {
    /// Nothing.
    #[default]
    One,
    /// The objective's coefficient −∂ℓ/∂ln p, for a detached weight the weight itself, through which no gradient flows. Liger's
    /// `use_token_scaling` scales the whole row like this.
    Objective,
}

/// The options of a [`Loss`](crate::Loss) that do not belong to its objective.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extras<'a> {
    pub(crate) label_smoothing: f32,
    pub(crate) z_loss: f32,
    pub(crate) logit_scale: f32,
    pub(crate) softcap: Option<f32>,
    pub(crate) class_weights: Option<&'a [f32]>,
    pub(crate) scale: ExtrasScale,
}

impl<'a> Extras<'a> {
    pub(crate) const NONE: Self = Self {
        label_smoothing: 0.0,
        z_loss: 0.0,
        logit_scale: 1.0,
        softcap: None,
        class_weights: None,
        scale: ExtrasScale::One,
    };

    pub(crate) fn check(&self, vocab_total: usize) -> Result<(), Error> {
        let (eps, z, scale) = (self.label_smoothing, self.z_loss, self.logit_scale);
        let parameter = |name, value: f32, allowed, expected| {
            check_parameter(name, f64::from(value), allowed, expected)
        };
        let positive = |v: f32| v > 0.0 && v.is_finite();
        parameter("label_smoothing", eps, (0.0..=1.0).contains(&eps), "a number in [0, 1]")?;
        parameter("z_loss", z, z >= 0.0 && z.is_finite(), "a finite number >= 0")?;
        parameter("logit_scale", scale, positive(scale), "a finite number > 0")?;
        let cap = self.softcap.unwrap_or(1.0);
        parameter("softcap", cap, positive(cap), "a finite number > 0")?;
        let Some(weights) = self.class_weights else { return Ok(()) };
        check_len(Argument::ClassWeights, weights.len(), vocab_total)?;
        check_values(Argument::ClassWeights, weights, |w| w >= 0.0 && w.is_finite())
    }

    #[inline]
    pub(crate) fn map(&self) -> LogitMap {
        LogitMap { scale: self.logit_scale, cap: self.softcap }
    }

    #[inline]
    pub(crate) fn class_weight(&self, class: usize) -> f64 {
        self.class_weights.map_or(1.0, |weights| entry::read(weights, class))
    }

    /// The class weights of a part of the vocabulary.
    pub(crate) fn class_weights_of(&self, classes: Range<usize>) -> Option<&'a [f32]> {
        self.class_weights.and_then(|weights| weights.get(classes))
    }

    /// What multiplies the objective on a row with this target.
    #[inline]
    pub(crate) fn objective_weight(&self, target: usize) -> f64 {
        self.class_weight(target) * (1.0 - f64::from(self.label_smoothing))
    }

    /// The dense part of a row's loss, before token weight and reduction.
    #[inline]
    pub(crate) fn loss(&self, softmax: &Softmax, constants: &Constants) -> f64 {
        let mut loss = 0.0;
        if self.label_smoothing > 0.0 {
            // Σ w_j·(lse − z_j); the max is taken out of lse so that a common offset cancels first.
            let centred = constants.class_weight_sum * softmax.stats.max - softmax.stats.sum_logits;
            let sum = constants.class_weight_sum * softmax.ln_sum_exp + centred;
            loss += constants.smoothing_per_class * sum;
        }
        if self.z_loss > 0.0 {
            let lse = softmax.log_sum_exp();
            loss += f64::from(self.z_loss) * lse * lse;
        }
        loss
    }

    /// The row's gradient with respect to the transformed logits: `prob·p[j] − uniform·w[j] − coef·[j = target]`.
    #[inline]
    pub(crate) fn row_coefs(&self, softmax: &Softmax, term: &TokenTerm, c: &Constants) -> RowCoefs {
        let uniform = term.dense * c.smoothing_per_class;
        let mut extra = uniform * c.class_weight_sum;
        if self.z_loss > 0.0 {
            extra += term.dense * 2.0 * f64::from(self.z_loss) * softmax.log_sum_exp();
        }
        RowCoefs { coef: term.coef, extra, uniform }
    }
}

/// What the dense extras need once per call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Constants {
    /// Σ of the class weights: V without.
    pub(crate) class_weight_sum: f64,
    /// ε/V.
    pub(crate) smoothing_per_class: f64,
}

impl Constants {
    pub(crate) fn new(extras: &Extras<'_>, vocab_total: usize) -> Self {
        let vocab = vocab_total as f64;
        let sum = |weights: &[f32]| weights.iter().map(|&w| f64::from(w)).sum();
        Self {
            class_weight_sum: extras.class_weights.map_or(vocab, sum),
            smoothing_per_class: f64::from(extras.label_smoothing) / vocab,
        }
    }
}

/// Coefficients of one gradient row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowCoefs {
    /// The objective's: multiplies p − onehot.
    pub(crate) coef: f64,
    /// What multiplies p besides.
    pub(crate) extra: f64,
    /// What is subtracted everywhere, times the class weight.
    pub(crate) uniform: f64,
}

impl RowCoefs {
    /// Multiplier of p.
    #[inline]
    pub(crate) fn prob(&self) -> f64 {
        self.coef + self.extra
    }

    /// The gradient's target entry with respect to the transformed logit. p − 1 is `expm1(ln p)`: no cancellation.
    #[inline]
    pub(crate) fn target(&self, softmax: &Softmax, class_weight: f64) -> f64 {
        let log_p = softmax.log_prob();
        let dense = if self.extra == 0.0 { 0.0 } else { self.extra * libm::exp(log_p) };
        self.coef * libm::expm1(log_p) + dense - self.uniform * class_weight
    }
}
