//! `Loss` composes the three stages: statistics, objective, gradient. In one pass over the logits, unless the objective is a group objective.

pub(crate) mod context;
mod extras;
mod group;
mod order;
mod outputs;
mod passes;
mod workspace;

use fearless_simd::Level;

use crate::batch::Batch;
use crate::element::Element;
use crate::error::{Argument, Error, check_len};
use crate::matrix::{Logits, LogitsMut, Matrix, default_level};
use crate::objective::{Objective, TokenTerm};
use crate::reduction::{Denominator, Reduction};
use crate::report::LossReport;
use crate::stats::RowStats;

use context::Context;
pub(crate) use extras::Extras;
pub use extras::ExtrasScale;
pub use outputs::Outputs;
#[cfg(feature = "alloc")]
pub use workspace::OwnedWorkspace;
pub use workspace::{Workspace, WorkspaceLen};

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
/// Against f64 on the same inputs, relative to itself: −ln p, and every f32 entry of the gradient, within `2^-23 · (4 + |z_j − max|)`, z the
/// transformed logit of the target or of the entry's class, at any common offset of the logits; also where p is so near to 1 that 1 − p is 1e-12.
/// Entries below the smallest normal number times max(1, coef·scale) may be lost. 16-bit gradients are rounded once. A row without label
/// smoothing, z-loss and soft-cap sums to 0 within 1e-6 of its largest entry.
///
/// coef here is the one computed: where it is steep in ln p, the error of ln p moves it. Label smoothing adds 1.5·2^-23 of its uniform part; a
/// soft-cap adds the rounding of the capped logit and its slope: `2^-23 · (8 + 4·cap)` of −ln p, and 2·|scale·z/cap| more of an entry.
///
/// Same bits for any number of threads, any cut of the rows, in place or not, and on every SIMD level that has FMA.
///
/// # Special values
/// | row | loss | gradient |
/// |---|---|---|
/// | ignored | 0, counts nowhere | exactly 0; its logits are not read |
/// | all −inf, any NaN, any +inf | NaN; the report names the first | NaN |
/// | target −inf, others finite | +∞, or 0 where the objective's weight vanishes (DFT) | finite, or infinite with the objective's weight (GRPO's K2, K3) |
/// | weight 0 | 0, whatever it multiplies | 0, whatever it multiplies |
///
/// With a soft-cap an infinite logit is capped like any other. A token's loss beyond 1e200 is infinite.
///
/// # Cost
/// One exponential for each logit, and one reading and writing of the row while it is in cache; 16-bit gradients two exponentials, unless a
/// row of scratch is lent ([`Workspace::scratch`]) or rows are short. On request: the entropy another walk and another exponential
/// ([`Outputs::entropy`], [`Loss::with_moments`], objectives that ask for it), label smoothing another walk, a soft-cap two exponentials more, the
/// argmax a scalar walk. Checks look at every entry of the call's rows in targets and side inputs, and at the class weights.
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
    level: Level,
}

impl<'a, O: Objective> Loss<'a, O> {
    /// This objective with its own reduction ([`Objective::reduction`]: mostly the mean over the tokens), without extras.
    pub fn new(objective: O) -> Self {
        let reduction = objective.reduction();
        Self { objective, reduction, extras: Extras::NONE, level: default_level() }
    }

    /// Runs the kernels at a given SIMD level instead of the best one (tests, and `no_std` callers that detected it themselves).
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// The same loss, whose objective is borrowed: for callers that want one of their own.
    #[must_use]
    pub fn by_ref(&self) -> Loss<'a, &O> {
        let Self { ref objective, reduction, extras, level } = *self;
        Loss { objective, reduction, extras, level }
    }

    /// The SIMD level of the kernels.
    #[must_use]
    pub fn simd_level(&self) -> Level {
        self.level
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

    /// Multiplies the logits before everything else; 1/T for a temperature T. The gradient is with respect to the raw logits.
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

    /// Multiplies the gradient and nothing else: the factor of loss scaling (AMP), or a framework's upstream gradient. Applied before the
    /// gradient is rounded to its type, so that small f16 entries survive.
    #[must_use]
    pub fn grad_scale(mut self, factor: f32) -> Self {
        self.extras.grad_scale = factor;
        self
    }

    /// Statistics also hold what [`RowStats::entropy`] and [`RowStats::sum_squares`] are made of, also of shards. Another walk over each row,
    /// with a second exponential for each class; objectives that need it ask by themselves.
    #[must_use]
    pub fn with_moments(mut self) -> Self {
        self.extras.moments = true;
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
        self.forward_with(logits, batch, Outputs::new(), Workspace::none())
    }

    /// Loss only, with per-token outputs and a workspace.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn forward_with<T: Element>(
        &self,
        logits: Logits<'_, T>,
        batch: &Batch<'_>,
        outputs: Outputs<'_>,
        workspace: Workspace<'_>,
    ) -> Result<LossReport, Error> {
        self.compose(Matrix::read(logits), batch, outputs, workspace)
    }

    /// Loss, and its gradient into `dlogits`, in the logits' type or in any other.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn forward_backward<T: Element, G: Element>(
        &self,
        logits: Logits<'_, T>,
        batch: &Batch<'_>,
        dlogits: LogitsMut<'_, G>,
    ) -> Result<LossReport, Error> {
        self.forward_backward_with(logits, batch, dlogits, Outputs::new(), Workspace::none())
    }

    /// As [`Loss::forward_backward`], with per-token outputs and a workspace.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn forward_backward_with<T: Element, G: Element>(
        &self,
        logits: Logits<'_, T>,
        batch: &Batch<'_>,
        dlogits: LogitsMut<'_, G>,
        outputs: Outputs<'_>,
        workspace: Workspace<'_>,
    ) -> Result<LossReport, Error> {
        logits.shape.check_same(Argument::Dlogits, dlogits.shape)?;
        self.compose(Matrix::split(logits, dlogits), batch, outputs, workspace)
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
        self.forward_backward_in_place_with(logits, batch, Outputs::new(), Workspace::none())
    }

    /// As [`Loss::forward_backward_in_place`], with per-token outputs and a workspace.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn forward_backward_in_place_with<T: Element>(
        &self,
        logits: LogitsMut<'_, T>,
        batch: &Batch<'_>,
        outputs: Outputs<'_>,
        workspace: Workspace<'_>,
    ) -> Result<LossReport, Error> {
        self.compose(Matrix::in_place(logits), batch, outputs, workspace)
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
        self.row_stats_with(logits, batch, Outputs::new().stats(stats))
    }

    /// As [`Loss::row_stats`], with all per-token outputs that statistics tell; of a shard, those of the shard alone.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn row_stats_with<T: Element>(
        &self,
        logits: Logits<'_, T>,
        batch: &Batch<'_>,
        outputs: Outputs<'_>,
    ) -> Result<(), Error> {
        let matrix = Matrix::read(logits);
        let context = self.check(&matrix, batch)?;
        outputs.check(matrix.shape().rows)?;
        passes::stats(&context, matrix, outputs);
        Ok(())
    }

    /// Stage 2 by itself: the plan, the denominators and the term of every row, from (merged) statistics.
    ///
    /// `stats` and `terms` have one entry a row; of the workspace, [`Workspace::scalars`] serves group objectives, others need none.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn token_terms(
        &self,
        stats: &[RowStats],
        batch: &Batch<'_>,
        vocab_total: usize,
        terms: &mut [TokenTerm],
        workspace: Workspace<'_>,
    ) -> Result<LossReport, Error> {
        self.token_terms_with(stats, batch, vocab_total, terms, Outputs::new(), workspace)
    }

    /// As [`Loss::token_terms`], with the per-token outputs that are made of them: stats, terms, losses and weights.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn token_terms_with(
        &self,
        stats: &[RowStats],
        batch: &Batch<'_>,
        vocab_total: usize,
        terms: &mut [TokenTerm],
        outputs: Outputs<'_>,
        workspace: Workspace<'_>,
    ) -> Result<LossReport, Error> {
        batch.check_range()?;
        check_len(Argument::Stats, stats.len(), batch.range().len())?;
        let context = self.check_batch(batch, stats.len(), vocab_total)?;
        check_len(Argument::Terms, terms.len(), stats.len())?;
        outputs.check(stats.len())?;
        let Workspace { scalars, .. } = workspace;
        if self.objective.group_plan().is_some() {
            batch.check_whole()?;
            if scalars.len() < stats.len() {
                return Err(Error::Missing(Argument::Workspace));
            }
        }
        let scalars = scalars.get_mut(..stats.len()).unwrap_or_default();
        passes::terms_with(&context, stats, terms, scalars, outputs)
    }

    /// Counts the denominators of a whole batch once, for calls on ranges of its rows ([`Batch::denominator`]). Looks at every row's target and
    /// weight. `sequence_tokens`, an entry a sequence, is for `MeanSequences` alone.
    ///
    /// Group objectives need none: their terms hold it.
    ///
    /// # Errors
    /// See [`Loss`]; [`Error::Length`] where `MeanSequences` has not an entry a sequence.
    pub fn denominator<'d>(
        &self,
        batch: &Batch<'_>,
        sequence_tokens: &'d mut [u32],
    ) -> Result<Denominator<'d>, Error> {
        let batch = batch.whole()?;
        let vocab_total = self.extras.class_weights.map_or(usize::MAX, <[f32]>::len);
        let context = self.check_batch(&batch, batch.rows(), vocab_total)?;
        let counts = |row: usize| batch.target(row).is_some();
        context.denominator_of(&counts).with_sequences(&batch, &counts, sequence_tokens)
    }

    /// Checks loss and batch for a call of so many rows, all that can be checked without logits: for callers that have none yet.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn check_inputs(
        &self,
        batch: &Batch<'_>,
        rows: usize,
        vocab_total: usize,
    ) -> Result<(), Error> {
        self.check_batch(batch, rows, vocab_total).map(|_| ())
    }

    /// As [`Loss::check_inputs`] for a call that composes all stages; returns the denominators for calls on ranges of its rows.
    ///
    /// Unlike [`Loss::denominator`] it needs no room, and looks at the rows of the batch's own range alone: `MeanSequences` counts the tokens of a
    /// sequence when a call comes to it.
    ///
    /// ```
    /// use surprisal::{Batch, Logits, Loss, objective::Sft};
    ///
    /// // One row of logits at a time, each thrown away before the next.
    /// let (loss, batch) = (Loss::new(Sft), Batch::new(&[3, 1, 0]));
    /// let batch = batch.denominator(loss.prepare(&batch, 3, 4)?);
    /// let mut sum = 0.0;
    /// for row in 0..3 {
    ///     let z = [row as f32, 1.0, 2.0, 3.0];
    ///     sum += loss.forward(Logits::new(&z, 1, 4)?, &batch.row_range(row..row + 1))?.loss;
    /// }
    /// assert!((sum - 1.5202).abs() < 1e-4);
    /// # Ok::<(), surprisal::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn prepare<'b>(
        &self,
        batch: &Batch<'b>,
        rows: usize,
        vocab_total: usize,
    ) -> Result<Denominator<'b>, Error> {
        let context = self.check_batch(batch, rows, vocab_total)?;
        if self.objective.group_plan().is_some() {
            batch.check_whole()?;
        }
        if batch.is_whole() {
            Ok(context.denominator_of(&|row| context.counts(row)))
        } else {
            Denominator::of_range(self.reduction, batch)
        }
    }

    /// Stage 3 by itself: the gradient of the rows, or of a shard of them, from merged statistics and terms.
    ///
    /// # Errors
    /// See [`Loss`].
    pub fn logits_grad<T: Element, G: Element>(
        &self,
        logits: Logits<'_, T>,
        batch: &Batch<'_>,
        stats: &[RowStats],
        terms: &[TokenTerm],
        dlogits: LogitsMut<'_, G>,
    ) -> Result<(), Error> {
        logits.shape.check_same(Argument::Dlogits, dlogits.shape)?;
        self.grad(Matrix::split(logits, dlogits), batch, stats, terms)
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
        self.grad(Matrix::in_place(logits), batch, stats, terms)
    }

    /// Checks everything but outputs and workspace.
    fn check<'c>(
        &'c self,
        matrix: &Matrix<'_>,
        batch: &'c Batch<'c>,
    ) -> Result<Context<'c, O>, Error> {
        self.check_batch(batch, matrix.shape().rows, matrix.shape().vocab_total)
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
        let (objective, reduction) = (&self.objective, self.reduction);
        let context =
            Context::new(objective, reduction, self.extras, batch, vocab_total, self.level)?;
        reduction.check(objective, batch)?;
        batch.check(rows, vocab_total)?;
        Ok(context)
    }

    /// All stages over whole rows.
    fn compose(
        &self,
        matrix: Matrix<'_>,
        batch: &Batch<'_>,
        outputs: Outputs<'_>,
        workspace: Workspace<'_>,
    ) -> Result<LossReport, Error> {
        let shape = matrix.shape();
        shape.check_whole()?;
        let context = self.check_batch(batch, shape.rows, shape.vocab_total)?;
        outputs.check(shape.rows)?;
        let grouped = self.objective.group_plan().is_some();
        workspace.check(shape.rows, shape.vocab, grouped)?;
        if grouped {
            batch.check_whole()?;
            passes::grouped(&context, matrix, outputs, workspace)
        } else {
            passes::fused(&context, matrix, outputs, workspace.scratch)
        }
    }

    /// Stage 3 over a matrix.
    fn grad(
        &self,
        matrix: Matrix<'_>,
        batch: &Batch<'_>,
        stats: &[RowStats],
        terms: &[TokenTerm],
    ) -> Result<(), Error> {
        let context = self.check(&matrix, batch)?;
        check_len(Argument::Stats, stats.len(), batch.range().len())?;
        check_len(Argument::Terms, terms.len(), batch.range().len())?;
        passes::grad(&context, matrix, stats, terms);
        Ok(())
    }
}
