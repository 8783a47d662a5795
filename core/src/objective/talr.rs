//! TALR: token-adaptive loss reweighting, with a given or an automatic temperature.

use core::ops::Range;

use super::{Group, GroupPass, Input, Objective, Real, Scalars, Token};
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
    /// The temperature of this batch; none without tokens. Uses `scratch` (one entry a row).
    fn tau(&self, group: &Group<'_>, scratch: &mut [Scalars]) -> Option<f64> {
        let nll = |row: usize| -group.log_p(row);
        let median = match self.tau_from {
            TauFrom::TokenMedian => group.lower_median(scratch, group.active_rows().map(nll)),
            TauFrom::SequenceMedian => {
                let means = group.sequences().filter_map(|rows| group.mean(rows, nll));
                group.lower_median(scratch, means)
            }
        };
        median.map(|median| median.max(TAU_MIN))
    }
}

impl Objective for TalrAuto {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let [tau, log_norm] = t.shared;
        -((log_weight(t.log_p, tau, self.floor) - log_norm).exp().stop() * t.log_p)
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

    fn group_pass(&self) -> Option<&dyn GroupPass> {
        Some(self)
    }
}

impl GroupPass for TalrAuto {
    fn run(&self, group: &Group<'_>, scalars: &mut [Scalars]) -> Option<f64> {
        let tau = self.tau(group, scalars)?;
        let log_weight = |row: usize| log_weight(group.log_p(row), tau, self.floor);
        let log_sum = |rows: Range<usize>| log_sum_exp(group.active_in(rows).map(log_weight));
        let all = 0..scalars.len();
        let log_norm = match self.normalize {
            Normalize::None => 0.0,
            Normalize::Sum1Batch => log_sum(all),
            Normalize::Mean1Batch => log_sum(all) - libm::log(group.active_rows().count() as f64),
            Normalize::Sum1Sequence => {
                group.per_sequence(scalars, |rows| Scalars::of([tau, log_sum(rows)]));
                return Some(tau);
            }
        };
        scalars.fill(Scalars::of([tau, log_norm]));
        Some(tau)
    }
}

/// ln Σ e^x: a normaliser that does not underflow where every weight does.
fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let max = values.clone().fold(f64::MIN, Real::max);
    max + libm::log(values.map(|x| Real::exp(x - max)).sum())
}
