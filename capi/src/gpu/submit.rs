//! The loss of logits and batch in memory of a device, and its gradient there: submitted, and not waited for.

use ::surprisal_gpu::wgpu::{CommandEncoder, CommandEncoderDescriptor};
use ::surprisal_gpu::{DeviceBatch, DeviceCall, Dtype, Error, Pipelines, Workspace};
use surprisal::objective::Builtin;

use super::batch::{BatchInput, surprisal_gpu_batch};
use super::context::surprisal_gpu;
use super::failure::{DeviceFailure, finish};
use super::handle::{hand_over, object};
use super::matrix::{MatrixInput, surprisal_gpu_matrix};
use super::pending::surprisal_gpu_pending;
use super::workspace::surprisal_gpu_workspace;
use crate::detail::surprisal_error_detail;
use crate::loss::{LossInput, surprisal_loss};
use crate::memory::{Memory, Output};
use crate::status::surprisal_status;

/// What both calls are given besides a gradient.
struct Inputs<'call> {
    gpu: &'call surprisal_gpu,
    workspace: &'call surprisal_gpu_workspace,
    logits: MatrixInput<'call>,
    loss: LossInput<'call>,
    batch: BatchInput<'call>,
    pending: Option<Output<'call, *mut surprisal_gpu_pending>>,
}

impl Inputs<'_> {
    /// Reads the caller's structs and declares their arrays.
    ///
    /// # Safety
    /// As [`object`] for the context and the workspace, as [`MatrixInput::read`], as [`BatchInput::read`], as [`LossInput::read`], as
    /// [`Memory::output`] for the pending report.
    unsafe fn read(
        gpu: *const surprisal_gpu,
        loss: *const surprisal_loss,
        batch: *const surprisal_gpu_batch,
        logits: *const surprisal_gpu_matrix,
        workspace: *const surprisal_gpu_workspace,
        pending: *mut *mut surprisal_gpu_pending,
        memory: &mut Memory,
    ) -> Result<Self, DeviceFailure> {
        // SAFETY: passed on.
        unsafe {
            let gpu = object("gpu", gpu)?;
            let logits = MatrixInput::read(logits, "logits", gpu, memory)?;
            let loss = LossInput::read(loss, logits.vocab, memory)?;
            let batch = BatchInput::read(batch, &logits, gpu, memory)?;
            let workspace = object("workspace", workspace)?;
            workspace.check_of(gpu)?;
            let pending = memory.optional_output("pending", pending, 1)?;
            Ok(Self { gpu, workspace, logits, loss, batch, pending })
        }
    }

    /// Records, submits, and hands the pending report over where one is wanted.
    fn run(
        self,
        memory: Memory,
        result: Dtype,
        record: impl FnOnce(
            &Pipelines<'_, Builtin>,
            &mut CommandEncoder,
            &DeviceBatch<'_>,
            &Workspace,
        ) -> Result<DeviceCall, Error>,
    ) -> Result<(), DeviceFailure> {
        let checked = memory.check()?;
        let surprisal_gpu { gpu, compiled, .. } = self.gpu;
        let loss = self.loss.get(&checked);
        let pipelines = compiled.get(gpu, loss, self.logits.dtype, result)?;
        let workspace = self.workspace.lock();
        let (device, wanted) = (gpu.device(), self.pending.is_some());
        let pending = gpu.checked(|| {
            let mut encoder = device.create_command_encoder(&CommandEncoderDescriptor::default());
            let call = record(&pipelines, &mut encoder, &self.batch.batch, &workspace)?;
            let report = wanted.then(|| call.report(device, &mut encoder));
            let submission = gpu.queue().submit([encoder.finish()]);
            Ok(report.map(|report| surprisal_gpu_pending::new(device, submission, report)))
        })?;
        if let (Some(out), Some(pending)) = (self.pending, pending) {
            hand_over(out, &checked, pending);
        }
        Ok(())
    }
}

/// As `surprisal_gpu_forward`, of a batch on the device, and without a wait: the work is submitted when the call returns.
///
/// By any objective. `pending` may be NULL where nobody wants to know the loss; `surprisal_gpu_pending_destroy` destroys what it is given.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_submit_forward(
    gpu: *const surprisal_gpu,
    loss: *const surprisal_loss,
    batch: *const surprisal_gpu_batch,
    logits: *const surprisal_gpu_matrix,
    workspace: *mut surprisal_gpu_workspace,
    pending: *mut *mut surprisal_gpu_pending,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's objects, structs and arrays.
        let inputs =
            unsafe { Inputs::read(gpu, loss, batch, logits, workspace, pending, &mut memory) }?;
        let (dtype, logits) = (inputs.logits.dtype, inputs.logits.view()?);
        inputs.run(memory, dtype, |pipelines, encoder, batch, workspace| {
            pipelines.forward_with(encoder, logits, batch, workspace)
        })
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// As `surprisal_gpu_forward_backward`, of a batch on the device, and without a wait: the work is submitted when the call returns. Calls with the
/// gradient's buffer happen after it.
///
/// `pending` as in `surprisal_gpu_submit_forward`. The gradient may not lie over a column of the batch.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_submit_forward_backward(
    gpu: *const surprisal_gpu,
    loss: *const surprisal_loss,
    batch: *const surprisal_gpu_batch,
    logits: *const surprisal_gpu_matrix,
    dlogits: *const surprisal_gpu_matrix,
    workspace: *mut surprisal_gpu_workspace,
    pending: *mut *mut surprisal_gpu_pending,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's objects, structs and arrays.
        let (inputs, result) = unsafe {
            let inputs = Inputs::read(gpu, loss, batch, logits, workspace, pending, &mut memory)?;
            let result = MatrixInput::read(dlogits, "dlogits", inputs.gpu, &mut memory)?;
            (inputs, result)
        };
        let logits = inputs.logits.view()?;
        let gradient = result.gradient_of(&inputs.logits)?;
        inputs.batch.check_apart(&result)?;
        inputs.run(memory, result.dtype, |pipelines, encoder, batch, workspace| {
            pipelines.forward_backward_with(encoder, logits, batch, gradient, workspace)
        })
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}
