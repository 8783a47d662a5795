//! Conveniences over the same kernels: log-softmax, log-sum-exp, log-probabilities of the targets, entropy.

use crate::batch::Batch;
use crate::element::{Element, GradientOf};
use crate::entry;
use crate::error::{Argument, Error, check_len};
use crate::kernel::{self, LogitMap, Moments, Want};
use crate::loss::Loss;
use crate::objective::Sft;
use crate::outputs::Outputs;
use crate::reduction::{LossReport, Totals};
use crate::rows::{Matrix, Row, Rows};
use crate::scratch::Scratch;
use crate::term::stats_of;
use crate::view::{Logits, LogitsMut};

const IDENTITY: LogitMap = LogitMap { scale: 1.0, cap: None };

/// Log-probabilities of every class: `out[j] = (z[j] − max) − ln Σ exp(z − max)`, `[rows × vocab]`, in nats.
///
/// Within 2 ULP of the result plus 2e-7, whatever common offset the logits have. A row with NaN or +inf, or without a finite logit, is NaN; a
/// −inf among finite logits stays −inf.
///
/// # Errors
/// [`Error::Shape`]; [`Error::NeedsWholeRows`] for a vocabulary shard.
///
/// ```
/// use surprisal::{Logits, LogitsMut, log_softmax};
///
/// let (z, mut out) = ([1000.0_f32, 1000.0], [0.0_f32; 2]);
/// log_softmax(Logits::new(&z, 1, 2)?, LogitsMut::new(&mut out, 1, 2)?)?;
/// assert_eq!(out, [-core::f32::consts::LN_2; 2]);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn log_softmax<T: Element, G: GradientOf<T>>(
    logits: Logits<'_, T>,
    out: LogitsMut<'_, G>,
) -> Result<(), Error> {
    logits.shape.check_same(Argument::Output, out.shape)?;
    log_softmax_of(Matrix::Split(logits, out))
}

/// As [`log_softmax`], over the logits themselves.
///
/// # Errors
/// [`Error::NeedsWholeRows`] for a vocabulary shard.
pub fn log_softmax_in_place<T: Element>(logits: LogitsMut<'_, T>) -> Result<(), Error> {
    log_softmax_of::<T, T>(Matrix::InPlace(logits))
}

fn log_softmax_of<T: Element, G: GradientOf<T>>(matrix: Matrix<'_, T, G>) -> Result<(), Error> {
    matrix.logits().shape.check_whole()?;
    let level = matrix.level();
    let rows = Rows::new(0, matrix, Outputs::new());
    rows.run(&Scratch::none(), &mut (), &|rows, leaf, ()| {
        for local in leaf {
            let next = rows.after(local);
            let (Row::Write(mut row), _) = rows.row(local, next) else { continue };
            let sums = T::sums(level, row.read(), &IDENTITY);
            let stats = stats_of(&sums, Moments::NONE, None, &IDENTITY);
            #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
            let shift = stats.softmax().ln_sum_exp as f32;
            row.write_shifted(level, sums.pivot, shift);
            rows.keep_max(next, &sums);
        }
        Totals::default()
    });
    Ok(())
}

/// ln Σ exp(z) of every row, in nats; `out` has one entry a row.
///
/// Rounded once from f64. A row with NaN or +inf, or without a finite logit, is NaN.
///
/// # Errors
/// [`Error::Length`]; [`Error::NeedsWholeRows`] for a vocabulary shard.
pub fn log_sum_exp<T: Element>(logits: Logits<'_, T>, out: &mut [f32]) -> Result<(), Error> {
    per_row(logits, out, Want::default(), |stats| stats.log_sum_exp())
}

/// Entropy −Σ p ln p of every row, in nats; `out` has one entry a row.
///
/// A class of probability 0 adds 0. A row with NaN or +inf, or without a finite logit, is NaN.
///
/// # Errors
/// [`Error::Length`]; [`Error::NeedsWholeRows`] for a vocabulary shard.
pub fn entropy<T: Element>(logits: Logits<'_, T>, out: &mut [f32]) -> Result<(), Error> {
    let want = Want { sum_exp_logits: true, ..Want::default() };
    per_row(logits, out, want, |stats| stats.entropy())
}

fn per_row<T: Element>(
    logits: Logits<'_, T>,
    out: &mut [f32],
    want: Want<'_>,
    value: impl Fn(&crate::RowStats) -> f64 + Sync,
) -> Result<(), Error> {
    logits.shape.check_whole()?;
    check_len(Argument::Output, out.len(), logits.rows())?;
    // `nll` is merely the slot that carries one f32 a row through the tree.
    let outputs = Outputs::new().nll(out);
    let level = logits.level;
    let rows = Rows::<T, T>::new(0, Matrix::Read(logits), outputs);
    rows.run(&Scratch::none(), &mut (), &|rows, leaf, ()| {
        for local in leaf {
            let next = rows.after(local);
            let (row, outputs) = rows.row(local, next);
            let moments = kernel::moments(level, row.read(), &IDENTITY, want);
            let sums = T::sums(level, row.read(), &IDENTITY);
            let value = value(&stats_of(&sums, moments, None, &IDENTITY));
            if let Some(out) = &mut outputs.nll {
                #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
                let value = value as f32;
                entry::write(out, local, value);
            }
            rows.keep_max(next, &sums);
        }
        Totals::default()
    });
    Ok(())
}

/// ln p of every row's target, in nats; 0 on ignored rows. What policy and reference models are asked for.
///
/// The report is that of a plain [`Loss`] with [`Sft`].
///
/// # Errors
/// As [`Loss::forward`].
pub fn token_log_probs<T: Element>(
    logits: Logits<'_, T>,
    batch: &Batch<'_>,
    out: &mut [f32],
) -> Result<LossReport, Error> {
    Loss::new(Sft).forward_with(logits, batch, Outputs::new().log_probs(out))
}
