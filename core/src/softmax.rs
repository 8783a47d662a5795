//! The same kernels without a loss: log-softmax, log-sum-exp, log-probabilities of the targets, entropy.

use fearless_simd::Level;

use crate::batch::Batch;
use crate::element::Element;
use crate::error::{Argument, Error, check_len};
use crate::loss::{Loss, Outputs, Workspace};
use crate::matrix::{Logits, LogitsMut, Matrix, default_level};
use crate::objective::Sft;
use crate::report::{LossReport, Totals};
use crate::rows::{Ask, First, Halves, Item, Pass, Rows, Scratch};
use crate::stats::Softmax as RowSoftmax;

/// The functions of this module at a given SIMD level. They are free functions too, at the best level that can be known.
#[derive(Clone, Copy, Debug)]
pub struct Softmax {
    level: Level,
}

impl Default for Softmax {
    fn default() -> Self {
        Self::at(default_level())
    }
}

impl Softmax {
    /// At this level (tests, and `no_std` callers that detected it themselves).
    #[must_use]
    pub const fn at(level: Level) -> Self {
        Self { level }
    }

    /// See [`log_softmax`].
    ///
    /// # Errors
    /// See there.
    pub fn log_softmax<T: Element, G: Element>(
        self,
        logits: Logits<'_, T>,
        out: LogitsMut<'_, G>,
    ) -> Result<(), Error> {
        logits.shape.check_same(Argument::Output, out.shape)?;
        self.log_softmax_of(Matrix::split(logits, out))
    }

    /// See [`log_softmax_in_place`].
    ///
    /// # Errors
    /// See there.
    pub fn log_softmax_in_place<T: Element>(self, logits: LogitsMut<'_, T>) -> Result<(), Error> {
        self.log_softmax_of(Matrix::in_place(logits))
    }

    fn log_softmax_of(self, matrix: Matrix<'_>) -> Result<(), Error> {
        matrix.shape().check_whole()?;
        let second = |item: Item<'_, '_>, (): &mut (), _: &mut Totals| {
            let softmax = item.softmax;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "rounds to nearest; the maximum is an f32"
            )]
            item.second.log_probs(softmax.stats.max as f32, softmax.ln_sum as f32);
        };
        let rows = Rows::new(0, matrix, Outputs::new(), self.level);
        rows.each(&Scratch::none(), &mut (), &softmaxes(Ask::SOFTMAX, second));
        Ok(())
    }

    /// See [`log_sum_exp`].
    ///
    /// # Errors
    /// See there.
    pub fn log_sum_exp<T: Element>(
        self,
        logits: Logits<'_, T>,
        out: &mut [f32],
    ) -> Result<(), Error> {
        self.per_row(Matrix::read(logits), out, Ask::SOFTMAX, RowSoftmax::log_sum_exp)
    }

    /// See [`entropy`].
    ///
    /// # Errors
    /// See there.
    pub fn entropy<T: Element>(self, logits: Logits<'_, T>, out: &mut [f32]) -> Result<(), Error> {
        let ask = Ask { moments: true, ..Ask::SOFTMAX };
        self.per_row(Matrix::read(logits), out, ask, RowSoftmax::entropy)
    }

    fn per_row(
        self,
        matrix: Matrix<'_>,
        out: &mut [f32],
        ask: Ask<'_>,
        value: fn(&RowSoftmax) -> f64,
    ) -> Result<(), Error> {
        matrix.shape().check_whole()?;
        check_len(Argument::Output, out.len(), matrix.shape().rows)?;
        // `nll` is merely the slot that carries one f32 a row through the tree.
        let outputs = Outputs::new().nll(out);
        let second = |item: Item<'_, '_>, (): &mut (), _: &mut Totals| {
            let value = value(item.softmax);
            #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
            item.outputs.put_nll(item.local, value as f32);
        };
        let rows = Rows::new(0, matrix, outputs, self.level);
        rows.each(&Scratch::none(), &mut (), &softmaxes(ask, second));
        Ok(())
    }

    /// See [`token_log_probs`].
    ///
    /// # Errors
    /// See there.
    pub fn token_log_probs<T: Element>(
        self,
        logits: Logits<'_, T>,
        batch: &Batch<'_>,
        out: &mut [f32],
    ) -> Result<LossReport, Error> {
        let outputs = Outputs::new().log_probs(out);
        Loss::new(Sft).level(self.level).forward_with(logits, batch, outputs, Workspace::none())
    }
}

/// A pass over all rows that wants their softmaxes, of all classes alike.
fn softmaxes<'a>(
    ask: Ask<'a>,
    second: impl Fn(Item<'_, '_>, &mut (), &mut Totals) + Sync + 'a,
) -> impl Pass<()> + 'a {
    let active = |_| true;
    Halves { active, target: |_| None, first: First::Ask(ask), wants_softmax: true, second }
}

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
pub fn log_softmax<T: Element, G: Element>(
    logits: Logits<'_, T>,
    out: LogitsMut<'_, G>,
) -> Result<(), Error> {
    Softmax::default().log_softmax(logits, out)
}

/// As [`log_softmax`], over the logits themselves.
///
/// # Errors
/// [`Error::NeedsWholeRows`] for a vocabulary shard.
pub fn log_softmax_in_place<T: Element>(logits: LogitsMut<'_, T>) -> Result<(), Error> {
    Softmax::default().log_softmax_in_place(logits)
}

/// ln Σ exp(z) of every row, in nats; `out` has one entry a row.
///
/// Rounded once from f64. A row with NaN or +inf, or without a finite logit, is NaN.
///
/// # Errors
/// [`Error::Length`]; [`Error::NeedsWholeRows`] for a vocabulary shard.
pub fn log_sum_exp<T: Element>(logits: Logits<'_, T>, out: &mut [f32]) -> Result<(), Error> {
    Softmax::default().log_sum_exp(logits, out)
}

/// Entropy −Σ p ln p of every row, in nats; `out` has one entry a row. Walks over each row twice, with two exponentials for each class.
///
/// A class of probability 0 adds 0. A row with NaN or +inf, or without a finite logit, is NaN.
///
/// # Errors
/// [`Error::Length`]; [`Error::NeedsWholeRows`] for a vocabulary shard.
pub fn entropy<T: Element>(logits: Logits<'_, T>, out: &mut [f32]) -> Result<(), Error> {
    Softmax::default().entropy(logits, out)
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
    Softmax::default().token_log_probs(logits, batch, out)
}
