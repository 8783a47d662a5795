//! The loss of a batch and its gradient: rows, extras and denominators put together.

use super::group::Shared;
use super::number::times;
use super::problem::{Model, Problem};
use super::row::Softmax;
use super::token::{Token, coef, loss};
use crate::loss::ExtrasScale;
use crate::reduction::Reduction;
use crate::report::LossReport;

/// A loss beyond 1e200 is infinite, by the rule of `Loss`.
fn infinite_if_large(loss: f64) -> f64 {
    if libm::fabs(loss) > 1e200 { libm::copysign(f64::INFINITY, loss) } else { loss }
}

/// A row that takes part.
#[derive(Clone, Copy, Debug)]
struct Member {
    row: usize,
    target: usize,
    token: Token,
    /// What the reduction divides this row's loss by; 0 where nothing has weight.
    divisor: f64,
}

/// The loss at `logits` with everything detached at `at`, and its gradient at `at` where there is somewhere to write it.
pub(super) fn evaluate(
    problem: &Problem<'_>,
    logits: &[f64],
    at: &[f64],
    mut dlogits: Option<&mut [f64]>,
) -> LossReport {
    let (model, at) = (problem.at(logits), problem.at(at));
    let mut report =
        LossReport { tau: Shared::of_batch(&at).found_tau(&at), ..LossReport::default() };
    if let Some(dlogits) = &mut dlogits {
        dlogits.fill(0.0);
    }
    each_member(&at, |member| {
        count(&model, &member, &mut report);
        if let Some(dlogits) = &mut dlogits {
            let out = dlogits.get_mut(problem.columns(member.row)).unwrap_or_default();
            row_gradient(&at, &member, out);
        }
    });
    report
}

/// Calls `f` for every row that takes part, in order.
fn each_member(at: &Model<'_>, mut f: impl FnMut(Member)) {
    let problem = at.problem;
    let batch = Shared::of_batch(at);
    let whole = batch_divisor(at, &batch);
    for sequence in 0..problem.sequences() {
        let shared = batch.of_sequence(at, sequence);
        let divisor = match problem.reduction {
            Reduction::MeanSequences => whole * tokens_in(at, &batch, sequence) as f64,
            _ => whole,
        };
        for row in problem.sequence(sequence) {
            if let Some(target) = problem.target(row)
                && shared.takes_part(at, sequence, row)
            {
                f(Member { row, target, token: shared.token(at, row), divisor });
            }
        }
    }
}

/// The denominator of a reduction; of the mean over sequences, the number of sequences that have tokens.
fn batch_divisor(at: &Model<'_>, batch: &Shared) -> f64 {
    let problem = at.problem;
    let sequences = 0..problem.sequences();
    match problem.reduction {
        Reduction::Sum => 1.0,
        Reduction::By(divisor) => divisor,
        Reduction::MeanPairs => problem.batch.pairs.map_or(0, <[_]>::len) as f64,
        Reduction::MeanTokens => {
            sequences.map(|sequence| tokens_in(at, batch, sequence)).sum::<usize>() as f64
        }
        Reduction::MeanSequences => {
            sequences.filter(|&sequence| tokens_in(at, batch, sequence) > 0).count() as f64
        }
        Reduction::MeanWeights => {
            let mut sum = 0.0;
            for sequence in sequences {
                for row in problem.sequence(sequence) {
                    if batch.takes_part(at, sequence, row) {
                        sum += caller_weight(problem, row);
                    }
                }
            }
            sum
        }
    }
}

/// Rows of a sequence that take part.
fn tokens_in(at: &Model<'_>, batch: &Shared, sequence: usize) -> usize {
    let rows = at.problem.sequence(sequence);
    rows.filter(|&row| batch.takes_part(at, sequence, row)).count()
}

/// Token weight · class weight of the target.
fn caller_weight(problem: &Problem<'_>, row: usize) -> f64 {
    let class = problem.target(row).map_or(0.0, |target| problem.class_weight(target));
    problem.token_weight(row) * class
}

/// Adds a row to the report.
fn count(model: &Model<'_>, member: &Member, report: &mut LossReport) {
    let row = model.row(member.row);
    let softmax = row.softmax();
    let target_logit = row.logit(member.target);
    let loss = row_loss(model, member, &softmax);
    if member.divisor > 0.0 {
        report.loss += loss / member.divisor;
    }
    report.loss_sum += loss;
    report.nll_sum -= row.chosen(member.target).log_p;
    report.weight_sum += caller_weight(model.problem, member.row);
    report.tokens += 1;
    if target_logit == softmax.max {
        report.correct += 1;
    }
    if !softmax.is_valid() && report.invalid_row.is_none() {
        report.invalid_row = Some(member.row);
    }
}

/// u·( w_t·(1−ε)·ℓ(ln p_t) + x·( ε/V · Σ_j w_j·(−ln p_j) + c·lse² ) )
fn row_loss(model: &Model<'_>, member: &Member, softmax: &Softmax) -> f64 {
    if !softmax.is_valid() {
        return f64::NAN;
    }
    let problem = model.problem;
    let row = model.row(member.row);
    let log_p = row.chosen(member.target).log_p;
    let objective = infinite_if_large(loss(problem.objective, &member.token, log_p));

    let mut dense = 0.0;
    if problem.extras.label_smoothing > 0.0 {
        let mut sum = 0.0;
        for class in 0..problem.vocab {
            sum += times(problem.class_weight(class), -softmax.log_p(row.logit(class)));
        }
        dense += smoothing(problem) / problem.vocab as f64 * sum;
    }
    if problem.extras.z_loss > 0.0 {
        let lse = softmax.log_sum_exp();
        dense += f64::from(problem.extras.z_loss) * lse * lse;
    }
    let objective = times(objective_weight(problem, member.target), objective);
    let loss = objective + times(dense_weight(problem, member), dense);
    infinite_if_large(times(problem.token_weight(member.row), loss))
}

/// ∂/∂z_j: slope_j · u/N · ( w_t·(1−ε)·c·(p_j − [j = t]) + x·( ε/V·(p_j·Σw − w_j) + 2c·lse·p_j ) )
fn row_gradient(at: &Model<'_>, member: &Member, out: &mut [f64]) {
    let problem = at.problem;
    let row = at.row(member.row);
    let softmax = row.softmax();
    if !softmax.is_valid() {
        out.fill(f64::NAN);
        return;
    }
    let weight = problem.token_weight(member.row) * f64::from(problem.extras.grad_scale);
    let scale = if member.divisor > 0.0 { weight / member.divisor } else { 0.0 };
    let weight = scale * objective_weight(problem, member.target);
    let coef = times(weight, coef(problem.objective, &member.token));
    let dense = times(scale, dense_weight(problem, member));
    let smoothing = smoothing(problem) / problem.vocab as f64;
    let class_weights: f64 = (0..problem.vocab).map(|class| problem.class_weight(class)).sum();
    let z_loss = f64::from(problem.extras.z_loss);
    // A coefficient that nobody knows, because another row of the sequence or batch has no softmax. What p it would multiply does not matter.
    let has_extras = smoothing * class_weights > 0.0 || z_loss > 0.0;
    if coef.is_nan() || (has_extras && dense.is_nan()) {
        out.fill(f64::NAN);
        return;
    }

    for (class, out) in out.iter_mut().enumerate() {
        let log_p = softmax.log_p(row.logit(class));
        let p = libm::exp(log_p);
        let p_minus_onehot = if class == member.target { -row.chosen(class).miss } else { p };
        let smoothed = smoothing * (p * class_weights - problem.class_weight(class));
        let squared = 2.0 * z_loss * softmax.log_sum_exp() * p;
        let inner = times(p_minus_onehot, coef) + times(smoothed + squared, dense);
        *out = times(row.slope(class), inner);
    }
}

/// ε.
fn smoothing(problem: &Problem<'_>) -> f64 {
    f64::from(problem.extras.label_smoothing)
}

/// w_t·(1−ε): what multiplies the objective.
fn objective_weight(problem: &Problem<'_>, target: usize) -> f64 {
    problem.class_weight(target) * (1.0 - smoothing(problem))
}

/// x: what multiplies the dense extras.
fn dense_weight(problem: &Problem<'_>, member: &Member) -> f64 {
    match problem.extras.scale {
        ExtrasScale::One => 1.0,
        ExtrasScale::Objective => coef(problem.objective, &member.token),
    }
}
