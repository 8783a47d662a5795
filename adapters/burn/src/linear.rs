//! The output layer and the loss in one.

use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::{Flex, TensorMetadata};
use burn::tensor::{Shape, Tensor};
use surprisal::objective::Objective;
use surprisal::{Batch, Loss, LossReport, Outputs};
use surprisal_linear::{
    AnyMatrix, AnyMatrixMut, Gradients, LinearLoss, Matrix, MatrixMut, OwnedWorkspace,
};

use crate::Error;
use crate::attach::{Computed, attach};
use crate::flex::{readable, scalar, with_type};

/// The loss of logits `hidden · weight`, which are never whole, to be differentiated; and what was counted.
///
/// `hidden` is `[…, d]`, `weight` `[d, vocab]` as in burn's `nn::Linear` (the transpose of an embedding's table is as good), each in f32, bf16 or f16.
/// Gradients are computed for what needs them: a frozen `weight` saves a product. `budget` is the workspace in bytes, from which the rows of a chunk
/// follow; `None` for as much as is worth while. Ignored rows are left out before the first product.
///
/// # Errors
/// [`Error::Loss`], [`Error::Linear`], [`Error::Budget`], [`Error::Dtype`], [`Error::Device`], [`Error::Checkpointing`].
pub fn linear_loss<const D: usize, O: Objective>(
    loss: &Loss<'_, O>,
    hidden: Tensor<D>,
    weight: Tensor<2>,
    batch: &Batch<'_>,
    budget: Option<usize>,
) -> Result<(Tensor<1>, LossReport), Error> {
    linear_loss_with(loss, hidden, weight, batch, budget, Outputs::new())
}

/// As [`linear_loss`], with per-token outputs: an entry for each row.
///
/// # Errors
/// As [`linear_loss`].
pub fn linear_loss_with<const D: usize, O: Objective>(
    loss: &Loss<'_, O>,
    hidden: Tensor<D>,
    weight: Tensor<2>,
    batch: &Batch<'_>,
    budget: Option<usize>,
    outputs: Outputs<'_>,
) -> Result<(Tensor<1>, LossReport), Error> {
    let inputs = [hidden.into_dispatch(), weight.into_dispatch()];
    attach::<Flex, _, 2>(inputs, |[hidden, weight], wanted| {
        let (hidden, rows) = readable(hidden, |rows| rows.starts.len() == 1);
        let states = View {
            start: rows.starts[0],
            shape: [rows.len(), rows.vocab],
            strides: [rows.stride, 1],
        };
        let (weight, weights) = View::of_transposed(weight);
        let layer = LinearLoss::new(loss.by_ref(), weights.matrix(&weight)?);
        let memory = layer.memory(rows.len());
        let chunk = budget.map_or(memory.recommended_rows(), |bytes| memory.chunk_rows(bytes));
        if chunk == 0 {
            return Err(Error::Budget { least: memory.least() });
        }
        let mut workspace = OwnedWorkspace::new(memory.len(chunk));
        let workspace = workspace.lend();
        let mut dh = wanted[0].then(|| FlexTensor::empty(hidden.shape(), hidden.dtype()));
        let mut dw = wanted[1].then(|| like(&weight));
        let mut gradients = Gradients::new();
        if let Some(dh) = &mut dh {
            let states = View { start: 0, strides: [rows.vocab, 1], ..states };
            gradients = gradients.hidden(states.matrix_mut(dh)?);
        }
        if let Some(dw) = &mut dw {
            let weights = View::transposed(dw.layout());
            gradients = gradients.weight(weights.matrix_mut(dw)?);
        }
        let states = states.matrix(&hidden)?;
        let report = if wanted == [false; 2] {
            layer.forward(states, batch, outputs, workspace)?
        } else {
            layer.forward_backward(states, batch, gradients, outputs, workspace)?
        };
        Ok(Computed { loss: scalar(&report), gradients: [dh, dw], report })
    })
}

/// A gradient like a matrix, in the same order.
fn like(matrix: &FlexTensor) -> FlexTensor {
    let [rows, cols] = matrix.shape().dims();
    let strides = matrix.layout().strides();
    if strides[0] >= strides[1] {
        return FlexTensor::empty(matrix.shape(), matrix.dtype());
    }
    let gradient = FlexTensor::empty(Shape::new([cols, rows]), matrix.dtype());
    let strides = vec![1, rows.cast_signed()];
    gradient.with_layout(Layout::new(matrix.shape(), strides, 0))
}

/// A matrix in a tensor's storage.
struct View {
    start: usize,
    shape: [usize; 2],
    strides: [usize; 2],
}

impl View {
    /// Of a matrix's transpose; and the matrix, copied where its strides are of no use.
    fn of_transposed(matrix: FlexTensor) -> (FlexTensor, Self) {
        let is_apart = |(&dim, &stride): (&usize, &isize)| dim <= 1 || stride > 0;
        let matrix = match matrix.shape().iter().zip(matrix.layout().strides()).all(is_apart) {
            true => matrix,
            false => matrix.to_contiguous(),
        };
        let view = Self::transposed(matrix.layout());
        (matrix, view)
    }

    fn transposed(layout: &Layout) -> Self {
        let ([rows, cols], strides) = (layout.shape().dims(), layout.strides());
        let strides = [strides[1].unsigned_abs(), strides[0].unsigned_abs()];
        Self { start: layout.start_offset(), shape: [cols, rows], strides }
    }

    fn matrix<'t>(&self, tensor: &'t FlexTensor) -> Result<AnyMatrix<'t>, Error> {
        let ([rows, cols], [down, across]) = (self.shape, self.strides);
        Ok(with_type!(tensor.dtype(), T => {
            let all = tensor.storage::<T>().get(self.start..).unwrap_or_default();
            Matrix::strided(all, rows, cols, down, across)?.into()
        }))
    }

    fn matrix_mut<'t>(&self, tensor: &'t mut FlexTensor) -> Result<AnyMatrixMut<'t>, Error> {
        let ([rows, cols], [down, across]) = (self.shape, self.strides);
        Ok(with_type!(tensor.dtype(), T => {
            let all = tensor.storage_mut::<T>().get_mut(self.start..).unwrap_or_default();
            MatrixMut::strided(all, rows, cols, down, across)?.into()
        }))
    }
}
