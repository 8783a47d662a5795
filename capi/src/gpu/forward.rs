//! The loss of logits in memory of a device, and its gradient there.

use ::surprisal_gpu::{DeviceOutcome, Dtype, Error, Pipelines};
use surprisal::objective::Builtin;
use surprisal::{Batch, Loss};

use super::context::surprisal_gpu;
use super::failure::{DeviceFailure, finish};
use super::handle::object;
use super::matrix::{MatrixInput, surprisal_gpu_matrix};
use crate::batch::surprisal_batch;
use crate::batch_input::BatchInput;
use crate::detail::surprisal_error_detail;
use crate::loss::{LossInput, surprisal_loss};
use crate::memory::{Memory, Output};
use crate::outputs::{OutputsInput, surprisal_outputs};
use crate::report::surprisal_report;
use crate::status::surprisal_status;

/// What both calls are given besides a gradient.
struct Inputs<'call> {
    gpu: &'call surprisal_gpu,
    logits: MatrixInput<'call>,
    loss: LossInput<'call>,
    batch: BatchInput<'call>,
    outputs: OutputsInput<'call>,
    report: Output<'call, surprisal_report>,
}

impl Inputs<'_> {
    /// Reads the caller's structs and declares their arrays.
    ///
    /// # Safety
    /// As [`object`] for the context, as [`MatrixInput::read`], as [`Memory::read_struct`] for the structs, as [`Memory::input`] and
    /// [`Memory::output`] for every array that they name.
    unsafe fn read(
        gpu: *const surprisal_gpu,
        loss: *const surprisal_loss,
        batch: *const surprisal_batch,
        logits: *const surprisal_gpu_matrix,
        outputs: *const surprisal_outputs,
        report: *mut surprisal_report,
        memory: &mut Memory,
    ) -> Result<Self, DeviceFailure> {
        // SAFETY: passed on.
        unsafe {
            let gpu = object("gpu", gpu)?;
            let logits = MatrixInput::read(logits, "logits", gpu, memory)?;
            let place = logits.place();
            let loss = LossInput::read(loss, place.vocab_total, memory)?;
            let batch = BatchInput::of_matrix(batch, &place, None, memory)?;
            let outputs = OutputsInput::read(outputs, &place, memory)?;
            let report = memory.output("report", report, 1)?;
            Ok(Self { gpu, logits, loss, batch, outputs, report })
        }
    }

    /// Checks the values, computes, and writes what is known of the rows.
    fn run(
        self,
        memory: Memory,
        result: Dtype,
        compute: impl FnOnce(&Pipelines<'_, Builtin>, &Batch<'_>) -> Result<DeviceOutcome, Error>,
    ) -> Result<(), DeviceFailure> {
        let checked = memory.check()?;
        let batch = self.batch.get(&checked)?;
        let mut loss: Loss<'_, Builtin> = self.loss.get(&checked);
        if self.outputs.entropy.is_some() {
            // A device sums what it is asked for.
            loss = loss.with_moments();
        }
        // All that the core can refuse, before anything is compiled.
        loss.plan(&batch, self.logits.vocab)?;
        let surprisal_gpu { gpu, compiled, .. } = self.gpu;
        let pipelines = compiled.get(gpu, loss, self.logits.dtype, result)?;
        let outcome = compute(&pipelines, &batch)?;
        self.report.get(&checked).fill(outcome.report.into());
        self.outputs.write(&checked, &batch, outcome);
        Ok(())
    }
}

/// Loss only, with per-row outputs on request. Waits for the device.
///
/// `outputs` may be NULL; its arrays are memory of the host. No objective needs a workspace here.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_forward(
    gpu: *const surprisal_gpu,
    loss: *const surprisal_loss,
    batch: *const surprisal_batch,
    logits: *const surprisal_gpu_matrix,
    outputs: *const surprisal_outputs,
    report: *mut surprisal_report,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's objects, structs and arrays.
        let inputs =
            unsafe { Inputs::read(gpu, loss, batch, logits, outputs, report, &mut memory) }?;
        let (gpu, dtype, logits) = (&inputs.gpu.gpu, inputs.logits.dtype, inputs.logits.view()?);
        inputs.run(memory, dtype, |pipelines, batch| gpu.forward_on(pipelines, logits, batch))
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Loss, and its gradient with respect to the raw logits into `dlogits`: in any element type, or over the logits themselves. Waits for
/// the loss; the gradient may be on its way when the call returns, which calls with its buffer wait for.
///
/// `outputs` as in `surprisal_gpu_forward`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_forward_backward(
    gpu: *const surprisal_gpu,
    loss: *const surprisal_loss,
    batch: *const surprisal_batch,
    logits: *const surprisal_gpu_matrix,
    dlogits: *const surprisal_gpu_matrix,
    outputs: *const surprisal_outputs,
    report: *mut surprisal_report,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's objects, structs and arrays.
        let (inputs, result) = unsafe {
            let inputs = Inputs::read(gpu, loss, batch, logits, outputs, report, &mut memory)?;
            let result = MatrixInput::read(dlogits, "dlogits", inputs.gpu, &mut memory)?;
            (inputs, result)
        };
        let (gpu, logits) = (&inputs.gpu.gpu, inputs.logits.view()?);
        let gradient = result.gradient_of(&inputs.logits)?;
        inputs.run(memory, result.dtype, |pipelines, batch| {
            gpu.forward_backward_on(pipelines, logits, batch, gradient)
        })
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}
