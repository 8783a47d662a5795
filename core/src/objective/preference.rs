//! Preference objectives over pairs of sequences.

use super::{Group, GroupPass, Input, Objective, Real, Scalars, Token};
use crate::error::{Error, check_parameter};
use crate::reduction::Reduction;

/// DPO: −ln σ(β·D), D = Σ(ln p − ln p_ref) of the chosen minus that of the rejected. Rafailov et al. 2023, arXiv 2305.18290.
///
/// A loss of pairs: the reduction is `MeanPairs` (TRL's mean, the default), `Sum` or `By`. The pair's loss is spread evenly over its tokens;
/// coef = ±β·σ(−β·D). A sequence in several pairs carries the sum of their losses; tokens of unpaired sequences do not count.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dpo {
    /// Inverse temperature β > 0.
    pub beta: f64,
}

impl Default for Dpo {
    fn default() -> Self {
        Self { beta: 0.1 }
    }
}

/// ln(1 + e^x), without overflow.
fn softplus(x: f64) -> f64 {
    Real::max(x, 0.0) + libm::log1p(libm::exp(-libm::fabs(x)))
}

impl Objective for Dpo {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let [value, coef] = t.shared;
        value + (t.log_p.stop() - t.log_p) * coef
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::RefLogProbs, Input::Sequences, Input::Pairs]
    }

    fn reduction(&self) -> Reduction {
        Reduction::MeanPairs
    }

    fn check(&self) -> Result<(), Error> {
        let allowed = self.beta > 0.0 && self.beta.is_finite();
        check_parameter("beta", self.beta, allowed, "a finite number > 0")
    }

    fn group_pass(&self) -> Option<&dyn GroupPass> {
        Some(self)
    }
}

impl GroupPass for Dpo {
    fn run(&self, group: &Group<'_>, scalars: &mut [Scalars]) -> Option<f64> {
        let log_ratio = |sequence| {
            let rows = group.active_in(group.sequence(sequence));
            rows.fold((0_usize, 0.0), |(n, sum), row| {
                // The difference first: where both models call a token impossible, the sum would drown between them.
                (n + 1, sum + (group.log_p(row) - group.ref_log_p(row)))
            })
        };
        for pair in group.pairs() {
            let (n_chosen, chosen) = log_ratio(pair.chosen);
            let (n_rejected, rejected) = log_ratio(pair.rejected);
            let margin = self.beta * (chosen - rejected);
            let value = softplus(-margin) / (n_chosen + n_rejected) as f64;
            let coef = self.beta / (1.0 + libm::exp(margin));
            for (sequence, coef) in [(pair.chosen, coef), (pair.rejected, -coef)] {
                for token in scalars.get_mut(group.sequence(sequence)).unwrap_or_default() {
                    // Tokens that no pair has stay dropped.
                    let [values, coefs] = token.values();
                    *token = Scalars::of([values + value, coefs + coef]);
                }
            }
        }
        None
    }
}
