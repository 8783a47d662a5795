//! Objectives whose weight is a function of the whole row's confidence: its entropy, or Σp².

use super::{Input, Objective, Real, Token};
use crate::error::{Error, check_parameter};

/// EAFT: −stop(min(H / ln K, 1)^power) · ln p, H the entropy of the row. arXiv 2601.02151.
///
/// Tokens that the model is sure of weigh little, right or wrong. The authors take the entropy of the K = 20 largest logits, renormalised, and
/// divide by 3.0; this is the entropy of the whole row over ln K, at most 1. One more walk over each row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Eaft {
    /// Exponent ≥ 0 of the weight.
    pub power: f64,
    /// Number K > 1 of equally likely classes whose entropy has weight 1.
    pub classes: f64,
}

impl Default for Eaft {
    fn default() -> Self {
        Self { power: 1.0, classes: 20.0 }
    }
}

impl Objective for Eaft {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let share = (t.entropy / libm::log(self.classes)).clamp(0.0, 1.0);
        -(share.powf(self.power).stop() * t.log_p)
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::Entropy]
    }

    fn check(&self) -> Result<(), Error> {
        let allowed = self.power >= 0.0 && self.power.is_finite();
        check_parameter("power", self.power, allowed, "a finite number >= 0")?;
        let allowed = self.classes > 1.0 && self.classes.is_finite();
        check_parameter("classes", self.classes, allowed, "a finite number > 1")
    }
}

/// DEFT: (1 − p^a) / (a + 1e-6) with a = stop(Σ p_j²): [`Power`](super::Power) with an exponent that follows the row's confidence.
/// arXiv 2602.11424. coef = p^a · a/(a + 1e-6). One more walk over each row.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Deft;

impl Objective for Deft {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let a = t.sum_squares;
        -((t.log_p * a).exp_m1() / (a + 1e-6))
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::SumSquares]
    }
}
