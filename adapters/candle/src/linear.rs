//! The output layer and the loss in one.

use candle_core::{CpuStorage, Device, Error, Result, Storage, Tensor, bail};
use surprisal::objective::Objective;
use surprisal::{Batch, Loss, LossReport, Outputs};
use surprisal_linear::{AnyMatrix, Gradients, LinearLoss, Matrix, MatrixMut, OwnedWorkspace};

use crate::attach::Attached2;
use crate::logits::{Stored, with_elements};

/// The loss of logits `hidden · weightᵀ`, which are never whole, to be differentiated; and what was counted.
///
/// `hidden` is `[…, d]`, `weight` `[vocab, d]` as in `candle_nn::Linear` (a transposed view is as good), each in f32, bf16 or f16. Gradients are computed
/// for what needs them: a frozen `weight` saves a product. `budget` is the workspace in bytes, from which the rows of a chunk follow; `None` for as
/// much as is worth while. Ignored rows are left out before the first product.
///
/// # Errors
/// What [`surprisal_linear::LinearLoss`] refuses, wrapped; tensors that are not on the CPU.
pub fn linear_loss<O: Objective>(
    loss: &Loss<'_, O>,
    hidden: &Tensor,
    weight: &Tensor,
    batch: &Batch<'_>,
    budget: Option<usize>,
) -> Result<(Tensor, LossReport)> {
    linear_loss_with(loss, hidden, weight, batch, budget, Outputs::new())
}

/// As [`linear_loss`], with per-token outputs: an entry for each row.
///
/// # Errors
/// As [`linear_loss`].
pub fn linear_loss_with<O: Objective>(
    loss: &Loss<'_, O>,
    hidden: &Tensor,
    weight: &Tensor,
    batch: &Batch<'_>,
    budget: Option<usize>,
    outputs: Outputs<'_>,
) -> Result<(Tensor, LossReport)> {
    weight.dims2()?;
    let states = hidden.flatten_to(hidden.rank().saturating_sub(2))?;
    let (h_storage, _) = states.storage_and_layout();
    let (w_storage, _) = weight.storage_and_layout();
    let (Storage::Cpu(h), Storage::Cpu(w)) = (&*h_storage, &*w_storage) else {
        bail!("surprisal-candle computes on the CPU: move hidden states and weights there")
    };
    let layer = LinearLoss::new(loss.by_ref(), matrix(w, weight)?);
    let memory = layer.memory(states.dim(0)?);
    let rows = budget.map_or(memory.recommended_rows(), |bytes| memory.chunk_rows(bytes));
    if rows == 0 {
        bail!("a budget of less than {} bytes, which a chunk of one row takes", memory.least());
    }
    let mut workspace = OwnedWorkspace::new(memory.len(rows));
    let run = |gradients: Option<Gradients<'_>>| {
        let (hidden, workspace) = (matrix(h, &states)?, workspace.lend());
        match gradients {
            Some(wanted) => layer.forward_backward(hidden, batch, wanted, outputs, workspace),
            None => layer.forward(hidden, batch, outputs, workspace),
        }
        .map_err(Error::wrap)
    };
    with_elements!(h, CpuStorage, like_h => with_elements!(w, CpuStorage, like_w => {
        let mut dh = room(like_h, hidden);
        let mut dw = room(like_w, weight);
        let mut wanted = Gradients::new();
        if let Some(dh) = &mut dh {
            let (rows, d) = states.dims2()?;
            wanted = wanted.hidden(MatrixMut::new(dh, rows, d).map_err(Error::wrap)?);
        }
        if let Some(dw) = &mut dw {
            let (vocab, d) = weight.dims2()?;
            wanted = wanted.weight(MatrixMut::new(dw, vocab, d).map_err(Error::wrap)?);
        }
        let is_differentiated = hidden.track_op() || weight.track_op();
        let report = run(is_differentiated.then_some(wanted))?;
        let gradients = [tensor(dh, hidden)?, tensor(dw, weight)?];
        let op = Attached2 { loss: report.loss, gradients };
        Ok((hidden.apply_op2(weight, op)?, report))
    }))
}

/// A gradient like a tensor, where one is needed.
fn room<T: Stored>(_: &[T], of: &Tensor) -> Option<Vec<T>> {
    of.track_op().then(|| vec![T::from_f32(0.0); of.elem_count()])
}

fn tensor<T: Stored>(gradient: Option<Vec<T>>, of: &Tensor) -> Result<Option<Tensor>> {
    gradient.map(|gradient| Tensor::from_vec(gradient, of.shape(), &Device::Cpu)).transpose()
}

/// A matrix of candle's where it lies, with its strides.
fn matrix<'a>(storage: &'a CpuStorage, of: &Tensor) -> Result<AnyMatrix<'a>> {
    let ((rows, cols), layout) = (of.dims2()?, of.layout());
    let (start, strides) = (layout.start_offset(), layout.stride());
    Ok(with_elements!(storage, CpuStorage, all => {
        let view = Matrix::strided(&all[start..], rows, cols, strides[0], strides[1]);
        view.map_err(Error::wrap)?.into()
    }))
}
