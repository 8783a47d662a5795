//! Conveniences over the same kernels: log-softmax, log-sum-exp, entropy, log-probabilities of the targets.

use surprisal::objective::Sft;
use surprisal::{Loss, Outputs, Reduction, Softmax, Workspace};

use crate::batch::surprisal_batch;
use crate::batch_input::BatchInput;
use crate::detail::{finish, surprisal_error_detail};
use crate::logits::{surprisal_logits, surprisal_logits_mut};
use crate::matrix::{LogitsInput, Matrix, Operands, with_logits, with_result};
use crate::memory::{Memory, Output};
use crate::probe;
use crate::status::{Failure, surprisal_status};

/// Log-probabilities of every class: `out[j] = (z[j] - max) - ln sum exp(z - max)`, in nats; in any element type, or in place.
///
/// Within 2 ULP of the result plus 2e-7, whatever common offset the logits have. A row with NaN or +inf, or without a finite logit, is NaN; -inf
/// among finite logits stays.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_log_softmax(
    logits: *const surprisal_logits,
    out: *const surprisal_logits_mut,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs.
        let (matrix, result) = unsafe {
            let matrix = Matrix::read(logits, &mut memory)?;
            (matrix, Matrix::read_mut(out, "out", &mut memory)?)
        };
        // SAFETY: the C caller's matrices.
        let operands = unsafe { Operands::declare(&matrix, &result, "out", &mut memory) }?;
        let (softmax, checked) = (Softmax::at(probe::level()), memory.check()?);
        match operands {
            Operands::Split(logits, out) => {
                with_result!(logits.view(&checked)?, out.view(&checked)?, |z, out| {
                    softmax.log_softmax(z, out)?;
                });
            }
            Operands::InPlace(logits) => {
                with_logits!(logits.view(&checked)?, |z| softmax.log_softmax_in_place(z)?);
            }
        }
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// ln of the sum of exp(z) of each of the matrix's rows, in nats, rounded once. `out` has one entry for each row of the whole batch.
///
/// A row with NaN or +inf, or without a finite logit, is NaN.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_log_sum_exp(
    logits: *const surprisal_logits,
    out: *mut f32,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's struct and array.
        let (_, logits, out) = unsafe { per_row(logits, out, &mut memory) }?;
        let (softmax, checked) = (Softmax::at(probe::level()), memory.check()?);
        let out = out.get(&checked);
        with_logits!(logits.view(&checked)?, |z| softmax.log_sum_exp(z, out)?);
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Entropy of each of the matrix's rows, in nats. `out` has one entry for each row of the whole batch.
///
/// A class of probability 0 adds 0. A row with NaN or +inf, or without a finite logit, is NaN.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_entropy(
    logits: *const surprisal_logits,
    out: *mut f32,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's struct and array.
        let (_, logits, out) = unsafe { per_row(logits, out, &mut memory) }?;
        let (softmax, checked) = (Softmax::at(probe::level()), memory.check()?);
        let out = out.get(&checked);
        with_logits!(logits.view(&checked)?, |z| softmax.entropy(z, out)?);
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// ln p of the target of each of the matrix's rows, in nats; 0 on ignored rows. What policy and reference models are asked for. `out` has one
/// entry for each row of the whole batch.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_token_log_probs(
    batch: *const surprisal_batch,
    logits: *const surprisal_logits,
    out: *mut f32,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs and arrays.
        let (logits, out, batch) = unsafe {
            let (matrix, logits, out) = per_row(logits, out, &mut memory)?;
            (logits, out, BatchInput::of_matrix(batch, &matrix.place, None, &mut memory)?)
        };
        let checked = memory.check()?;
        let (batch, out) = (batch.get(&checked)?, out.get(&checked));
        // Of a range of rows a mean would want a denominator; the report is not asked for.
        let loss = Loss::new(Sft).reduction(Reduction::Sum).level(probe::level());
        let outputs = Outputs::new().log_probs(out);
        with_logits!(logits.view(&checked)?, |z| loss.forward_with(
            z,
            &batch,
            outputs,
            Workspace::none()
        )?);
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Logits and an output of one number a row.
///
/// # Safety
/// As [`Matrix::read`] and [`Matrix::input`], and as [`Memory::output`] for the entries of the matrix's rows.
unsafe fn per_row<'call>(
    logits: *const surprisal_logits,
    out: *mut f32,
    memory: &mut Memory,
) -> Result<(Matrix, LogitsInput<'call>, Output<'call, f32>), Failure> {
    // SAFETY: passed on.
    unsafe {
        let matrix = Matrix::read(logits, memory)?;
        let logits = matrix.input("logits", memory)?;
        Ok((matrix, logits, memory.rows_output("out", out, &matrix.place.range())?))
    }
}
