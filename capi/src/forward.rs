//! All stages in one call: the loss, and its gradient.

use crate::batch::{BatchInput, surprisal_batch};
use crate::detail::{finish, surprisal_error_detail};
use crate::logits::{surprisal_logits, surprisal_logits_mut};
use crate::loss::{LossInput, surprisal_loss};
use crate::matrix::{Matrix, Operands, with_logits, with_result};
use crate::memory::Memory;
use crate::outputs::{OutputsInput, surprisal_outputs};
use crate::report::surprisal_report;
use crate::status::{Failure, surprisal_status};
use crate::versioned::Out;

/// What both calls are given besides matrices to write.
struct Inputs<'call> {
    matrix: Matrix,
    loss: LossInput<'call>,
    batch: BatchInput<'call>,
    outputs: OutputsInput<'call>,
    report: Out<surprisal_report>,
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
        report: *mut surprisal_report,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on.
        unsafe {
            let matrix = Matrix::read(logits, "logits", memory)?;
            let loss = LossInput::read(loss, matrix.place.vocab_total, memory)?;
            let batch = BatchInput::read(batch, memory)?;
            matrix.place.check_batch(batch.rows)?;
            let outputs = OutputsInput::read(outputs, &matrix.place, memory)?;
            let report = memory.write_struct(report)?;
            Ok(Self { matrix, loss, batch, outputs, report })
        }
    }
}

/// Loss only, of the matrix's rows, with per-row outputs on request.
///
/// `outputs` may be NULL, but objectives of a sequence or the batch need `outputs.stats` and `outputs.terms` as workspace, and all rows.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_forward(
    loss: *const surprisal_loss,
    batch: *const surprisal_batch,
    logits: *const surprisal_logits,
    outputs: *const surprisal_outputs,
    report: *mut surprisal_report,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs and arrays.
        let (inputs, logits) = unsafe {
            let inputs = Inputs::read(loss, batch, logits, outputs, report, &mut memory)?;
            let logits = inputs.matrix.input("logits", &mut memory)?;
            (inputs, logits)
        };
        let checked = memory.check()?;
        let batch = inputs.matrix.place.of(inputs.batch.get(&checked)?);
        let (loss, outputs) = (inputs.loss.get(&checked), inputs.outputs.get(&checked));
        let report =
            with_logits!(logits.view(&checked)?, |z| loss.forward_with(z, &batch, outputs)?);
        inputs.report.write(report.into());
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Loss of the matrix's rows, and its gradient with respect to the raw logits into `dlogits`: in the logits' type or in f32, or over the logits
/// themselves. One pass over memory for objectives of a token, two for the others.
///
/// `outputs` may be NULL, but objectives of a sequence or the batch need `outputs.stats` and `outputs.terms` as workspace, and all rows.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_forward_backward(
    loss: *const surprisal_loss,
    batch: *const surprisal_batch,
    logits: *const surprisal_logits,
    dlogits: *const surprisal_logits_mut,
    outputs: *const surprisal_outputs,
    report: *mut surprisal_report,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs and arrays.
        let (inputs, operands) = unsafe {
            let inputs = Inputs::read(loss, batch, logits, outputs, report, &mut memory)?;
            let result = Matrix::read(dlogits.cast(), "dlogits", &mut memory)?;
            let operands = Operands::declare(&inputs.matrix, &result, "dlogits", &mut memory)?;
            (inputs, operands)
        };
        let checked = memory.check()?;
        let batch = inputs.matrix.place.of(inputs.batch.get(&checked)?);
        let (loss, outputs) = (inputs.loss.get(&checked), inputs.outputs.get(&checked));
        let report = match operands {
            Operands::Split(logits, dlogits) => {
                with_result!(logits.view(&checked)?, dlogits.view(&checked)?, |z, dz| loss
                    .forward_backward_with(z, &batch, dz, outputs)?)
            }
            Operands::InPlace(logits) => {
                with_logits!(logits.view(&checked)?, |z| loss
                    .forward_backward_in_place_with(z, &batch, outputs)?)
            }
        };
        inputs.report.write(report.into());
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}
