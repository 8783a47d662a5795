//! Preference objectives over pairs of sequences.

use super::{GroupPlan, Input, Objective, Over, Real, Selection, Statistic, Token};
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
fn softplus<R: Real>(x: R) -> R {
    let below = x.if_negative(x, -x);
    x.max(R::lit(0.0)) + below.exp().ln_1p()
}

impl Objective for Dpo {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let [.., value, coef] = t.shared;
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

    fn group_plan(&self) -> Option<GroupPlan> {
        let (of_sequence, of_pairs) =
            (Statistic::Sum.over(Over::Sequence), Statistic::Sum.over(Over::Pairs));
        let plan = GroupPlan::of([of_sequence, of_sequence, of_pairs, of_pairs]);
        Some(plan.select(Selection::Paired))
    }

    fn step<R: Real>(&self, index: usize, t: &Token<R>) -> R {
        let ([log_ratio, tokens, ..], [other_log_ratio, other_tokens, ..]) = (t.shared, t.partner);
        // β·D, from either side.
        let margin = (log_ratio - other_log_ratio) * t.side * self.beta;
        match index {
            // The difference first: where both models call a token impossible, the sum would drown between them.
            0 => t.log_p - t.ref_log_p,
            1 => R::lit(1.0),
            2 => softplus(-margin) / (tokens + other_tokens),
            _ => t.side * self.beta / (margin.exp() + 1.0),
        }
    }
}
