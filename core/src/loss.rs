//! `Loss` composes the three stages: statistics, objective, gradient. In one pass over the logits where the objective's scope allows it.

use crate::batch::Batch;
use crate::element::{Element, GradientOf};
use crate::error::{Argument, Error, check_len};
use crate::extras::{Extras, ExtrasScale};
use crate::objective::{Objective, Scope, TokenTerm};
use crate::outputs::Outputs;
use crate::passes;
use crate::reduction::{LossReport, Reduction};
use crate::rows::{Matrix, Rows};
use crate::scratch::Scratch;
use crate::stats::RowStats;
use crate::term::Context;
use crate::view::{Logits, LogitsMut};

/// What to compute: an objective, a reduction, and the dense extras.
///
/// # Shapes
/// Logits and `dlogits` are `[rows × vocab]`, each with its own row stride; everything in [`Batch`] and [`Outputs`] has one entry a row.
///
/// # Formula
/// `dlogits[j] = coef · (p[j] − [j = target])` per row, with `coef = −∂loss/∂ln p` of the objective, token weight and reduction included;
/// the dense extras are folded into the same pass (their formula stands at [`Loss::label_smoothing`]).
///
/// # Accuracy
/// Against f64 on the same inputs: −ln p within 2e-7 relative + 2e-7, at any common offset of the logits; an f32 gradient entry within
/// `2^-23 · (2 + |z_j − max|) · coef · p_j` plus the smallest normal times max(1, coef·scale); the target's entry within 4e-7·coef; 16-bit
/// gradients are rounded once. coef here is the one computed: where it is steep in ln p, the error of ln p moves it. Label smoothing adds
/// 1.5·2^-23 of its uniform part; a soft-cap adds the rounding of the capped logit and its slope, `2^-23 · (8 + 4·cap)` of an entry. A
/// coefficient beyond the range of f32 saturates.
///
/// Same bits for any number of threads, any cut of the rows, in place or not, and on every SIMD level that has FMA.
///
/// # Special values
/// | row | loss | gradient |
/// |---|---|---|
/// | ignored | 0, counts nowhere | exactly 0; its logits are not read |
/// | all −inf, any NaN, any +inf | NaN; the report names the first | NaN |
/// | target −inf, others finite | +∞, or 0 where the objective's weight vanishes (DFT) | finite (infinite for a KL term without clamp: GRPO's K2, K3) |
///
/// With a soft-cap an infinite logit is capped like any other.
///
/// # Errors
/// Everything is checked before the first write; see [`Error`].
///
/// ```
/// use surprisal::{Batch, Logits, LogitsMut, Loss, Reduction, objective::Dft};
///
/// let z = [2.0_f32, 0.0, 0.0, 0.0, 1.0, 3.0];
/// let mut dz = [0.0_f32; 6];
/// let loss = Loss::new(Dft).reduction(Reduction::MeanTokens);
/// let batch = Batch::new(&[0, -100]).ignore_index(-100);
/// let report =
///     loss.forward_backward(Logits::new(&z, 2, 3)?, &batch, LogitsMut::new(&mut dz, 2, 3)?)?;
/// assert_eq!((report.tokens, &dz[3..]), (1, &[0.0; 3][..]));
/// # Ok::<(), surprisal::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Loss<'a, O> {
    objective: O,
    reduction: Reduction,
    extras: Extras<'a>,
}

impl<'a, O: Objective> Loss<'a, O> {
    /// This objective, reduced by [`Reduction::MeanTokens`], without extras.
    pub fn new(objective: O) -> Self {
        Self { objective, reduction: Reduction::default(), extras: Extras::NONE }
    }

    /// How token losses become one number.
    #[must_use]
    pub fn reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Label smoothing ε in \[0, 1\]: `(1−ε)·w_t·ℓ + ε/V·Σ_j w_j·(−ln p_j)`, uniform over all classes, as PyTorch.
    #[must_use]
    pub fn label_smoothing(mut self, epsilon: f32) -> Self {
        self.extras.label_smoothing = epsilon;
        self
    }

    /// z-loss: adds `c·lse²` per token (`PaLM`), times the token weight, not the class weight.
    #[must_use]
    pub fn z_loss(mut self, c: f32) -> Self {
        self.extras.z_loss = c;
        self
    }

    /// Multiplies the logits before everything else; 1/T for a temperature T. The gradient is with respect to the raw logits. A row whose
    /// largest logit leaves the range of f32 when scaled counts as one with an infinity.
    #[must_use]
    pub fn logit_scale(mut self, scale: f32) -> Self {
        self.extras.logit_scale = scale;
        self
    }

    /// Soft-cap: `cap·tanh(scale·z/cap)` in place of `scale·z`.
    #[must_use]
    pub fn softcap(mut self, cap: f32) -> Self {
        self.extras.softcap = Some(cap);
        self
    }

    /// Weight of each class of the whole vocabulary, ≥ 0 and finite (PyTorch's `weight`).
    #[must_use]
    pub fn class_weights(mut self, weights: &'a [f32]) -> Self {
        self.extras.class_weights = Some(weights);
        self
    }

    /// What multiplies label smoothing and z-loss besides the token weight.
    #[must_use]
    pub fn extras_scale(mut self, scale: ExtrasScale) -> Self {
        self.extras.scale = scale;
        self
    }

    /// The objective.
    pub fn objective(&self) -> &O {
        &self.objective
    }

    pub(crate) fn extras(&self) -> &Extras<'a> {
        &self.extras
    }

    /// Everything that was chosen, for the oracle.
    #[cfg(feature = "reference")]
    pub(crate) fn parts(&self) -> (&O, Reduction, &Extras<'a>) {
        (&self.objective, self.reduction, &self.extras)
    }

    /// Loss only.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn forward<T: Element>(
        &self,
        logits: Logits<'_, T>,
        batch: &Batch<'_>,
    ) -> Result<LossReport, Error> {
        self.forward_with(logits, batch, Outputs::new())
    }

    /// Loss only, with per-token outputs or a workspace.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn forward_with<T: Element>(
        &self,
        logits: Logits<'_, T>,
        batch: &Batch<'_>,
        outputs: Outputs<'_>,
    ) -> Result<LossReport, Error> {
        self.compose::<T, T>(Matrix::Read(logits), batch, outputs)
    }

    /// Loss, and its gradient into `dlogits`, in the logits' type or in another (f32).
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn forward_backward<T: Element, G: GradientOf<T>>(
        &self,
        logits: Logits<'_, T>,
        batch: &Batch<'_>,
        dlogits: LogitsMut<'_, G>,
    ) -> Result<LossReport, Error> {
        self.forward_backward_with(logits, batch, dlogits, Outputs::new())
    }

    /// As [`Loss::forward_backward`], with per-token outputs or a workspace.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn forward_backward_with<T: Element, G: GradientOf<T>>(
        &self,
        logits: Logits<'_, T>,
        batch: &Batch<'_>,
        dlogits: LogitsMut<'_, G>,
        outputs: Outputs<'_>,
    ) -> Result<LossReport, Error> {
        logits.shape.check_same(Argument::Dlogits, dlogits.shape)?;
        self.compose(Matrix::Split(logits, dlogits), batch, outputs)
    }

    /// Loss, and its gradient over the logits themselves.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn forward_backward_in_place<T: Element>(
        &self,
        logits: LogitsMut<'_, T>,
        batch: &Batch<'_>,
    ) -> Result<LossReport, Error> {
        self.forward_backward_in_place_with(logits, batch, Outputs::new())
    }

    /// As [`Loss::forward_backward_in_place`], with per-token outputs or a workspace.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn forward_backward_in_place_with<T: Element>(
        &self,
        logits: LogitsMut<'_, T>,
        batch: &Batch<'_>,
        outputs: Outputs<'_>,
    ) -> Result<LossReport, Error> {
        self.compose::<T, T>(Matrix::InPlace(logits), batch, outputs)
    }

    /// Stage 1 by itself: statistics of every row, of whole rows or of a vocabulary shard ([`Logits::shard`]).
    ///
    /// A target outside the shard contributes 0 to `target_logit`. Merge the shards with [`RowStats::merge`].
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn row_stats<T: Element>(
        &self,
        logits: Logits<'_, T>,
        batch: &Batch<'_>,
        stats: &mut [RowStats],
    ) -> Result<(), Error> {
        let context = self.check(&logits, batch)?;
        let outputs = Outputs::new().stats(stats);
        outputs.check(logits.rows(), logits.vocab())?;
        passes::stats(&context, logits, outputs);
        Ok(())
    }

    /// Stage 2 by itself: the group pass, the denominators and the term of every row, from (merged) statistics.
    ///
    /// # Errors
    /// See [`Loss`]; `stats` and `terms` have one entry a row.
    pub fn token_terms(
        &self,
        stats: &[RowStats],
        batch: &Batch<'_>,
        vocab_total: usize,
        terms: &mut [TokenTerm],
    ) -> Result<LossReport, Error> {
        let context = self.check_batch(batch, stats.len(), vocab_total)?;
        check_len(Argument::Terms, terms.len(), stats.len())?;
        if self.objective.scope() != Scope::Token {
            batch.check_whole()?;
        }
        Ok(passes::terms(&context, stats, terms, None))
    }

    /// Stage 3 by itself: the gradient of the rows, or of a shard of them, from merged statistics and terms.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn logits_grad<T: Element, G: GradientOf<T>>(
        &self,
        logits: Logits<'_, T>,
        batch: &Batch<'_>,
        stats: &[RowStats],
        terms: &[TokenTerm],
        dlogits: LogitsMut<'_, G>,
    ) -> Result<(), Error> {
        logits.shape.check_same(Argument::Dlogits, dlogits.shape)?;
        self.grad(Matrix::Split(logits, dlogits), batch, stats, terms)
    }

    /// As [`Loss::logits_grad`], over the logits themselves.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn logits_grad_in_place<T: Element>(
        &self,
        logits: LogitsMut<'_, T>,
        batch: &Batch<'_>,
        stats: &[RowStats],
        terms: &[TokenTerm],
    ) -> Result<(), Error> {
        self.grad::<T, T>(Matrix::InPlace(logits), batch, stats, terms)
    }

    /// Checks everything but outputs and workspace.
    fn check<'c, T: Element>(
        &'c self,
        logits: &Logits<'_, T>,
        batch: &'c Batch<'c>,
    ) -> Result<Context<'c, O>, Error> {
        self.check_batch(batch, logits.rows(), logits.shape.vocab_total)
    }

    /// Checks everything that can be checked without logits.
    pub(crate) fn check_batch<'c>(
        &'c self,
        batch: &'c Batch<'c>,
        rows: usize,
        vocab_total: usize,
    ) -> Result<Context<'c, O>, Error> {
        if vocab_total == 0 {
            return Err(Error::EmptyVocab);
        }
        self.objective.check()?;
        self.extras.check(vocab_total)?;
        if let Some(&missing) = self.objective.inputs().iter().find(|&&input| !batch.has(input)) {
            return Err(Error::Missing(missing));
        }
        self.reduction.check(&self.objective, batch)?;
        batch.check(rows, vocab_total)?;
        Ok(Context::new(&self.objective, self.reduction, self.extras, batch, vocab_total))
    }

    /// All stages over whole rows.
    fn compose<T: Element, G: GradientOf<T>>(
        &self,
        matrix: Matrix<'_, T, G>,
        batch: &Batch<'_>,
        mut outputs: Outputs<'_>,
    ) -> Result<LossReport, Error> {
        let logits = matrix.logits();
        logits.shape.check_whole()?;
        let context = self.check(&logits, batch)?;
        outputs.check(logits.rows(), logits.vocab())?;
        if self.objective.scope() == Scope::Token {
            let scratch = outputs.scratch.take().unwrap_or_default();
            let scratch = Scratch::new(scratch, logits.vocab());
            let rows = Rows::new(batch.range().start, matrix, outputs);
            Ok(passes::fused(&context, rows, &scratch))
        } else {
            batch.check_whole()?;
            passes::grouped(&context, matrix, outputs)
        }
    }

    /// Stage 3 over a matrix.
    fn grad<T: Element, G: GradientOf<T>>(
        &self,
        matrix: Matrix<'_, T, G>,
        batch: &Batch<'_>,
        stats: &[RowStats],
        terms: &[TokenTerm],
    ) -> Result<(), Error> {
        let context = self.check(&matrix.logits(), batch)?;
        check_len(Argument::Stats, stats.len(), batch.range().len())?;
        check_len(Argument::Terms, terms.len(), batch.range().len())?;
        passes::grad(&context, matrix, stats, terms);
        Ok(())
    }
}
