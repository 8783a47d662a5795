//! Objectives weighted by an importance: a ratio of two models, or a frozen model's own judgement of a sample.

use super::policy::LOG_RATIO_MAX;
use super::{GroupPlan, Input, Objective, Over, Real, Statistic, Token};
use crate::error::{Error, check_parameter};

/// The smallest τ, also in f32: a reference that is certain of every sample must not divide by 0.
const TAU_MIN: f64 = 1e-30;

/// iw-SFT per token: −stop(clamp((p/p_ref)^temperature, low, high)) · ln p. arXiv 2507.12856 (`sum_over_time=False`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IwToken {
    /// Exponent of the ratio, ≥ 0.
    pub temperature: f64,
    /// Least weight, ≥ 0.
    pub low: f64,
    /// Largest weight, ≥ low.
    pub high: f64,
}

impl Default for IwToken {
    fn default() -> Self {
        Self { temperature: 1.0, low: 0.2, high: 1.8 }
    }
}

fn check_temperature(temperature: f64) -> Result<(), Error> {
    let allowed = temperature >= 0.0 && temperature.is_finite();
    check_parameter("temperature", temperature, allowed, "a finite number >= 0")
}

impl Objective for IwToken {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let log_ratio = (t.log_p - t.ref_log_p) * self.temperature;
        let ratio = log_ratio.min(R::lit(LOG_RATIO_MAX)).exp();
        -(ratio.clamp(self.low, self.high).stop() * t.log_p)
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::RefLogProbs]
    }

    fn check(&self) -> Result<(), Error> {
        check_temperature(self.temperature)?;
        check_parameter("low", self.low, self.low >= 0.0, "a number >= 0")?;
        check_parameter("high", self.high, self.high >= self.low, "a number >= low")
    }
}

const MEAN_OF_SEQUENCE: GroupPlan = GroupPlan::of([Statistic::Mean.over(Over::Sequence)]);

/// iw-SFT per sequence: W = clamp(exp(temperature · mean(ln p − ln p_ref)), 0, max), detached. arXiv 2507.12856.
///
/// The mean is over the sequence's tokens that are not ignored. The authors' code is right only at a per-device batch of 1; this is
/// the formula for any.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IwSequence {
    /// Factor of the mean log-ratio, ≥ 0.
    pub temperature: f64,
    /// Largest weight, > 0.
    pub max: f64,
}

impl Default for IwSequence {
    fn default() -> Self {
        Self { temperature: 1.0, max: 16.0 }
    }
}

impl Objective for IwSequence {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let log_ratio = (t.shared[0] * self.temperature).min(R::lit(LOG_RATIO_MAX));
        -(log_ratio.exp().min(R::lit(self.max)).stop() * t.log_p)
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::RefLogProbs, Input::Sequences]
    }

    fn check(&self) -> Result<(), Error> {
        check_temperature(self.temperature)?;
        check_parameter("max", self.max, self.max > 0.0, "a number > 0")
    }

    fn group_plan(&self) -> Option<GroupPlan> {
        Some(MEAN_OF_SEQUENCE)
    }

    fn step<R: Real>(&self, _: usize, t: &Token<R>) -> R {
        t.log_p - t.ref_log_p
    }
}

/// FLOW: W = exp(−f/τ), f the sequence's mean nll under the frozen pre-trained model. arXiv 2502.02797.
///
/// The method fixes τ once, as the median of f over the whole data set: give that. Without it, τ is the (lower) median over this batch. It is at
/// least 1e-30.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flow {
    /// Temperature τ > 0, or `None` for the batch's own median.
    pub tau: Option<f64>,
}

impl Objective for Flow {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let tau = self.temperature(t).unwrap_or(R::lit(1.0));
        -((-t.shared[0] / tau).exp().stop() * t.log_p)
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::RefLogProbs, Input::Sequences]
    }

    fn check(&self) -> Result<(), Error> {
        let tau = self.tau.unwrap_or(1.0);
        check_parameter("tau", tau, tau > 0.0, "a number > 0")
    }

    fn group_plan(&self) -> Option<GroupPlan> {
        let median = Statistic::LowerMedian.over(Over::Sequences);
        let own = GroupPlan::of([Statistic::Mean.over(Over::Sequence), median]);
        Some(if self.tau.is_some() { MEAN_OF_SEQUENCE } else { own })
    }

    fn step<R: Real>(&self, index: usize, t: &Token<R>) -> R {
        // Never negative, also where rounding left a log-probability above 0.
        if index == 0 { (-t.ref_log_p).max(R::lit(0.0)) } else { t.shared[0] }
    }

    fn temperature<R: Real>(&self, t: &Token<R>) -> Option<R> {
        let tau = self.tau.map_or(t.shared[1], R::lit);
        // A reference that is certain of every sample has median 0: then every weight is 1 or 0, never NaN.
        Some(R::lit(TAU_MIN).max(tau))
    }
}

/// The probability that [`DftSequence`] gives a sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SequenceProbability {
    /// The geometric mean of its tokens' p: exp(mean ln p).
    #[default]
    GeometricMean,
    /// Their product: exp(Σ ln p), next to 0 for all but short or certain sequences.
    Product,
}

/// DFT with one weight per sequence, its probability, detached: −stop(W) · ln p.
///
/// arXiv 2508.05629 discusses the sequence weight (the product) and uses the token weight ([`Dft`](super::Dft)). The default is length-normalised.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DftSequence {
    /// Which probability.
    pub probability: SequenceProbability,
}

impl Objective for DftSequence {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        -(t.shared[0].exp().stop() * t.log_p)
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::Sequences]
    }

    fn group_plan(&self) -> Option<GroupPlan> {
        Some(match self.probability {
            SequenceProbability::GeometricMean => MEAN_OF_SEQUENCE,
            SequenceProbability::Product => GroupPlan::of([Statistic::Sum.over(Over::Sequence)]),
        })
    }

    fn step<R: Real>(&self, _: usize, t: &Token<R>) -> R {
        t.log_p
    }
}
