//! Measuring a model on some text: likelihood, right answers, and the histogram of target probabilities.

use crate::loss;
use crate::model::Transformer;
use crate::objective::Objective;
use crate::train::Lesson;
use candle_core::{Error, Result};
use std::ops::AddAssign;
use surprisal::diagnose;

/// Bins of the histogram of target probabilities, all of the same width.
pub(crate) const BINS: usize = 20;
/// The bins of the hard tokens: those with a probability below 0.1.
const HARD_BINS: usize = 2;

/// What a model does on some text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measure {
    /// Tokens that count: neither masked nor padding.
    pub(crate) tokens: usize,
    /// Their summed negative log-likelihood, in nats.
    pub(crate) nll_sum: f64,
    /// How many of them had the largest logit.
    pub(crate) correct: usize,
    /// How many of them had a probability in each bin.
    pub(crate) histogram: [u64; BINS],
}

impl Measure {
    /// Negative log-likelihood of a token, in nats.
    pub(crate) fn nll(&self) -> f64 {
        self.nll_sum / self.tokens as f64
    }

    /// The same in bits; a token is a byte.
    pub(crate) fn bits_per_byte(&self) -> f64 {
        self.nll() / std::f64::consts::LN_2
    }

    /// Share of the tokens that were answered right.
    pub(crate) fn accuracy(&self) -> f64 {
        self.correct as f64 / self.tokens as f64
    }

    /// Share of the tokens in each bin.
    pub(crate) fn shares(&self) -> [f64; BINS] {
        self.histogram.map(|count| count as f64 / self.tokens as f64)
    }

    /// Share of the hard tokens.
    pub(crate) fn hard_share(&self) -> f64 {
        self.shares()[..HARD_BINS].iter().sum()
    }
}

impl AddAssign for Measure {
    fn add_assign(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.nll_sum += other.nll_sum;
        self.correct += other.correct;
        for (total, more) in self.histogram.iter_mut().zip(other.histogram) {
            *total += more;
        }
    }
}

/// Measures `model` on all of `lessons`.
pub(crate) fn measure(model: &Transformer, lessons: &[Lesson]) -> Result<Measure> {
    let mut total = Measure::default();
    for lesson in lessons {
        total += measure_one(model, lesson)?;
    }
    Ok(total)
}

/// Measures `model` on one batch.
fn measure_one(model: &Transformer, Lesson { tokens, known }: &Lesson) -> Result<Measure> {
    let seen =
        loss::observe(&Objective::pretraining(), &model.forward(tokens)?, model.head(), known)?;
    let mut histogram = [0; BINS];
    diagnose::histogram(&known.batch(), &seen.log_probs, &mut histogram).map_err(Error::wrap)?;
    let mut measure = Measure { histogram, ..Measure::default() };
    for token in tokens.learnt() {
        measure.tokens += 1;
        measure.nll_sum -= f64::from(seen.log_probs[token]);
        measure.correct += usize::from(seen.is_right(token, known));
    }
    Ok(measure)
}

#[cfg(test)]
mod tests {
    use super::{BINS, Measure, measure};
    use crate::data::{Sample, sequences};
    use crate::model::{Config, Transformer};
    use crate::pack::in_order;
    use crate::train::Lesson;
    use candle_core::Result;

    #[test]
    fn every_learnt_token_is_counted_once_however_the_text_is_batched() -> Result<()> {
        let model = Transformer::random(Config { layers: 1, heads: 2, width: 16, context: 24 }, 3)?;
        let corpus: Vec<_> =
            (0..5).flat_map(|n| sequences(&Sample::answer(&"?".repeat(n), "!!"), 24)).collect();
        let batches = |rows| -> Vec<Lesson> {
            in_order(&corpus, rows, 24, 99).into_iter().map(Lesson::new).collect()
        };
        let (one, many) = (measure(&model, &batches(99))?, measure(&model, &batches(1))?);
        assert_eq!(one.tokens, 5 * 3, "two bytes and the boundary of each answer");
        assert_eq!(one.histogram.iter().sum::<u64>(), 5 * 3);
        assert_eq!(
            (one.tokens, one.correct, one.histogram),
            (many.tokens, many.correct, many.histogram)
        );
        assert!((one.nll() - many.nll()).abs() < 1e-6);
        assert!((one.shares().iter().sum::<f64>() - 1.0).abs() < 1e-12);
        Ok(())
    }

    #[test]
    fn a_model_that_cannot_decide_is_not_right() -> Result<()> {
        let model = Transformer::random(Config { layers: 1, heads: 2, width: 16, context: 24 }, 3)?;
        let head = model.variables().pop().expect("the head is the last");
        head.set(&head.zeros_like()?)?;
        let corpus = sequences(&Sample::answer("a", "bb"), 24);
        let lessons: Vec<Lesson> =
            in_order(&corpus, 1, 24, 1).into_iter().map(Lesson::new).collect();
        let measure = measure(&model, &lessons)?;
        assert_eq!((measure.tokens, measure.correct), (3, 0));
        Ok(())
    }

    #[test]
    fn hard_tokens_are_those_below_a_tenth() {
        let mut histogram = [0; BINS];
        (histogram[0], histogram[1], histogram[2]) = (3, 2, 5);
        let measure = Measure { tokens: 10, histogram, ..Measure::default() };
        assert!((measure.hard_share() - 0.5).abs() < 1e-12);
    }
}
