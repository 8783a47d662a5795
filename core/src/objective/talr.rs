//! TALR: token-adaptive loss reweighting, with a given or an automatic temperature.

use super::{GroupPlan, Input, Objective, Over, Real, Statistic, Token};
use crate::error::{Error, check_parameter};

/// The smallest automatic τ: a batch that is already learned must not divide by 0.
const TAU_MIN: f64 = 1e-6;

/// TALR with a given τ: −stop(max(p^(1/τ), floor)) · ln p. arXiv 2509.20758.
///
/// τ = 1 without floor is DFT, τ → ∞ is SFT; a token whose nll is τ has raw weight 1/e. An impossible target keeps the weight
/// `floor`, so its loss is +∞ unless the floor is 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Talr {
    /// Temperature τ > 0.
    pub tau: f64,
    /// Least weight, in [0, 1].
    pub floor: f64,
}

impl Default for Talr {
    fn default() -> Self {
        Self { tau: 1.0, floor: 0.01 }
    }
}

/// ln max(p^(1/τ), floor).
fn log_weight<R: Real>(log_p: R, tau: R, floor: f64) -> R {
    (log_p / tau).max(R::lit(libm::log(floor)))
}

fn check_floor(floor: f64) -> Result<(), Error> {
    check_parameter("floor", floor, (0.0..=1.0).contains(&floor), "a number in [0, 1]")
}

impl Objective for Talr {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        -(log_weight(t.log_p, R::lit(self.tau), self.floor).exp().stop() * t.log_p)
    }

    fn check(&self) -> Result<(), Error> {
        check_parameter("tau", self.tau, self.tau > 0.0, "a number > 0")?;
        check_floor(self.floor)
    }
}

/// Where the automatic τ comes from. Sources of the method disagree; the median is the lower one, as `torch.median`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TauFrom {
    /// Median over the sequences of their mean nll (the only public code found).
    #[default]
    SequenceMedian,
    /// Median of the tokens' nll. Falls towards 0 once most tokens are learned.
    TokenMedian,
}

/// What the weights are divided by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Normalize {
    /// Nothing (the only public code found).
    #[default]
    None,
    /// Their sum over the sequence (the simplex of the derivation).
    Sum1Sequence,
    /// Their sum over the batch.
    Sum1Batch,
    /// Their mean over the batch.
    Mean1Batch,
}

/// TALR with τ from the batch itself, anew at each call: −stop(w) · ln p, w = max(p^(1/τ), floor) / normaliser.
///
/// τ is at least 1e-6. Normalisers are taken after the floor, over the tokens that are not ignored.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TalrAuto {
    /// Least weight before normalisation, in [0, 1].
    pub floor: f64,
    /// Where τ comes from.
    pub tau_from: TauFrom,
    /// What the weights are divided by.
    pub normalize: Normalize,
}

impl Default for TalrAuto {
    fn default() -> Self {
        Self { floor: 0.01, tau_from: TauFrom::default(), normalize: Normalize::default() }
    }
}

impl TalrAuto {
    /// The step that finds the median; a normaliser is the next one.
    fn median(&self) -> usize {
        match self.tau_from {
            TauFrom::SequenceMedian => 1,
            TauFrom::TokenMedian => 0,
        }
    }

    fn tau<R: Real>(&self, t: &Token<R>) -> R {
        R::lit(TAU_MIN).max(t.shared[self.median()])
    }

    fn log_weight<R: Real>(&self, t: &Token<R>) -> R {
        log_weight(t.log_p, self.tau(t), self.floor)
    }
}

impl Objective for TalrAuto {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        // 0 without a normaliser.
        let log_norm = t.shared[self.median() + 1];
        -((self.log_weight(t) - log_norm).exp().stop() * t.log_p)
    }

    fn inputs(&self) -> &'static [Input] {
        match (self.tau_from, self.normalize) {
            (TauFrom::SequenceMedian, _) | (_, Normalize::Sum1Sequence) => &[Input::Sequences],
            _ => &[],
        }
    }

    fn check(&self) -> Result<(), Error> {
        check_floor(self.floor)
    }

    fn group_plan(&self) -> Option<GroupPlan> {
        use Over::{Batch, Sequence, Sequences};
        use Statistic::{LogMeanExp, LogSumExp, LowerMedian, Mean};
        let norm = match self.normalize {
            Normalize::None => None,
            Normalize::Sum1Sequence => Some(LogSumExp.over(Sequence)),
            Normalize::Sum1Batch => Some(LogSumExp.over(Batch)),
            Normalize::Mean1Batch => Some(LogMeanExp.over(Batch)),
        };
        let (mean, of_sequences) = (Mean.over(Sequence), LowerMedian.over(Sequences));
        let of_tokens = LowerMedian.over(Batch);
        Some(match (self.tau_from, norm) {
            (TauFrom::SequenceMedian, None) => GroupPlan::of([mean, of_sequences]),
            (TauFrom::SequenceMedian, Some(norm)) => GroupPlan::of([mean, of_sequences, norm]),
            (TauFrom::TokenMedian, None) => GroupPlan::of([of_tokens]),
            (TauFrom::TokenMedian, Some(norm)) => GroupPlan::of([of_tokens, norm]),
        })
    }

    fn step<R: Real>(&self, index: usize, t: &Token<R>) -> R {
        if index > self.median() {
            self.log_weight(t)
        } else if index == 0 {
            -t.log_p
        } else {
            t.shared[0]
        }
    }

    fn temperature<R: Real>(&self, t: &Token<R>) -> Option<R> {
        Some(self.tau(t))
    }
}
