//! What people look at while they fine-tune: how probable the targets are, and how much the weights concentrate.
//!
//! Everything here works on per-token outputs ([`Outputs`](crate::Outputs)) and skips ignored rows. Perplexity and bits per token stand in
//! [`LossReport`](crate::LossReport).

use crate::batch::Batch;
use crate::error::{Argument, Error, check_len, check_parameter};

/// Histogram of the targets' probabilities over equal bins of \[0, 1\] (DFT's figure 2): adds each token of `log_probs` to its bin.
///
/// Bin `i` of `n` holds `i/n ≤ p < (i+1)/n`; p = 1 falls in the last. NaN is not counted.
///
/// # Errors
/// [`Error::Length`] where `log_probs` has not one entry a row, or `bins` is empty.
///
/// ```
/// # use surprisal::{Batch, diagnose::histogram};
/// let mut bins = [0; 4];
/// histogram(&Batch::new(&[7, 7, -1]).ignore_index(-1), &[0.0, -3.0, -9.0], &mut bins)?;
/// assert_eq!(bins, [1, 0, 0, 1]);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn histogram(batch: &Batch<'_>, log_probs: &[f32], bins: &mut [u64]) -> Result<(), Error> {
    check_len(Argument::LogProbs, log_probs.len(), batch.range().len())?;
    let last = bins.len().checked_sub(1).ok_or(Error::Length {
        argument: Argument::Output,
        expected: 1,
        actual: 0,
    })?;
    for log_prob in of_active(batch, log_probs) {
        let p = probability(log_prob);
        if !p.is_nan() {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "p is in [0, 1]"
            )]
            let bin = (p * bins.len() as f64) as usize;
            if let Some(count) = bins.get_mut(bin.min(last)) {
                *count += 1;
            }
        }
    }
    Ok(())
}

/// Share of the tokens that are hard: p below `threshold` (TALR follows p > 0.2). 0 without tokens.
///
/// # Errors
/// [`Error::Length`]; [`Error::Parameter`] where the threshold is no probability.
pub fn hard_token_share(
    batch: &Batch<'_>,
    log_probs: &[f32],
    threshold: f64,
) -> Result<f64, Error> {
    check_len(Argument::LogProbs, log_probs.len(), batch.range().len())?;
    let allowed = (0.0..=1.0).contains(&threshold);
    check_parameter("threshold", threshold, allowed, "a probability")?;
    let (mut hard, mut tokens) = (0_usize, 0_usize);
    for log_prob in of_active(batch, log_probs) {
        hard += usize::from(probability(log_prob) < threshold);
        tokens += 1;
    }
    Ok(if tokens == 0 { 0.0 } else { hard as f64 / tokens as f64 })
}

/// Effective sample size of the tokens' weights: (Σw)²/Σw². The number of tokens where all weigh the same, 1 where one has all the weight, 0
/// without weight.
///
/// # Errors
/// [`Error::Length`].
pub fn effective_sample_size(batch: &Batch<'_>, weights: &[f32]) -> Result<f64, Error> {
    let (_, sum, squares) = moments(batch, weights)?;
    Ok(if squares == 0.0 { 0.0 } else { sum * sum / squares })
}

/// Second moment of the tokens' gradient weight: mean w². 0 without tokens.
///
/// # Errors
/// [`Error::Length`].
pub fn second_moment(batch: &Batch<'_>, weights: &[f32]) -> Result<f64, Error> {
    let (tokens, _, squares) = moments(batch, weights)?;
    Ok(if tokens == 0 { 0.0 } else { squares / tokens as f64 })
}

/// The entries of the call's rows that are not ignored.
fn of_active(batch: &Batch<'_>, values: &[f32]) -> impl Iterator<Item = f32> {
    let rows = batch.range().zip(values);
    rows.filter(|(row, _)| batch.target(*row).is_some()).map(|(_, value)| *value)
}

fn probability(log_prob: f32) -> f64 {
    libm::exp(f64::from(log_prob))
}

/// Tokens, Σw, Σw².
fn moments(batch: &Batch<'_>, weights: &[f32]) -> Result<(usize, f64, f64), Error> {
    check_len(Argument::Weights, weights.len(), batch.range().len())?;
    Ok(of_active(batch, weights).fold((0, 0.0, 0.0), |(tokens, sum, squares), w| {
        let w = f64::from(w);
        (tokens + 1, sum + w, squares + w * w)
    }))
}
