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
use crate::grad::Options;
use crate::kernel::LogitMap;

/// What multiplies label smoothing and z-loss besides the token weight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
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
    pub(crate) grad_scale: f32,
    /// Whether stage 1 is to sum what entropy and Σp² are made of.
    pub(crate) moments: bool,
}

impl<'a> Extras<'a> {
    pub(crate) const NONE: Self = Self {
        label_smoothing: 0.0,
        z_loss: 0.0,
        logit_scale: 1.0,
        softcap: None,
        class_weights: None,
        scale: ExtrasScale::One,
        grad_scale: 1.0,
        moments: false,
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
        parameter("grad_scale", self.grad_scale, self.grad_scale.is_finite(), "a finite number")?;
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

    /// The options as numbers. Adds up the class weights.
    pub(crate) fn options(&self, vocab_total: usize) -> Options<f64> {
        let (vocab, label_smoothing) = (vocab_total as f64, f64::from(self.label_smoothing));
        let sum = |weights: &[f32]| weights.iter().map(|&w| f64::from(w)).sum();
        Options {
            label_smoothing,
            smoothing_per_class: label_smoothing / vocab,
            class_weight_sum: self.class_weights.map_or(vocab, sum),
            z_loss: f64::from(self.z_loss),
        }
    }
}
