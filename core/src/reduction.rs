//! The only owner of denominators: from counts to the divisor of each token, from sums to the reported loss.

use crate::batch::Batch;
use crate::error::{Argument, Error, check_len, check_parameter};
use crate::objective::{Input, Objective};
use crate::report::{LossReport, Totals, over};

/// How the losses of a batch's tokens become one number. Ignored (and dropped) tokens count nowhere.
///
/// A batch in which nothing counts has loss 0 and gradient exactly 0 under every reduction.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
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

impl Reduction {
    pub(crate) fn check(&self, objective: &impl Objective, batch: &Batch<'_>) -> Result<(), Error> {
        let of_pairs = objective.inputs().contains(&Input::Pairs);
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

/// The denominators of a batch: what a call on a range of its rows must know of the others.
///
/// Made once by [`Loss::denominator`](crate::Loss::denominator), handed to the calls on ranges by
/// [`Batch::denominator`](crate::Batch::denominator).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Denominator<'a>(Divisor<'a>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Divisor<'a> {
    /// One for all tokens; 0 where nothing counts.
    Uniform(f64),
    /// Mean of means: so many sequences that have tokens, and the tokens of each, where they are known.
    Sequences(f64, Option<&'a [u32]>),
}

impl Denominator<'static> {
    /// `counts(row)` tells whether a row counts, `weight(row)` is its token weight · class weight.
    pub(crate) fn new(
        reduction: Reduction,
        batch: &Batch<'_>,
        counts: &impl Fn(usize) -> bool,
        weight: impl Fn(usize) -> f64,
    ) -> Self {
        let rows = || (0..batch.rows()).filter(|&row| counts(row));
        Self(Divisor::Uniform(match reduction {
            Reduction::Sum => 1.0,
            Reduction::By(x) => x,
            Reduction::MeanTokens => rows().count() as f64,
            Reduction::MeanPairs => batch.pairs.map_or(0, <[_]>::len) as f64,
            Reduction::MeanWeights => rows().map(weight).sum(),
            Reduction::MeanSequences => {
                let sequences = batch.sequences.iter();
                let ranges = sequences.flat_map(|s| (0..s.len()).map(|i| s.rows(i)));
                let with_tokens = ranges.filter(|rows| rows.clone().any(counts)).count();
                return Self(Divisor::Sequences(with_tokens as f64, None));
            }
        }))
    }
}

impl<'a> Denominator<'a> {
    /// What it is made of, for other languages to carry: the divisor of all tokens; for `MeanSequences` the number of sequences that have tokens,
    /// and the tokens of each.
    #[must_use]
    pub fn parts(self) -> (f64, Option<&'a [u32]>) {
        match self.0 {
            Divisor::Uniform(divisor) => (divisor, None),
            Divisor::Sequences(with_tokens, tokens) => (with_tokens, tokens),
        }
    }

    /// From [`Denominator::parts`] again.
    #[must_use]
    pub fn from_parts(value: f64, sequence_tokens: Option<&'a [u32]>) -> Self {
        Self(match sequence_tokens {
            None => Divisor::Uniform(value),
            Some(_) => Divisor::Sequences(value, sequence_tokens),
        })
    }

    /// What needs nothing of the batch's rows.
    pub(crate) fn of_range(reduction: Reduction, batch: &Batch<'a>) -> Result<Self, Error> {
        match (batch.denominator, reduction) {
            (Some(known), _) => Ok(known),
            (None, Reduction::Sum | Reduction::By(_) | Reduction::MeanPairs) => {
                Ok(Denominator::new(reduction, batch, &|_| false, |_| 0.0))
            }
            (None, _) => Err(Error::Missing(Argument::Denominator)),
        }
    }

    /// The same, with the tokens of each sequence counted into `tokens` where they matter.
    pub(crate) fn with_sequences<'d>(
        self,
        batch: &Batch<'_>,
        counts: &impl Fn(usize) -> bool,
        tokens: &'d mut [u32],
    ) -> Result<Denominator<'d>, Error> {
        let with_tokens = match self.0 {
            Divisor::Uniform(divisor) => return Ok(Denominator(Divisor::Uniform(divisor))),
            Divisor::Sequences(with_tokens, _) => with_tokens,
        };
        let sequences = batch.sequences.ok_or(Error::Missing(Argument::Sequences))?;
        check_len(Argument::SequenceTokens, tokens.len(), sequences.len())?;
        for (sequence, tokens) in tokens.iter_mut().enumerate() {
            let count = sequences.rows(sequence).filter(|&row| counts(row)).count();
            *tokens = u32::try_from(count).unwrap_or(u32::MAX);
        }
        Ok(Denominator(Divisor::Sequences(with_tokens, Some(tokens))))
    }

    /// The reduced loss of rows with these sums.
    pub(crate) fn finish(self, totals: Totals) -> LossReport {
        let loss = match self.0 {
            Divisor::Uniform(divisor) => over(totals.report.loss_sum, divisor),
            Divisor::Sequences(..) => totals.scaled,
        };
        LossReport { loss, ..totals.report }
    }
}

/// Walks the rows in order and tells what each one's loss is divided by; remembers the sequence it is in.
#[derive(Clone, Debug)]
pub(crate) struct DivisorCursor<'a> {
    denominator: Denominator<'a>,
    rows: core::ops::Range<usize>,
    current: f64,
}

impl<'a> DivisorCursor<'a> {
    pub(crate) fn new(denominator: Denominator<'a>) -> Self {
        Self { denominator, rows: 0..0, current: 0.0 }
    }

    pub(crate) fn at(
        &mut self,
        row: usize,
        batch: &Batch<'_>,
        counts: &impl Fn(usize) -> bool,
    ) -> f64 {
        match (self.denominator.0, batch.sequences) {
            (Divisor::Uniform(divisor), _) => divisor,
            (Divisor::Sequences(with_tokens, known), Some(sequences)) => {
                if !self.rows.contains(&row) {
                    let sequence = sequences.of_row(row);
                    self.rows = sequences.rows(sequence);
                    let tokens = known.and_then(|tokens| tokens.get(sequence)).map_or_else(
                        || self.rows.clone().filter(|&row| counts(row)).count(),
                        |&tokens| tokens as usize,
                    );
                    self.current = with_tokens * tokens as f64;
                }
                self.current
            }
            (Divisor::Sequences(..), None) => 0.0,
        }
    }
}
