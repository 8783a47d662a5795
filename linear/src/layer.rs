//! `LinearLoss`: the output layer and its loss, as a caller sees them. Everything is checked here, before the first write.

use surprisal::objective::{Objective, TokenTerm};
use surprisal::{Argument, Batch, Loss, LossReport, Outputs, RowStats};

use crate::any::AnyMatrix;
use crate::error::{Error, check_shape};
use crate::gemm::{DefaultGemm, Gemm};
use crate::gradients::Gradients;
use crate::parallel::Machine;
use crate::pass::Pass;
use crate::products::Products;
use crate::workspace::{Memory, Scratch, Workspace};

/// A loss over the logits of an output layer, `z = H·Wᵀ + bias`, which are computed a chunk of rows at a time and never whole.
///
/// # Shapes
/// H `[rows × d]`, W `[vocab × d]`, bias `[vocab]`. Everything in [`Batch`] and [`Outputs`] has one entry a row, as without the layer; with
/// [`Batch::row_range`], H has the rows of the range.
///
/// # Formula
/// Loss and dz are those of [`Loss`] on these logits; `dH = dz·W`, `dW += dzᵀ·H`, `dbias += Σ_rows dz`.
///
/// # Cost
/// One product for the loss, one more for each of dH and dW, over the rows that are not ignored: those are gathered before the first product.
/// Group objectives compute logits twice if they do not fit into one chunk: statistics of all rows come before the first gradient.
///
/// # Accuracy
/// Logits are sums in f32, whatever the types of H and W, and never rounded to 16 bits; what follows has the accuracy of [`Loss`]. Sums over the
/// rows of a chunk are in f32 as the product makes them (those of dbias in f64), and added to dW and dbias in f32.
///
/// Where each entry of a product depends on nothing but its row and column (a plain loop; BLAS mostly), per-token outputs and dH have the same bits
/// for every size of chunks, and for any pattern of ignored rows. dW, dbias, and the sums of the report differ by the rounding of their partial
/// sums.
///
/// # Special values
/// Those of [`Loss`]: dH of an ignored row is exactly 0, and its hidden state is not read. A row without a softmax (NaN or +inf among its logits, or all
/// −inf) that the objective does not leave out makes its dH, and all of dW and dbias, NaN.
///
/// # Errors
/// Everything is checked before the first write; see [`Error`].
#[derive(Clone, Copy, Debug)]
pub struct LinearLoss<'a, O, M = DefaultGemm> {
    loss: Loss<'a, O>,
    weight: AnyMatrix<'a>,
    bias: Option<&'a [f32]>,
    gemm: M,
    /// First class, and classes of the whole vocabulary.
    shard: Option<(usize, usize)>,
}

#[cfg(feature = "gemm")]
impl<'a, O: Objective> LinearLoss<'a, O> {
    /// A loss over a layer of these weights, without a bias; products by [`DefaultGemm`].
    pub fn new(loss: Loss<'a, O>, weight: impl Into<AnyMatrix<'a>>) -> Self {
        Self::with_gemm(loss, weight, DefaultGemm)
    }
}

impl<'a, O: Objective, M: Gemm> LinearLoss<'a, O, M> {
    /// A loss over a layer of these weights, without a bias; products by a library of the caller's.
    pub fn with_gemm(loss: Loss<'a, O>, weight: impl Into<AnyMatrix<'a>>, gemm: M) -> Self {
        Self { loss, weight: weight.into(), bias: None, gemm, shard: None }
    }

    /// Adds a bias `[vocab]` to the logits.
    #[must_use]
    pub fn bias(mut self, bias: &'a [f32]) -> Self {
        self.bias = Some(bias);
        self
    }

    /// Says that the weights are the classes from `vocab_start` on of a vocabulary of `vocab_total`: for [`LinearLoss::row_stats`] and
    /// [`LinearLoss::backward`].
    #[must_use]
    pub fn shard(mut self, vocab_start: usize, vocab_total: usize) -> Self {
        self.shard = Some((vocab_start, vocab_total));
        self
    }

    /// What calls on so many rows want of memory.
    #[must_use]
    pub fn memory(&self, rows: usize) -> Memory {
        let converted = self.weight.as_f32().is_none();
        Memory::new(rows, self.weight.shape(), converted, self.is_grouped())
    }

    /// The loss alone, with per-token outputs: one product.
    ///
    /// # Errors
    /// [`Error::Loss`] for what [`Loss`] refuses; [`Error::Shape`], [`Error::EmptyHidden`], [`Error::Workspace`].
    pub fn forward<'h>(
        &self,
        hidden: impl Into<AnyMatrix<'h>>,
        batch: &Batch<'_>,
        outputs: Outputs<'_>,
        workspace: Workspace<'_>,
    ) -> Result<LossReport, Error> {
        self.compose(hidden.into(), batch, None, outputs, workspace)
    }

    /// The loss and the gradients that are asked for, with per-token outputs.
    ///
    /// # Errors
    /// As [`LinearLoss::forward`].
    pub fn forward_backward<'h>(
        &self,
        hidden: impl Into<AnyMatrix<'h>>,
        batch: &Batch<'_>,
        gradients: Gradients<'_>,
        outputs: Outputs<'_>,
        workspace: Workspace<'_>,
    ) -> Result<LossReport, Error> {
        self.compose(hidden.into(), batch, Some(gradients), outputs, workspace)
    }

    /// Stage 1 by itself, as [`Loss::row_stats_with`]: ask for [`Outputs::stats`], of whole rows or of a shard of the vocabulary.
    ///
    /// Merge the shards with [`RowStats::merge`]; [`Loss::token_terms`] is stage 2. Of the workspace, the scratch is enough.
    ///
    /// # Errors
    /// As [`LinearLoss::forward`].
    pub fn row_stats<'h>(
        &self,
        hidden: impl Into<AnyMatrix<'h>>,
        batch: &Batch<'_>,
        outputs: Outputs<'_>,
        workspace: Workspace<'_>,
    ) -> Result<(), Error> {
        let hidden = hidden.into();
        self.loss.check_inputs(batch, hidden.rows(), self.vocab_total())?;
        let memory = self.check(hidden, None, &outputs, &workspace, false)?;
        let (scratch, _) = workspace.cut(&memory);
        self.pass(hidden, *batch, memory.logits_stride, scratch).stats(outputs)
    }

    /// Stage 3 by itself: the gradients from (merged) statistics and terms, an entry a row each. One product more than its gradients take.
    ///
    /// Of a shard, dW and dbias are those of its classes, and dH is its part: the sum over the shards is the gradient.
    ///
    /// # Errors
    /// As [`LinearLoss::forward`].
    pub fn backward<'h>(
        &self,
        hidden: impl Into<AnyMatrix<'h>>,
        batch: &Batch<'_>,
        known: (&[RowStats], &[TokenTerm]),
        gradients: Gradients<'_>,
        workspace: Workspace<'_>,
    ) -> Result<(), Error> {
        let (hidden, outputs) = (hidden.into(), Outputs::new());
        let rows = hidden.rows();
        self.loss.check_inputs(batch, rows, self.vocab_total())?;
        let memory = self.check(hidden, Some(&gradients), &outputs, &workspace, false)?;
        for (argument, actual) in
            [(Argument::Stats, known.0.len()), (Argument::Terms, known.1.len())]
        {
            if actual != rows {
                return Err(surprisal::Error::Length { argument, expected: rows, actual }.into());
            }
        }
        let (scratch, _) = workspace.cut(&memory);
        let mut pass = self.pass(hidden, *batch, memory.logits_stride, scratch);
        pass.grad(known.0, known.1, gradients, false)
    }

    fn compose(
        &self,
        hidden: AnyMatrix<'_>,
        batch: &Batch<'_>,
        gradients: Option<Gradients<'_>>,
        outputs: Outputs<'_>,
        workspace: Workspace<'_>,
    ) -> Result<LossReport, Error> {
        let (rows, vocab) = (hidden.rows(), self.weight.rows());
        let grouped = self.is_grouped();
        if self.vocab_total() != vocab {
            return Err(surprisal::Error::NeedsWholeRows.into());
        }
        let denominator = self.loss.prepare(batch, rows, vocab)?;
        let memory = self.check(hidden, gradients.as_ref(), &outputs, &workspace, grouped)?;
        let (scratch, group) = workspace.cut(&memory);
        let batch = if grouped { *batch } else { batch.denominator(denominator) };
        let mut pass = self.pass(hidden, batch, memory.logits_stride, scratch);
        match (grouped, gradients) {
            (true, gradients) => pass.grouped(gradients, outputs, group),
            (false, Some(gradients)) => pass.fused(gradients, outputs),
            (false, None) => pass.forward(outputs),
        }
    }

    /// Checks everything but loss and batch.
    fn check(
        &self,
        hidden: AnyMatrix<'_>,
        gradients: Option<&Gradients<'_>>,
        outputs: &Outputs<'_>,
        workspace: &Workspace<'_>,
        grouped: bool,
    ) -> Result<Memory, Error> {
        let (rows, (vocab, d)) = (hidden.rows(), self.weight.shape());
        if vocab == 0 {
            return Err(surprisal::Error::EmptyVocab.into());
        }
        if d == 0 {
            return Err(Error::EmptyHidden);
        }
        if let Some((vocab_start, vocab_total)) = self.shard
            && vocab_start.checked_add(vocab).is_none_or(|end| end > vocab_total)
        {
            return Err(surprisal::Error::Shard { vocab_start, vocab, vocab_total }.into());
        }
        check_shape("hidden", hidden.shape(), (rows, d))?;
        if let Some(bias) = self.bias {
            check_shape("bias", (1, bias.len()), (1, vocab))?;
        }
        if let Some(gradients) = gradients {
            gradients.check(rows, self.weight)?;
        }
        outputs.check(rows)?;
        let memory = self.memory(rows);
        workspace.check(&memory, grouped)?;
        Ok(memory)
    }

    fn pass<'c, 'b>(
        &'c self,
        hidden: AnyMatrix<'c>,
        batch: Batch<'b>,
        stride: usize,
        scratch: Scratch<'c>,
    ) -> Pass<'c, 'a, 'b, O> {
        let machine = Machine { gemm: &self.gemm, level: self.loss.simd_level() };
        let products = Products { weight: self.weight, bias: self.bias, machine };
        Pass { loss: &self.loss, shard: self.shard, products, hidden, batch, stride, scratch }
    }

    fn is_grouped(&self) -> bool {
        self.loss.objective().group_plan().is_some()
    }

    fn vocab_total(&self) -> usize {
        self.shard.map_or(self.weight.rows(), |(_, vocab_total)| vocab_total)
    }
}
