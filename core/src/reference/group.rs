//! What a token takes from its sequence or from the batch: temperatures, weights, ratios, selections. All from ln p at one place.

use core::ops::Range;

use super::number::{at_least, at_most, item_of_rank, lower_median, nan_largest};
use super::problem::{Model, Problem, finite};
use super::token::{Token, talr_log_p, talr_weight};
use crate::objective::{
    Builtin, Flow, Normalize, Rho1, SequenceProbability, SftGo, TalrAuto, TauFrom,
};

/// What the tokens of a batch, or of one sequence of it, have in common. What an objective does not use is 0.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shared {
    /// The weight of every token of the sequence; SFT-GO: of the tokens outside the worst group.
    weight: f64,
    /// TALR and FLOW: the temperature.
    tau: f64,
    /// TALR: what ln p is relative to. 0 unless the raw weights could all underflow.
    shift: f64,
    /// TALR: what the weights are multiplied by.
    factor: f64,
    /// GSPO: ln s.
    log_ratio: f64,
    pair_loss: f64,
    pair_coef: f64,
    /// SFT-GO: the worst group and the weight of its tokens.
    worst: (usize, f64),
    /// Rho-1: the last row that is kept and its negated excess.
    last_kept: Option<(usize, f64)>,
}

impl Shared {
    /// What the whole batch shares.
    pub(super) fn of_batch(at: &Model<'_>) -> Self {
        match at.problem.objective {
            Builtin::TalrAuto(o) => {
                let tau = talr_tau(at, o);
                let all = 0..at.problem.rows;
                let (shift, factor) = match o.normalize {
                    Normalize::None | Normalize::Sum1Sequence => (0.0, 1.0),
                    Normalize::Sum1Batch => talr_normalize(at, o, tau, all),
                    Normalize::Mean1Batch => {
                        let (shift, factor) = talr_normalize(at, o, tau, all.clone());
                        let tokens = all.filter(|&row| at.problem.target(row).is_some()).count();
                        (shift, factor * tokens as f64)
                    }
                };
                Self { tau, shift, factor, ..Self::default() }
            }
            Builtin::Flow(o) => Self { tau: flow_tau(at, o), ..Self::default() },
            Builtin::SftGo(o) => sft_go(at, o),
            Builtin::Rho1(o) => Self { last_kept: rho1_last_kept(at, o), ..Self::default() },
            _ => Self::default(),
        }
    }

    /// The temperature that the report gives.
    pub(super) fn found_tau(&self, at: &Model<'_>) -> Option<f64> {
        let any = (0..at.problem.rows).any(|row| at.problem.target(row).is_some());
        let known = match at.problem.objective {
            Builtin::TalrAuto(_) | Builtin::Flow(_) => any,
            _ => false,
        };
        known.then_some(self.tau)
    }

    /// What one sequence shares, including what it takes from the batch.
    pub(super) fn of_sequence(self, at: &Model<'_>, sequence: usize) -> Self {
        let problem = at.problem;
        let rows = problem.sequence(sequence);
        let mean = |value: &dyn Fn(usize) -> f64| problem.mean(rows.clone(), value).unwrap_or(0.0);
        match problem.objective {
            Builtin::TalrAuto(o) if o.normalize == Normalize::Sum1Sequence => {
                let (shift, factor) = talr_normalize(at, o, self.tau, rows);
                Self { shift, factor, ..self }
            }
            Builtin::IwSequence(o) => {
                let log_ratio = mean(&|row| at.finite_log_p(row) - finite(problem.ref_log_p(row)));
                Self { weight: at_most(o.max, libm::exp(o.temperature * log_ratio)), ..self }
            }
            Builtin::Flow(_) => {
                let mean_nll = mean(&|row| flow_nll(problem, row));
                // With τ → 0, a reference that is certain of the median sample, 1 or 0.
                Self { weight: libm::exp(-mean_nll / self.tau), ..self }
            }
            Builtin::DftSequence(o) => {
                let tokens = rows.clone().filter(|&row| problem.target(row).is_some()).count();
                let factor = match o.probability {
                    SequenceProbability::GeometricMean => 1.0,
                    SequenceProbability::Product => tokens as f64,
                };
                let log_weight = mean(&|row| at.finite_log_p(row)) * factor;
                Self { weight: libm::exp(log_weight), ..self }
            }
            Builtin::Gspo(_) => {
                let log_ratio = |row| at.finite_log_p(row) - finite(problem.old_log_p(row));
                Self { log_ratio: mean(&log_ratio), ..self }
            }
            Builtin::Dpo(o) => dpo(at, o.beta, sequence),
            _ => self,
        }
    }

    /// What is known of a token of this sequence.
    pub(super) fn token(&self, at: &Model<'_>, row: usize) -> Token {
        let problem = at.problem;
        let log_p = at.log_p(row);
        let weight = match problem.objective {
            Builtin::TalrAuto(o) => {
                let log_p = talr_log_p(finite(log_p), o.p_min) - self.shift;
                talr_weight(log_p, self.tau, o.floor) * self.factor
            }
            Builtin::SftGo(_) if problem.group(row) == self.worst.0 => self.worst.1,
            _ => self.weight,
        };
        let (entropy, squares) = match problem.objective {
            Builtin::Eaft(_) | Builtin::Deft(_) => at.row(row).entropy_and_squares(),
            _ => (0.0, 0.0),
        };
        Token {
            at: log_p,
            entropy,
            squares,
            ref_log_p: problem.ref_log_p(row),
            old_log_p: problem.old_log_p(row),
            advantage: problem.advantage(row),
            weight,
            log_ratio: self.log_ratio,
            pair_loss: self.pair_loss,
            pair_coef: self.pair_coef,
        }
    }

    /// Whether a row of this sequence takes part: it is not ignored, and the objective does not drop it.
    pub(super) fn takes_part(&self, at: &Model<'_>, sequence: usize, row: usize) -> bool {
        let problem = at.problem;
        problem.target(row).is_some()
            && match problem.objective {
                Builtin::Rft(_) => problem.batch.keeps(sequence),
                Builtin::Dpo(_) => {
                    let pairs = problem.batch.pairs.unwrap_or_default();
                    pairs.iter().any(|pair| pair.chosen == sequence || pair.rejected == sequence)
                }
                Builtin::Rho1(_) => self.last_kept.is_some_and(|(last, worst)| {
                    let negated = rho1_negated_excess(at, row);
                    negated < worst || (negated == worst && row <= last)
                }),
                _ => true,
            }
    }
}

/// The median nll of the tokens, or of the sequences' means; at least 1e-6.
fn talr_tau(at: &Model<'_>, o: &TalrAuto) -> f64 {
    let problem = at.problem;
    let nll = |row| -at.finite_log_p(row);
    let median = match o.tau_from {
        TauFrom::TokenMedian => {
            lower_median(problem.rows, |row| problem.target(row).map(|_| nll(row)))
        }
        TauFrom::SequenceMedian => {
            lower_median(problem.sequences(), |i| problem.mean(problem.sequence(i), nll))
        }
        TauFrom::SequenceMedianWithEmpty => lower_median(problem.sequences(), |i| {
            Some(problem.mean(problem.sequence(i), nll).unwrap_or(0.0))
        }),
    };
    let median = median.unwrap_or(1.0);
    if median > 1e-6 { median } else { 1e-6 }
}

/// 1 / Σ weights over these rows, and the shift of ln p that it holds for.
///
/// Without a floor the weights are the softmax of −nll/τ, which does not change with the shift: the largest ln p keeps the sum
/// from underflow. With a floor the sum cannot underflow.
fn talr_normalize(at: &Model<'_>, o: &TalrAuto, tau: f64, rows: Range<usize>) -> (f64, f64) {
    let active = rows.filter(|&row| at.problem.target(row).is_some());
    let mut shift = 0.0;
    let log_p = |row| talr_log_p(at.finite_log_p(row), o.p_min);
    if o.floor == 0.0 {
        let mut largest = f64::NEG_INFINITY;
        for row in active.clone() {
            largest = at_least(largest, log_p(row));
        }
        if largest.is_finite() {
            shift = largest;
        }
    }
    let mut sum = 0.0;
    for row in active {
        sum += talr_weight(log_p(row) - shift, tau, o.floor);
    }
    (shift, 1.0 / sum)
}

/// The given temperature, or the median over the sequences of their mean nll under the reference.
fn flow_tau(at: &Model<'_>, o: &Flow) -> f64 {
    let problem = at.problem;
    let median = || {
        lower_median(problem.sequences(), |i| {
            problem.mean(problem.sequence(i), |row| flow_nll(problem, row))
        })
    };
    at_least(1e-30, o.tau.or_else(median).unwrap_or(1.0))
}

/// −ln p under the reference, which rounding may have left above 0.
fn flow_nll(problem: &Problem<'_>, row: usize) -> f64 {
    at_least(0.0, -finite(problem.ref_log_p(row)))
}

/// SFT-GO: (1−λ) for every token, and λ·n/n_g more for those of the group with the largest mean nll (of equal ones the lower id).
fn sft_go(at: &Model<'_>, o: &SftGo) -> Shared {
    let problem = at.problem;
    let (mut worst, mut worst_mean, mut worst_size) = (0, f64::NEG_INFINITY, 0_usize);
    let mut tokens = 0;
    for group in 0..problem.rows {
        let (mut nll, mut size) = (0.0, 0_usize);
        for row in 0..problem.rows {
            if problem.target(row).is_some() && problem.group(row) == group {
                nll -= at.finite_log_p(row);
                size += 1;
            }
        }
        tokens += size;
        let mean = nan_largest(nll / size as f64);
        if size > 0 && mean > worst_mean {
            (worst, worst_mean, worst_size) = (group, mean, size);
        }
    }
    let weight = 1.0 - o.worst_weight;
    let worst_weight = weight + o.worst_weight * tokens as f64 / worst_size as f64;
    Shared { weight, worst: (worst, worst_weight), ..Shared::default() }
}

/// −(nll − nll_ref), so that the largest excess comes first. A row without a softmax has the largest: it is kept, and so seen.
fn rho1_negated_excess(at: &Model<'_>, row: usize) -> f64 {
    let excess = finite(at.problem.ref_log_p(row)) - at.finite_log_p(row);
    -nan_largest(excess)
}

/// The last of the ⌈keep·n⌉ rows with the largest excess, of equal ones the earlier.
fn rho1_last_kept(at: &Model<'_>, o: &Rho1) -> Option<(usize, f64)> {
    let problem = at.problem;
    let tokens = (0..problem.rows).filter(|&row| problem.target(row).is_some()).count();
    if tokens == 0 {
        return None;
    }
    let share = o.keep * tokens as f64;
    let kept = (1..tokens).find(|&count| count as f64 >= share).unwrap_or(tokens);
    item_of_rank(problem.rows, kept - 1, |row| {
        problem.target(row).map(|_| rho1_negated_excess(at, row))
    })
}

/// DPO, over the pairs that this sequence is in: the token's share of −ln σ(β·D), and ±β·σ(−β·D).
fn dpo(at: &Model<'_>, beta: f64, sequence: usize) -> Shared {
    let mut shared = Shared::default();
    for pair in at.problem.batch.pairs.unwrap_or_default() {
        if pair.chosen != sequence && pair.rejected != sequence {
            continue;
        }
        let (chosen, chosen_tokens) = sum_log_ratio(at, pair.chosen);
        let (rejected, rejected_tokens) = sum_log_ratio(at, pair.rejected);
        let margin = beta * (chosen - rejected);
        // −ln σ(x) = ln(1 + e^−x) = −x + ln(1 + e^x).
        let pair_loss = if margin > 0.0 {
            libm::log1p(libm::exp(-margin))
        } else {
            -margin + libm::log1p(libm::exp(margin))
        };
        // From an impossible token.
        let pair_loss = if pair_loss > 1e200 { f64::INFINITY } else { pair_loss };
        let coef = beta / (1.0 + libm::exp(margin));
        shared.pair_loss += pair_loss / (chosen_tokens + rejected_tokens) as f64;
        shared.pair_coef += if pair.chosen == sequence { coef } else { -coef };
    }
    shared
}

/// Σ(ln p − ln p_ref) over a sequence, and its number of tokens.
fn sum_log_ratio(at: &Model<'_>, sequence: usize) -> (f64, usize) {
    let (mut sum, mut tokens) = (0.0, 0);
    for row in at.problem.sequence(sequence) {
        if at.problem.target(row).is_some() {
            sum += at.finite_log_p(row) - finite(at.problem.ref_log_p(row));
            tokens += 1;
        }
    }
    (sum, tokens)
}
