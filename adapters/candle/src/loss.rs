//! Losses of logits.

use std::cell::RefCell;

use candle_core::{CpuStorage, Error, InplaceOp1, Layout, Result, Storage, Tensor, bail};
use surprisal::objective::Objective;
use surprisal::{Batch, Loss, LossReport, Outputs};
use surprisal_rows::{Call, Rows};

use crate::attach::Attached1;
use crate::logits::{Stored, contiguous, rows_of, with_elements};

/// The loss of logits `[…, vocab]`, to be differentiated, and what was counted.
///
/// Where the logits need no gradient (neither they nor what they were made of is a variable), none is computed.
///
/// # Errors
/// What [`surprisal::Loss`] refuses, wrapped; tensors that are not on the CPU, or of another type than f32, bf16 and f16.
pub fn loss<O: Objective>(
    loss: &Loss<'_, O>,
    logits: &Tensor,
    batch: &Batch<'_>,
) -> Result<(Tensor, LossReport)> {
    loss_with(loss, logits, batch, Outputs::new())
}

/// As [`loss`], with per-token outputs: an entry for each of the rows.
///
/// # Errors
/// As [`loss`].
pub fn loss_with<O: Objective>(
    loss: &Loss<'_, O>,
    logits: &Tensor,
    batch: &Batch<'_>,
    outputs: Outputs<'_>,
) -> Result<(Tensor, LossReport)> {
    let call = Call { loss, batch, outputs };
    let in_rows = rows_of(logits.layout()).filter(|rows| call.takes(rows));
    let (readable, rows) = match in_rows {
        Some(rows) => (logits.clone(), rows),
        None => (logits.contiguous()?, contiguous(logits)?),
    };
    let (storage, _) = readable.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        bail!(
            "surprisal-candle computes on the CPU: move the logits there, or use candle's own loss"
        )
    };
    let (report, gradient) = with_elements!(storage, CpuStorage, z => {
        compute(call, z, &rows, logits)?
    });
    let tensor = match gradient {
        Some(gradient) => logits.apply_op1(Attached1 { loss: report.loss, gradient })?,
        None => scalar(&report)?,
    };
    Ok((tensor, report))
}

#[expect(clippy::cast_possible_truncation, reason = "candle's losses are of f32")]
fn scalar(report: &LossReport) -> Result<Tensor> {
    Tensor::new(report.loss as f32, &candle_core::Device::Cpu)
}

fn compute<T: Stored, O: Objective>(
    call: Call<'_, '_, O>,
    z: &[T],
    rows: &Rows,
    logits: &Tensor,
) -> Result<(LossReport, Option<Tensor>)> {
    if !logits.track_op() {
        return Ok((call.forward(z, rows).map_err(Error::wrap)?, None));
    }
    let mut dz = vec![T::from_f32(0.0); rows.len() * rows.vocab];
    let report = call.forward_backward(z, rows, &mut dz).map_err(Error::wrap)?;
    Ok((report, Some(Tensor::from_vec(dz, logits.shape(), logits.device())?)))
}

/// As [`loss`], where the gradient overwrites the logits: no memory beside them.
///
/// The tensor is used up. So is every other that shares its storage: a clone, a view, and the result that an operation remembers, which matters where that
/// needs it for its own gradient (as `tanh` does, and a matrix product or an addition does not). A variable must not be overwritten, and is refused.
///
/// # Errors
/// As [`loss`]; where rows overlap, or do not lie side by side.
pub fn loss_in_place<O: Objective>(
    loss: &Loss<'_, O>,
    logits: Tensor,
    batch: &Batch<'_>,
) -> Result<(Tensor, LossReport)> {
    if logits.is_variable() {
        bail!("a variable is not overwritten by its gradient");
    }
    let op = InPlace { loss, batch, report: RefCell::new(None) };
    logits.inplace_op1(&op)?;
    let report = op.report.into_inner().expect("the operation has run");
    let gradient = logits.detach();
    Ok((logits.apply_op1(Attached1 { loss: report.loss, gradient })?, report))
}

struct InPlace<'c, 'a, O> {
    loss: &'c Loss<'a, O>,
    batch: &'c Batch<'c>,
    report: RefCell<Option<LossReport>>,
}

impl<O: Objective> InplaceOp1 for InPlace<'_, '_, O> {
    fn name(&self) -> &'static str {
        "surprisal"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let call = Call { loss: self.loss, batch: self.batch, outputs: Outputs::new() };
        let Some(rows) = rows_of(layout).filter(|rows| call.takes(rows)) else {
            bail!("in place the rows must lie in one piece: make the logits contiguous")
        };
        let report =
            with_elements!(storage, CpuStorage, z => call.in_place(z, &rows).map_err(Error::wrap)?);
        *self.report.borrow_mut() = Some(report);
        Ok(())
    }
}
