//! The only owner of denominators: from counts to the scale of each token, from sums to the reported loss.

use crate::batch::Batch;
use crate::error::{Argument, Error, check_parameter};
use crate::objective::{Objective, TokenTerm};
use crate::stats::Softmax;

/// How the losses of a batch's tokens become one number. Ignored (and dropped) tokens count nowhere.
///
/// A batch in which nothing counts has loss 0 and gradient exactly 0 under every reduction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Reduction {
    /// Their sum.
    Sum,
    /// Their sum over the number of tokens (verl's `token-mean`, Hugging Face without `num_items_in_batch`).
    #[default]
    MeanTokens,
    /// Mean over the sequences of each sequence's mean (verl's `seq-mean-token-mean`). Sequences without tokens do not count.
    MeanSequences,
    /// Their sum over Σ token weight · class weight of the target (PyTorch's mean with class weights).
    MeanWeights,
    /// Mean over the preference pairs.
    MeanPairs,
    /// Their sum over the caller's number: the tokens of all micro-batches and ranks (Hugging Face's `num_items_in_batch`), the number of
    /// sequences (verl's `seq-mean-token-sum`), a fixed length times that (Dr. GRPO).
    By(f64),
}

/// What a call returns: the reduced loss, and the numerators and counts to combine with other micro-batches and ranks.
///
/// Sums are over the tokens that count, in f64, in an order that depends on nothing but the number of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossReport {
    /// The reduced loss: what `dlogits` is the gradient of.
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
    /// Σ loss · scale: the reduced loss where tokens have different scales.
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
        scale: f64,
    ) {
        let report = &mut self.report;
        self.scaled += term.loss * scale;
        report.loss_sum += term.loss;
        report.nll_sum += softmax.nll();
        report.weight_sum += caller_weight;
        report.tokens += 1;
        report.correct += usize::from(softmax.stats.is_correct());
        if !softmax.stats.is_valid() {
            report.invalid_row = report.invalid_row.or(Some(row));
        }
    }

    /// Sums of this range followed by a later one.
    pub(crate) fn then(self, later: Self) -> Self {
        Self { scaled: self.scaled + later.scaled, report: self.report.merge(later.report) }
    }
}

impl Reduction {
    pub(crate) fn check(&self, objective: &impl Objective, batch: &Batch<'_>) -> Result<(), Error> {
        let of_pairs = objective.inputs().contains(&Argument::Pairs);
        match *self {
            Self::By(x) => {
                let allowed = x > 0.0 && x.is_finite();
                check_parameter("reduction", x, allowed, "a finite number > 0")
            }
            Self::Sum => Ok(()),
            Self::MeanPairs if batch.pairs.is_none() => Err(Error::Missing(Argument::Pairs)),
            Self::MeanPairs if of_pairs => Ok(()),
            Self::MeanPairs => {
                Err(Error::Reduction { expected: "MeanPairs is for losses of pairs" })
            }
            _ if of_pairs => {
                Err(Error::Reduction { expected: "a loss of pairs takes Sum, MeanPairs or By" })
            }
            Self::MeanSequences if batch.sequences.is_none() => {
                Err(Error::Missing(Argument::Sequences))
            }
            Self::MeanTokens | Self::MeanWeights | Self::MeanSequences => Ok(()),
        }
    }
}

/// The scale of every token of a batch, known once its counts are known.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scale {
    /// One for all tokens: 1 / denominator.
    Uniform(f64),
    /// Mean of means, over this many sequences.
    Sequences(usize),
}

impl Scale {
    /// `counts(row)` tells whether a row counts, `weight(row)` is its token weight · class weight.
    pub(crate) fn new(
        reduction: Reduction,
        batch: &Batch<'_>,
        counts: &impl Fn(usize) -> bool,
        weight: impl Fn(usize) -> f64,
    ) -> Self {
        let rows = || (0..batch.rows()).filter(|&row| counts(row));
        let denominator = match reduction {
            Reduction::Sum => 1.0,
            Reduction::By(x) => x,
            Reduction::MeanTokens => rows().count() as f64,
            Reduction::MeanPairs => batch.pairs.map_or(0, <[_]>::len) as f64,
            Reduction::MeanWeights => rows().map(weight).sum(),
            Reduction::MeanSequences => {
                let sequences = batch.sequences.iter();
                let ranges = sequences.flat_map(|s| (0..s.len()).map(|i| s.rows(i)));
                return Self::Sequences(ranges.filter(|r| r.clone().any(counts)).count());
            }
        };
        Self::Uniform(if denominator > 0.0 { 1.0 / denominator } else { 0.0 })
    }

    /// The reduced loss of the whole batch.
    pub(crate) fn finish(self, totals: Totals) -> LossReport {
        let loss = match self {
            // Divide, do not multiply by a rounded reciprocal.
            Self::Uniform(scale) if scale > 0.0 => totals.report.loss_sum / (1.0 / scale),
            Self::Uniform(_) => 0.0,
            Self::Sequences(_) => totals.scaled,
        };
        LossReport { loss, ..totals.report }
    }
}

/// Walks the rows in order and tells each one's scale; remembers the sequence it is in.
#[derive(Clone, Debug)]
pub(crate) struct ScaleCursor {
    scale: Scale,
    rows: core::ops::Range<usize>,
    current: f64,
}

impl ScaleCursor {
    pub(crate) fn new(scale: Scale) -> Self {
        Self { scale, rows: 0..0, current: 0.0 }
    }

    pub(crate) fn at(
        &mut self,
        row: usize,
        batch: &Batch<'_>,
        counts: &impl Fn(usize) -> bool,
    ) -> f64 {
        match (self.scale, batch.sequences) {
            (Scale::Uniform(scale), _) => scale,
            (Scale::Sequences(count), Some(sequences)) => {
                if !self.rows.contains(&row) {
                    self.rows = sequences.rows(sequences.of_row(row));
                    let tokens = self.rows.clone().filter(|&row| counts(row)).count();
                    self.current = 1.0 / (count as f64 * tokens as f64);
                }
                self.current
            }
            (Scale::Sequences(_), None) => 0.0,
        }
    }
}
