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
    /// Least p that the weight sees, in [0, 1]: 0 as in the paper; 1e-6 in the only public code found, where it is more than its floor of 0.01 from
    /// τ = 3 on.
    pub p_min: f64,
}

impl Default for Talr {
    fn default() -> Self {
        Self { tau: 1.0, floor: 0.01, p_min: 0.0 }
    }
}

/// ln max(max(p, p_min)^(1/τ), floor).
fn log_weight<R: Real>(log_p: R, tau: R, floor: f64, p_min: f64) -> R {
    let log_p = log_p.max(R::lit(libm::log(p_min)));
    (log_p / tau).max(R::lit(libm::log(floor)))
}

fn check_least(floor: f64, p_min: f64) -> Result<(), Error> {
    let check = |name, value: f64| {
        check_parameter(name, value, (0.0..=1.0).contains(&value), "a number in [0, 1]")
    };
    check("floor", floor).and(check("p_min", p_min))
}

impl Objective for Talr {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let weight = log_weight(t.log_p, R::lit(self.tau), self.floor, self.p_min);
        -(weight.exp().stop() * t.log_p)
    }

    fn check(&self) -> Result<(), Error> {
        check_parameter("tau", self.tau, self.tau > 0.0, "a number > 0")?;
        check_least(self.floor, self.p_min)
    }
}

/// Where the automatic τ comes from. Sources of the method disagree; the median is the lower one, as `torch.median`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TauFrom {
    /// Median over the sequences of their mean nll.
    #[default]
    SequenceMedian,
    /// The same, with 0 for sequences whose tokens are all ignored: so the only public code found. Batches with many of those have a τ near 0.
    SequenceMedianWithEmpty,
    /// Median of the tokens' nll. Falls towards 0 once most tokens are learned.
    TokenMedian,
}

/// What the weights are divided by, before the reduction divides the losses.
///
/// Weights that sum up to 1 are a mean already: the loss of the derivation is `Sum1Batch` with [`Reduction::Sum`], or `Sum1Sequence` with
/// [`Reduction::MeanSequences`](crate::Reduction::MeanSequences), which divides each sequence by its tokens once more, or with
/// [`Reduction::By`] the number of sequences, which does not. `None` and `Mean1Batch` go with [`Reduction::MeanTokens`].
///
/// [`Reduction::Sum`]: crate::Reduction::Sum
/// [`Reduction::By`]: crate::Reduction::By
/// [`Reduction::MeanTokens`]: crate::Reduction::MeanTokens
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
    /// Least p that the weight sees, as [`Talr::p_min`].
    pub p_min: f64,
    /// Where τ comes from.
    pub tau_from: TauFrom,
    /// What the weights are divided by.
    pub normalize: Normalize,
}

impl Default for TalrAuto {
    fn default() -> Self {
        let (tau_from, normalize) = (TauFrom::default(), Normalize::default());
        Self { floor: 0.01, p_min: 0.0, tau_from, normalize }
    }
}

impl TalrAuto {
    /// The step that finds the median; a normaliser is the next one.
    fn median(&self) -> usize {
        match self.tau_from {
            TauFrom::SequenceMedian | TauFrom::SequenceMedianWithEmpty => 1,
            TauFrom::TokenMedian => 0,
        }
    }

    fn tau<R: Real>(&self, t: &Token<R>) -> R {
        R::lit(TAU_MIN).max(t.shared[self.median()])
    }

    fn log_weight<R: Real>(&self, t: &Token<R>) -> R {
        log_weight(t.log_p, self.tau(t), self.floor, self.p_min)
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
            (
                TauFrom::TokenMedian,
                Normalize::None | Normalize::Sum1Batch | Normalize::Mean1Batch,
            ) => &[],
            _ => &[Input::Sequences],
        }
    }

    fn check(&self) -> Result<(), Error> {
        check_least(self.floor, self.p_min)
    }

    fn group_plan(&self) -> Option<GroupPlan> {
        use Over::{Batch, Sequence, Sequences};
        use Statistic::{LogMeanExp, LogSumExp, LowerMedian, LowerMedianWithEmpty, Mean};
        let norm = match self.normalize {
            Normalize::None => None,
            Normalize::Sum1Sequence => Some(LogSumExp.over(Sequence)),
            Normalize::Sum1Batch => Some(LogSumExp.over(Batch)),
            Normalize::Mean1Batch => Some(LogMeanExp.over(Batch)),
        };
        let mean = Mean.over(Sequence);
        let median = match self.tau_from {
            TauFrom::SequenceMedian => LowerMedian.over(Sequences),
            TauFrom::SequenceMedianWithEmpty => LowerMedianWithEmpty.over(Sequences),
            TauFrom::TokenMedian => LowerMedian.over(Batch),
        };
        Some(match (self.tau_from, norm) {
            (TauFrom::TokenMedian, None) => GroupPlan::of([median]),
            (TauFrom::TokenMedian, Some(norm)) => GroupPlan::of([median, norm]),
            (_, None) => GroupPlan::of([mean, median]),
            (_, Some(norm)) => GroupPlan::of([mean, median, norm]),
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
