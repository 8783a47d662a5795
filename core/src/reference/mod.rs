//! The f64 oracle: the whole loss in plain loops and hand-derived formulas, and a gradient checker.
//!
//! It shares nothing with the fast path but its data types and input checks: neither kernels nor statistics nor objectives
//! nor denominators. Test your own kernels against it. It is `no_std`, allocates nothing, and recomputes what it would have to store: cost is
//! O(rows · vocab), with more walks over the rows where an objective needs a median or a rank.
//!
//! Logits and gradients are contiguous `[rows × vocab]` in f64; to compare with 16-bit or f32 logits, widen those.
//!
//! # Special values
//! Those of [`Loss`]. Where a row without a softmax (NaN) meets others of its sequence or batch, sums over them are NaN, and in medians
//! and ranks it counts as the largest loss.

mod check;
mod evaluate;
mod group;
mod number;
mod policy;
mod problem;
mod row;
#[cfg(test)]
mod tests;
mod token;

pub use check::{GradientCheck, check_gradient};
pub use row::{entropy, log_prob, log_softmax, log_sum_exp, nll};

use crate::batch::Batch;
use crate::error::{Argument, Error};
use crate::loss::{ExtrasScale, Loss};
use crate::objective::Builtin;
use crate::report::LossReport;

use evaluate::evaluate;
use problem::Problem;

/// The reduced loss of logits `[rows × vocab]`.
///
/// # Formula
/// With z' the transformed logits, u the token weight, w the class weights, ε the label smoothing, c the z-loss, ℓ the objective, and N the
/// reduction's denominator: Σ over the rows that take part of
/// `u/N · ( w_t·(1−ε)·ℓ(ln p_t) + x·( ε/V · Σ_j w_j·(−ln p_j) + c·lse² ) )`.
///
/// # Errors
/// Those of [`Loss`], but no workspace is needed; [`Error::Length`] where `logits` has not `rows · vocab` elements.
///
/// ```
/// use surprisal::{Batch, Loss, objective::{Builtin, Sft}, reference};
///
/// let loss = Loss::new(Builtin::from(Sft));
/// let report = reference::forward(&loss, &[0.0; 4], 2, 2, &Batch::new(&[0, 1]))?;
/// assert_eq!((report.loss, report.tokens), (2.0_f64.ln(), 2));
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn forward(
    loss: &Loss<'_, Builtin>,
    logits: &[f64],
    rows: usize,
    vocab: usize,
    batch: &Batch<'_>,
) -> Result<LossReport, Error> {
    let problem = Problem::new(loss, rows, vocab, batch)?;
    problem.check_matrix(Argument::Logits, logits.len())?;
    Ok(evaluate(&problem, logits, logits, None))
}

/// The reduced loss, and its gradient with respect to the raw logits into `dlogits`, both `[rows × vocab]`.
///
/// # Formula
/// With c_t = −∂ℓ/∂ln p_t written out by hand for each objective, z'(z) the logit scale and soft-cap, and g the gradient scale:
/// `dlogits[j] = ∂z'_j/∂z_j · g·u/N · ( w_t·(1−ε)·c_t·(p_j − [j = t]) + x·( ε/V·(p_j·Σw − w_j) + 2c·lse·p_j ) )`.
///
/// # Errors
/// Those of [`forward`]; nothing is written then.
///
/// ```
/// use surprisal::{Batch, Loss, objective::{Builtin, Dft}, reference};
///
/// // p = 1/2, so DFT's coefficient is 1/2 and the gradient ½·(½ − 1), ½·½.
/// let mut dlogits = [0.0; 2];
/// let loss = Loss::new(Builtin::from(Dft));
/// reference::forward_backward(&loss, &[0.0; 2], 1, 2, &Batch::new(&[0]), &mut dlogits)?;
/// assert!((dlogits[0] + 0.25).abs() < 1e-15 && (dlogits[1] - 0.25).abs() < 1e-15);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn forward_backward(
    loss: &Loss<'_, Builtin>,
    logits: &[f64],
    rows: usize,
    vocab: usize,
    batch: &Batch<'_>,
    dlogits: &mut [f64],
) -> Result<LossReport, Error> {
    let problem = Problem::new(loss, rows, vocab, batch)?;
    problem.check_matrix(Argument::Logits, logits.len())?;
    problem.check_matrix(Argument::Dlogits, dlogits.len())?;
    Ok(evaluate(&problem, logits, logits, Some(dlogits)))
}

/// The reduced loss as a function of `logits` alone, with all that is detached held at its value at `at`; both `[rows × vocab]`.
///
/// Held are stop-gradient weights, automatic temperatures, weights of sequences, selections (so also the denominators), and
/// the scale of the extras ([`ExtrasScale::Objective`]). At `logits == at` its value is the loss of [`forward`] and its true gradient that of
/// [`forward_backward`], so finite differences check every objective, detached or not.
///
/// # Formula
/// GSPO has its token form: the ratio of a token is s(at)·p/p(at). DPO is its own function of `logits` where all tokens weigh the
/// same (no token or class weights, extras scaled by one); else each token is linear in its ln p, with the pair's loss and coefficient held.
///
/// # Errors
/// Those of [`forward`].
///
/// ```
/// use surprisal::{Batch, Loss, objective::{Builtin, Dft}, reference};
///
/// let loss = Loss::new(Builtin::from(Dft));
/// let (z, batch, mut dz) = ([0.3, -0.2, 0.5], Batch::new(&[2]), [0.0; 3]);
/// reference::forward_backward(&loss, &z, 1, 3, &batch, &mut dz)?;
/// let f = |x: &[f64]| reference::surrogate(&loss, x, &z, 1, 3, &batch).unwrap_or(f64::NAN);
/// assert!(reference::check_gradient(f, &mut z.clone(), &dz, 1e-3).within(1e-10));
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn surrogate(
    loss: &Loss<'_, Builtin>,
    logits: &[f64],
    at: &[f64],
    rows: usize,
    vocab: usize,
    batch: &Batch<'_>,
) -> Result<f64, Error> {
    let problem = Problem::new(loss, rows, vocab, batch)?;
    problem.check_matrix(Argument::Logits, logits.len())?;
    problem.check_matrix(Argument::Logits, at.len())?;
    let at = if is_function_of_pairs(&problem) { logits } else { at };
    Ok(evaluate(&problem, logits, at, None).loss)
}

/// Whether nothing is detached in a loss of pairs.
fn is_function_of_pairs(problem: &Problem<'_>) -> bool {
    matches!(problem.objective, Builtin::Dpo(_))
        && problem.batch.token_weights.is_none()
        && problem.extras.class_weights.is_none()
        && problem.extras.scale == ExtrasScale::One
}
