//! What a call returns, and the sums it is made of.

use crate::objective::TokenTerm;
use crate::stats::Softmax;

/// What a call returns: the reduced loss, and the numerators and counts to combine with other micro-batches and ranks.
///
/// Sums are over the tokens that count, in f64, in an order that depends on nothing but the number of rows. Reports of ranges that are merged
/// round at each merge: those sums, and nothing else, depend on the cuts in their last bits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct LossReport {
    /// The reduced loss: what `dlogits` is the gradient of, but for [`Loss::grad_scale`](crate::Loss::grad_scale).
    pub loss: f64,
    /// Σ of the tokens' weighted losses.
    pub loss_sum: f64,
    /// Σ of −ln p, unweighted: the number to watch, since weighted losses of different objectives do not compare.
    pub nll_sum: f64,
    /// Σ of token weight · class weight of the target.
    pub weight_sum: f64,
    /// Tokens that count.
    pub tokens: usize,
    /// Tokens among them whose target has the largest logit (ties count).
    pub correct: usize,
    /// The first row without a softmax (NaN or +inf among its logits, or nothing finite): its loss and gradient are NaN.
    pub invalid_row: Option<usize>,
    /// The temperature that the objective found in the batch (TALR's τ, FLOW's), for objectives that look for one.
    pub tau: Option<f64>,
}

impl LossReport {
    /// The report of two disjoint ranges of a batch's rows together ([`Batch::row_range`](crate::Batch::row_range)).
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            loss: self.loss + other.loss,
            loss_sum: self.loss_sum + other.loss_sum,
            nll_sum: self.nll_sum + other.nll_sum,
            weight_sum: self.weight_sum + other.weight_sum,
            tokens: self.tokens + other.tokens,
            correct: self.correct + other.correct,
            invalid_row: self.invalid_row.into_iter().chain(other.invalid_row).min(),
            tau: self.tau.or(other.tau),
        }
    }

    /// Mean −ln p over the tokens, in nats; 0 without tokens.
    #[must_use]
    pub fn mean_nll(&self) -> f64 {
        if self.tokens == 0 { 0.0 } else { self.nll_sum / self.tokens as f64 }
    }

    /// e^(mean nll).
    #[must_use]
    pub fn perplexity(&self) -> f64 {
        libm::exp(self.mean_nll())
    }

    /// Code length: mean −log2 p, in bits.
    #[must_use]
    pub fn bits_per_token(&self) -> f64 {
        self.mean_nll() * core::f64::consts::LOG2_E
    }

    /// Share of tokens whose target has the largest logit; 0 without tokens.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        if self.tokens == 0 { 0.0 } else { self.correct as f64 / self.tokens as f64 }
    }
}

/// Running sums of a range of rows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    /// Σ loss / divisor: the reduced loss where tokens have different divisors.
    pub(crate) scaled: f64,
    pub(crate) report: LossReport,
}

impl Totals {
    /// Adds a token that counts.
    #[inline]
    pub(crate) fn count(
        &mut self,
        row: usize,
        softmax: &Softmax,
        term: &TokenTerm,
        caller_weight: f64,
        divisor: f64,
    ) {
        let report = &mut self.report;
        self.scaled += over(term.loss, divisor);
        report.loss_sum += term.loss;
        report.nll_sum += softmax.nll;
        report.weight_sum += caller_weight;
        report.tokens += 1;
        report.correct += usize::from(softmax.is_correct());
        if !softmax.is_valid() {
            report.invalid_row = report.invalid_row.or(Some(row));
        }
    }

    /// Sums of this range followed by a later one.
    pub(crate) fn then(self, later: Self) -> Self {
        Self { scaled: self.scaled + later.scaled, report: self.report.merge(later.report) }
    }
}

/// A value over a divisor; 0 where nothing counts.
pub(crate) fn over(value: f64, divisor: f64) -> f64 {
    if divisor > 0.0 { value / divisor } else { 0.0 }
}
