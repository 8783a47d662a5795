//! Preference objectives over pairs of sequences.

use super::{Group, Objective, Real, Scope, Token, TokenTerm};
use crate::error::{Argument, Error, check_parameter};

/// DPO: −ln σ(β·D), D = Σ(ln p − ln p_ref) of the chosen minus that of the rejected. Rafailov et al. 2023, arXiv 2305.18290.
///
/// A loss of pairs: the reduction is `Sum`, `MeanPairs` (TRL's mean) or `By`. The pair's loss is spread evenly over its tokens;
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
        let [value, coef] = t.group;
        value + (t.log_p.stop() - t.log_p) * coef
    }

    fn scope(&self) -> Scope {
        Scope::Sequence
    }

    fn inputs(&self) -> &'static [Argument] {
        &[Argument::RefLogProbs, Argument::Sequences, Argument::Pairs]
    }

    fn check(&self) -> Result<(), Error> {
        let allowed = self.beta > 0.0 && self.beta.is_finite();
        check_parameter("beta", self.beta, allowed, "a finite number > 0")
    }

    fn group_pass(&self, group: &Group<'_>, terms: &mut [TokenTerm]) {
        terms.fill(TokenTerm::default());
        let log_ratio = |sequence| {
            let rows = group.active_in(group.sequence(sequence));
            rows.fold((0_usize, 0.0), |(n, sum), row| {
                (n + 1, sum + group.log_p(row) - group.ref_log_p(row))
            })
        };
        for pair in group.pairs() {
            let (n_chosen, chosen) = log_ratio(pair.chosen);
            let (n_rejected, rejected) = log_ratio(pair.rejected);
            let margin = self.beta * (chosen - rejected);
            let value = softplus(-margin) / (n_chosen + n_rejected) as f64;
            let coef = self.beta / (1.0 + libm::exp(margin));
            for (sequence, coef) in [(pair.chosen, coef), (pair.rejected, -coef)] {
                for term in terms.get_mut(group.sequence(sequence)).unwrap_or_default() {
                    term.loss += value;
                    term.coef += coef;
                    // Marks a token that some pair has: `counts` drops the others.
                    term.dense = 1.0;
                }
            }
        }
    }

    fn counts(&self, scalars: &TokenTerm) -> bool {
        scalars.dense != 0.0
    }
}
