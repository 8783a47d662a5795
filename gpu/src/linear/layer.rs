//! `LinearLoss`: the output layer and its loss, as a caller sees them. Everything is checked here, before anything is recorded.

use surprisal::objective::{Objective, TokenTerm};
use surprisal::{Batch, Error as LossError, RowStats};

use crate::call::Call;
use crate::error::{Error, check_shape};
use crate::linear::gemm::Gemm;
use crate::linear::gradients::Gradients;
use crate::linear::pass::Pass;
use crate::linear::pipelines::LinearPipelines;
use crate::linear::scratch::{Memory, Scratch};
use crate::matrix::{Dtype, Matrix};
use crate::record::{check_known, check_whole};
use crate::rows::Rows;

/// A loss over the logits of an output layer, `z = H·Wᵀ + bias`, which are computed a chunk of rows at a time and never whole.
///
/// # Shapes
/// H `[rows × d]`, W `[vocab × d]`, bias `[1 × vocab]` in f32; H and W of any types and row strides. The batch has an entry a row of H.
///
/// # Formula
/// Loss and dz are those of [`Loss`](surprisal::Loss) on these logits; `dH = dz·W`, `dW += dzᵀ·H`, `dbias += Σ_rows dz`.
///
/// # Cost
/// One product for the loss, one more for each of dH and dW, over the rows that are not ignored: those are gathered before the first product. The
/// host knows the targets, so this costs no wait. Objectives with a group pass compute logits twice, in [`LinearLoss::row_stats`] and in
/// [`LinearLoss::backward`]; the second time without the rows that have no gradient.
///
/// On software Vulkan, 512 rows of d = 256 and 8000 classes took 0.95 to 1.08 times as long as the bare products in two runs; with 70 % of them
/// ignored 0.35 to 0.39, with frozen weights 0.64 to 0.72 (`cargo run -p surprisal-gpu --example layer_cost -- 512 256 8000 512 128 32`).
///
/// # Accuracy
/// Logits are sums in f32 (those of [`Tiled`](crate::Tiled); as the caller's [`Gemm`] makes them), and never rounded to 16 bits; what follows has the
/// accuracy of the crate. dW and dbias are added to in f32, chunk by chunk.
///
/// # Special values
/// As without the layer: dH of an ignored row is exactly 0, and its hidden state is not read. A row whose logits are not finite makes its dH, and
/// all of dW and dbias, what the device makes of NaN in a sum: NaN on lavapipe, the one that was tested.
///
/// # Errors
/// Everything is checked before anything is recorded. No matrix that is written may lie in a buffer with another one of the call.
#[derive(Debug)]
pub struct LinearLoss<'a, 'l, O> {
    pub(crate) pipelines: &'a LinearPipelines<'l, O>,
    pub(crate) weight: Matrix<'a>,
    pub(crate) bias: Option<Matrix<'a>>,
    pub(crate) gemm: &'a dyn Gemm,
    /// First class, and classes of the whole vocabulary.
    shard: Option<(usize, usize)>,
}

impl<'a, 'l, O: Objective> LinearLoss<'a, 'l, O> {
    /// A loss over a layer of these weights, without a bias.
    pub fn new(pipelines: &'a LinearPipelines<'l, O>, weight: Matrix<'a>) -> Self {
        Self { pipelines, weight, bias: None, gemm: &pipelines.tiled, shard: None }
    }

    /// Adds a bias `[1 × vocab]` to the logits.
    #[must_use]
    pub fn bias(mut self, bias: Matrix<'a>) -> Self {
        self.bias = Some(bias);
        self
    }

    /// Multiplies by kernels of the caller's.
    #[must_use]
    pub fn gemm(mut self, gemm: &'a dyn Gemm) -> Self {
        self.gemm = gemm;
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
        Memory::new(rows, self.weight.rows, self.weight.vocab, &self.pipelines.loss.binder.device)
    }

    /// Records statistics and loss of every row: one product.
    ///
    /// # Errors
    /// As [`Pipelines::forward`](crate::Pipelines::forward), [`Error::NeedsTerms`] for group objectives, and [`Error::Shape`], [`Error::Types`] where a
    /// bias or the gradient of a parameter is not of f32, [`Error::Buffer`].
    pub fn forward(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        hidden: Matrix<'_>,
        batch: &Batch<'_>,
        scratch: &Scratch,
    ) -> Result<Call, Error> {
        let logits = self.check(hidden, &Gradients::new(), scratch)?;
        self.check_at_once(&logits)?;
        Pass::new(self, hidden, batch, scratch, logits, |plan, _| Rows::from_plan(plan))?
            .stats(encoder)
    }

    /// Records the loss and the gradients that are asked for. Read the call once the encoder was submitted, as without the layer.
    ///
    /// # Errors
    /// As [`LinearLoss::forward`].
    pub fn forward_backward(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        hidden: Matrix<'_>,
        batch: &Batch<'_>,
        gradients: Gradients<'_>,
        scratch: &Scratch,
    ) -> Result<Call, Error> {
        let logits = self.check(hidden, &gradients, scratch)?;
        self.check_at_once(&logits)?;
        Pass::new(self, hidden, batch, scratch, logits, |plan, _| Rows::from_plan(plan))?
            .fused(encoder, &gradients)
    }

    /// Records stage 1 alone, for any objective: statistics of every row, of whole rows or of a shard of the vocabulary.
    ///
    /// Read them with [`RowResults::row_stats`](crate::RowResults::row_stats), merge shards; [`Loss::token_terms`](surprisal::Loss::token_terms) is
    /// stage 2.
    ///
    /// # Errors
    /// As [`LinearLoss::forward`], but for any objective.
    pub fn row_stats(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        hidden: Matrix<'_>,
        batch: &Batch<'_>,
        scratch: &Scratch,
    ) -> Result<Call, Error> {
        let logits = self.check(hidden, &Gradients::new(), scratch)?;
        Pass::new(self, hidden, batch, scratch, logits, |plan, _| Rows::from_plan(plan))?
            .stats(encoder)
    }

    /// Records stage 3 alone: the gradients from (merged) statistics and terms on the host, an entry a row each. One product more than its gradients
    /// take.
    ///
    /// Of a shard, dW and dbias are those of its classes, and dH is its part: the sum over the shards is the gradient.
    ///
    /// # Errors
    /// As [`LinearLoss::row_stats`].
    pub fn backward(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        hidden: Matrix<'_>,
        batch: &Batch<'_>,
        (stats, terms): (&[RowStats], &[TokenTerm]),
        gradients: Gradients<'_>,
        scratch: &Scratch,
    ) -> Result<(), Error> {
        let logits = self.check(hidden, &gradients, scratch)?;
        check_known(hidden.rows as usize, stats, terms)?;
        Pass::new(self, hidden, batch, scratch, logits, |plan, params| {
            Rows::from_host(plan, params, stats, terms)
        })?
        .grad(encoder, &gradients)
    }

    /// Checks what all stages in one call want: a per-token objective, and whole rows.
    fn check_at_once(&self, logits: &Matrix<'_>) -> Result<(), Error> {
        if self.pipelines.loss.is_grouped() {
            return Err(Error::NeedsTerms);
        }
        check_whole(logits)
    }

    /// Checks everything but the batch. What comes back are the logits of a chunk.
    fn check<'s>(
        &self,
        hidden: Matrix<'_>,
        gradients: &Gradients<'_>,
        scratch: &'s Scratch,
    ) -> Result<Matrix<'s>, Error> {
        let (vocab, d) = (self.weight.rows, self.weight.vocab);
        if vocab == 0 {
            return Err(LossError::EmptyVocab.into());
        }
        check_shape("hidden", hidden, (hidden.rows, d))?;
        if let Some(bias) = self.bias {
            check_shape("bias", bias, (1, vocab))?;
            if bias.dtype != Dtype::F32 {
                return Err(Error::Types);
            }
        }
        gradients.check(hidden.rows, vocab, d)?;
        self.check_apart(hidden, gradients, scratch)?;
        let memory = self.memory(hidden.rows as usize);
        let rows = scratch.rows(&memory)?.min(hidden.rows.max(1)) as usize;
        let stride = usize::try_from(memory.logits_stride).unwrap_or(usize::MAX);
        let mut logits =
            Matrix::strided(&scratch.logits, Dtype::F32, 0, rows, vocab as usize, stride)?;
        if let Some((vocab_start, vocab_total)) = self.shard {
            logits = logits.shard(vocab_start, vocab_total)?;
        }
        // What is bound by rows; products are cut in all directions.
        let bound = [Some(hidden), Some(logits), self.bias, gradients.hidden, gradients.bias];
        for matrix in bound.iter().flatten() {
            self.pipelines.loss.binder.parts(&[matrix])?;
        }
        Ok(logits)
    }

    /// A buffer that is written cannot be bound twice.
    fn check_apart(
        &self,
        hidden: Matrix<'_>,
        gradients: &Gradients<'_>,
        scratch: &Scratch,
    ) -> Result<(), Error> {
        let mut others = vec![hidden.buffer, self.weight.buffer];
        others.extend(self.bias.map(|bias| bias.buffer));
        let gradients = gradients.all().map(|(name, matrix)| (name, matrix.buffer));
        for (name, buffer) in scratch.all().into_iter().chain(gradients) {
            if others.contains(&buffer) {
                let message = "lies in the buffer of another matrix of the call";
                return Err(Error::Buffer { name, message });
            }
            others.push(buffer);
        }
        Ok(())
    }
}
