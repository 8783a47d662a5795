//! All stages in one call: the loss, and its gradient.

use crate::batch::surprisal_batch;
use crate::batch_input::BatchInput;
use crate::detail::{finish, surprisal_error_detail};
use crate::logits::{surprisal_logits, surprisal_logits_mut};
use crate::loss::{LossInput, surprisal_loss};
use crate::matrix::{Matrix, Operands, with_logits, with_result};
use crate::memory::{Memory, Output};
use crate::outputs::{OutputsInput, surprisal_outputs};
use crate::report::surprisal_report;
use crate::status::{Failure, surprisal_status};
use crate::workspace::{WorkspaceInput, surprisal_workspace};

/// What both calls are given besides matrices to write.
struct Inputs<'call> {
    matrix: Matrix,
    loss: LossInput<'call>,
    batch: BatchInput<'call>,
    outputs: OutputsInput<'call>,
    workspace: WorkspaceInput<'call>,
    report: Output<'call, surprisal_report>,
}

impl Inputs<'_> {
    /// Reads the caller's structs and declares their arrays, all but the matrix's.
    ///
    /// # Safety
    /// As [`Memory::read_struct`] for the structs, as [`Memory::input`] and [`Memory::output`] for every array that they name.
    unsafe fn read(
        loss: *const surprisal_loss,
        batch: *const surprisal_batch,
        logits: *const surprisal_logits,
        outputs: *const surprisal_outputs,
        workspace: *const surprisal_workspace,
        report: *mut surprisal_report,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on.
        unsafe {
            let matrix = Matrix::read(logits, memory)?;
            let place = &matrix.place;
            let loss = LossInput::read(loss, place.vocab_total, memory)?;
            let batch = BatchInput::of_matrix(batch, place, Some(&loss), memory)?;
            let outputs = OutputsInput::read(outputs, place, memory)?;
            let workspace =
                WorkspaceInput::read(workspace, &loss, place.rows, place.vocab, memory)?;
            let report = memory.output("report", report, 1)?;
            Ok(Self { matrix, loss, batch, outputs, workspace, report })
        }
    }
}

/// Loss only, of the matrix's rows, with per-row outputs on request.
///
/// `outputs` and `workspace` may be NULL, but objectives of group scope need a workspace, and all rows. A range of rows takes a `batch.denominator`
/// where the reduction is a mean over tokens, weights or sequences.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_forward(
    loss: *const surprisal_loss,
    batch: *const surprisal_batch,
    logits: *const surprisal_logits,
    outputs: *const surprisal_outputs,
    workspace: *const surprisal_workspace,
    report: *mut surprisal_report,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs and arrays.
        let (inputs, logits) = unsafe {
            let inputs =
                Inputs::read(loss, batch, logits, outputs, workspace, report, &mut memory)?;
            let logits = inputs.matrix.input("logits", &mut memory)?;
            (inputs, logits)
        };
        let checked = memory.check()?;
        let (loss, batch) = (inputs.loss.get(&checked), inputs.batch.get(&checked)?);
        let outputs = inputs.outputs.get(&checked);
        let workspace = inputs.workspace.get(&checked);
        let report = with_logits!(logits.view(&checked)?, |z| loss
            .forward_with(z, &batch, outputs, workspace)?);
        inputs.report.get(&checked).fill(report.into());
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Loss of the matrix's rows, and its gradient with respect to the raw logits into `dlogits`: in any element type, or over the logits
/// themselves. One pass over memory for objectives of token scope, two for the others.
///
/// `outputs` and `workspace` may be NULL, but objectives of group scope need a workspace, and all rows. A range of rows takes a `batch.denominator`
/// where the reduction is a mean over tokens, weights or sequences.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_forward_backward(
    loss: *const surprisal_loss,
    batch: *const surprisal_batch,
    logits: *const surprisal_logits,
    dlogits: *const surprisal_logits_mut,
    outputs: *const surprisal_outputs,
    workspace: *const surprisal_workspace,
    report: *mut surprisal_report,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs and arrays.
        let (inputs, operands) = unsafe {
            let inputs =
                Inputs::read(loss, batch, logits, outputs, workspace, report, &mut memory)?;
            let result = Matrix::read_mut(dlogits, "dlogits", &mut memory)?;
            let operands = Operands::declare(&inputs.matrix, &result, "dlogits", &mut memory)?;
            (inputs, operands)
        };
        let checked = memory.check()?;
        let (loss, batch) = (inputs.loss.get(&checked), inputs.batch.get(&checked)?);
        let outputs = inputs.outputs.get(&checked);
        let workspace = inputs.workspace.get(&checked);
        let report = match operands {
            Operands::Split(logits, dlogits) => {
                with_result!(logits.view(&checked)?, dlogits.view(&checked)?, |z, dz| loss
                    .forward_backward_with(z, &batch, dz, outputs, workspace)?)
            }
            Operands::InPlace(logits) => {
                with_logits!(logits.view(&checked)?, |z| loss
                    .forward_backward_in_place_with(z, &batch, outputs, workspace)?)
            }
        };
        inputs.report.get(&checked).fill(report.into());
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}
