//! Objectives weighted by an importance: a ratio of two models, or a frozen model's own judgement of a sample.

use super::policy::LOG_RATIO_MAX;
use super::{Group, GroupPass, Input, Objective, Real, Scalars, Token};
use crate::error::{Error, check_parameter};

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

/// One weight for a whole sequence, from the group pass: −W · ln p.
fn weighted_by_sequence<R: Real>(t: &Token<R>) -> R {
    -(t.shared[0].stop() * t.log_p)
}

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
        weighted_by_sequence(t)
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::RefLogProbs, Input::Sequences]
    }

    fn check(&self) -> Result<(), Error> {
        check_temperature(self.temperature)?;
        check_parameter("max", self.max, self.max > 0.0, "a number > 0")
    }

    fn group_pass(&self) -> Option<&dyn GroupPass> {
        Some(self)
    }
}

impl GroupPass for IwSequence {
    fn run(&self, group: &Group<'_>, scalars: &mut [Scalars]) -> Option<f64> {
        group.per_sequence(scalars, |rows| {
            let mean = group.mean(rows, |row| group.log_p(row) - group.ref_log_p(row));
            let log_ratio = Real::min(mean.unwrap_or(0.0) * self.temperature, LOG_RATIO_MAX);
            Scalars::of([Real::min(Real::exp(log_ratio), self.max), 0.0])
        });
        None
    }
}

/// FLOW: W = exp(−f/τ), f the sequence's mean nll under the frozen pre-trained model. arXiv 2502.02797.
///
/// The method fixes τ once, as the median of f over the whole data set: give that. Without it, τ is the (lower) median over this batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flow {
    /// Temperature τ > 0, or `None` for the batch's own median.
    pub tau: Option<f64>,
}

impl Objective for Flow {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        weighted_by_sequence(t)
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::RefLogProbs, Input::Sequences]
    }

    fn check(&self) -> Result<(), Error> {
        let tau = self.tau.unwrap_or(1.0);
        check_parameter("tau", tau, tau > 0.0, "a number > 0")
    }

    fn group_pass(&self) -> Option<&dyn GroupPass> {
        Some(self)
    }
}

impl GroupPass for Flow {
    fn run(&self, group: &Group<'_>, scalars: &mut [Scalars]) -> Option<f64> {
        // Never negative, also where rounding left a log-probability above 0.
        let nll = |row| Real::max(-group.ref_log_p(row), 0.0);
        let mean_nll = |rows| group.mean(rows, nll);
        let median = || group.lower_median(scalars, group.sequences().filter_map(mean_nll));
        // A reference that is certain of every sample has median 0: then every weight is 1 or 0, never NaN.
        let tau = self.tau.or_else(median)?.max(f64::MIN_POSITIVE);
        group.per_sequence(scalars, |rows| {
            Scalars::of([Real::exp(-mean_nll(rows).unwrap_or(0.0) / tau), 0.0])
        });
        Some(tau)
    }
}

/// DFT with one weight per sequence: W = exp(mean ln p), the length-normalised probability of the sequence, detached.
///
/// arXiv 2508.05629 discusses the sequence weight and uses the token weight ([`Dft`](super::Dft)).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DftSequence;

impl Objective for DftSequence {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        weighted_by_sequence(t)
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::Sequences]
    }

    fn group_pass(&self) -> Option<&dyn GroupPass> {
        Some(self)
    }
}

impl GroupPass for DftSequence {
    fn run(&self, group: &Group<'_>, scalars: &mut [Scalars]) -> Option<f64> {
        group.per_sequence(scalars, |rows| {
            let mean = group.mean(rows, |row| group.log_p(row)).unwrap_or(0.0);
            Scalars::of([Real::exp(mean), 0.0])
        });
        None
    }
}
