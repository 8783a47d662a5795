//! Objectives whose weight is a function of the token's own probability.

use super::{Objective, Real, Token};
use crate::error::{Error, check_parameter};

/// SFT: plain negative log-likelihood, −ln p. coef = 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sft;

impl Objective for Sft {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        -t.log_p
    }
}

/// DFT: −stop(p) · ln p. coef = p. Wu et al. 2025, arXiv 2508.05629, eq. 9 (token level).
///
/// No framework divides by the sum of the weights; they differ in the denominator: TRL, ms-swift and LLaMA-Factory divide by
/// `num_items_in_batch` ([`Reduction::By`](crate::Reduction::By)), Liger's `use_token_scaling` and the authors by the tokens of the
/// micro-batch ([`Reduction::MeanTokens`](crate::Reduction::MeanTokens)); inside TRL Liger's, too, is summed and divided by
/// `num_items_in_batch`. Liger also multiplies label smoothing and z-loss by p:
/// [`ExtrasScale::Objective`](crate::ExtrasScale::Objective). An impossible target (p = 0) costs 0, where those give 0·∞ = NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dft;

impl Objective for Dft {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        -(t.log_p.exp().stop() * t.log_p)
    }
}

/// Focal loss with its true gradient: −(1−p)^γ · ln p. Lin et al. 2017, arXiv 1708.02002.
///
/// coef = (1−p)^γ − γ p (1−p)^(γ−1) ln p. No class balance α: give class weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Focal {
    /// Focusing parameter γ ≥ 0; 0 is SFT.
    pub gamma: f64,
}

/// Focal weight as a stop-gradient: −stop((1−p)^γ) · ln p. coef = (1−p)^γ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FocalDetached {
    /// Focusing parameter γ ≥ 0; 0 is SFT.
    pub gamma: f64,
}

/// (1−p)^γ, exact also where p is near 1.
fn focal_weight<R: Real>(log_p: R, gamma: f64) -> R {
    (-log_p.exp_m1()).max(R::lit(0.0)).powf(gamma)
}

fn check_gamma(gamma: f64) -> Result<(), Error> {
    check_parameter("gamma", gamma, gamma >= 0.0 && gamma.is_finite(), "a finite number >= 0")
}

impl Default for Focal {
    fn default() -> Self {
        Self { gamma: 2.0 }
    }
}

impl Objective for Focal {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        -(focal_weight(t.log_p, self.gamma) * t.log_p)
    }

    fn check(&self) -> Result<(), Error> {
        check_gamma(self.gamma)
    }
}

impl Default for FocalDetached {
    fn default() -> Self {
        Self { gamma: 2.0 }
    }
}

impl Objective for FocalDetached {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        -(focal_weight(t.log_p, self.gamma).stop() * t.log_p)
    }

    fn check(&self) -> Result<(), Error> {
        check_gamma(self.gamma)
    }
}

/// The power family "beyond log-likelihood": (1 − p^α)/α. coef = p^α, the true gradient. Li et al. 2025, arXiv 2510.00526.
///
/// α → 0 is SFT; α = 1 is 1 − p, whose gradient is DFT's; large α leans on the model's prior.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Power {
    /// Exponent α > 0.
    pub alpha: f64,
}

impl Default for Power {
    fn default() -> Self {
        Self { alpha: 1.0 }
    }
}

impl Objective for Power {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        -((t.log_p * self.alpha).exp_m1() / self.alpha)
    }

    fn check(&self) -> Result<(), Error> {
        let allowed = self.alpha > 0.0 && self.alpha.is_finite();
        check_parameter("alpha", self.alpha, allowed, "a finite number > 0")
    }
}

/// InfoSFT: −stop(p · relu(1 − logit(p)/logit(P))) · ln p, with logit(x) = ln(x/(1−x)). arXiv 2605.14967.
///
/// Zero from p = P on, largest near p = 0.57. p = 0 costs 0, where the authors' code gives NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InfoSft {
    /// Probability P in (0.5, 1) from which a token counts as learned.
    pub p_max: f64,
}

impl Default for InfoSft {
    fn default() -> Self {
        Self { p_max: 0.93 }
    }
}

impl Objective for InfoSft {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let p = t.log_p.exp();
        // The smallest positive double in place of 1 − p = 0 keeps the logit finite where p is 1.
        let logit = t.log_p - (-t.log_p.exp_m1()).max(R::lit(f64::MIN_POSITIVE)).ln();
        let ceiling = libm::log(self.p_max / (1.0 - self.p_max));
        let weight = p.weigh((-logit / ceiling + 1.0).max(R::lit(0.0)));
        -(weight.stop() * t.log_p)
    }

    fn check(&self) -> Result<(), Error> {
        let allowed = self.p_max > 0.5 && self.p_max < 1.0;
        check_parameter("p_max", self.p_max, allowed, "a probability between 0.5 and 1")
    }
}
