//! The f64 oracle and the gradient checker, to test kernels of one's own against.

use core::ffi::c_void;

use surprisal::reference;

use crate::batch::surprisal_batch;
use crate::batch_input::BatchInput;
use crate::detail::{finish, surprisal_error_detail};
use crate::loss::{LossInput, surprisal_loss};
use crate::memory::Memory;
use crate::report::surprisal_report;
use crate::status::Failure;
use crate::status::surprisal_status::{self, SURPRISAL_ERROR_EXTENT};

/// Where a gradient and the finite differences differ most.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_gradient_check {
    /// Index of the worst entry.
    pub index: usize,
    /// What the gradient says there.
    pub analytic: f64,
    /// What the finite differences say there.
    pub numeric: f64,
    /// |analytic - numeric| over the gradient's largest magnitude (or |numeric|, where that is larger); NaN where one of them is.
    pub error: f64,
}

/// A function whose gradient is checked: of an array, with the caller's own data. It must return (no exception, no longjmp).
pub type surprisal_function = Option<unsafe extern "C" fn(x: *const f64, user: *mut c_void) -> f64>;

/// The oracle: the loss, and its gradient where `dlogits` is not NULL, in double precision, by plain loops and formulas that were derived by
/// hand. Both matrices are `[batch.rows x vocab]`, contiguous. It shares no arithmetic with the fast path, and is slow.
///
/// To compare with other types, widen the logits.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_reference_forward_backward(
    loss: *const surprisal_loss,
    batch: *const surprisal_batch,
    logits: *const f64,
    vocab: usize,
    dlogits: *mut f64,
    report: *mut surprisal_report,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs and arrays.
        let (loss, batch, logits, dlogits, report) = unsafe {
            let loss = LossInput::read(loss, vocab, &mut memory)?;
            let batch = BatchInput::whole(batch, &mut memory)?;
            let len = matrix_len(batch.rows.len, vocab)?;
            let logits = memory.input("logits", logits, len)?;
            let dlogits = memory.optional_output("dlogits", dlogits, len)?;
            (loss, batch, logits, dlogits, memory.output("report", report, 1)?)
        };
        let checked = memory.check()?;
        let (loss, rows, z) = (loss.get(&checked), batch.rows.len, logits.get(&checked));
        let batch = batch.get(&checked)?;
        let computed = match dlogits.map(|dlogits| dlogits.get(&checked)) {
            None => reference::forward(&loss, z, rows, vocab, &batch),
            Some(dz) => reference::forward_backward(&loss, z, rows, vocab, &batch, dz),
        };
        report.get(&checked).fill(computed?.into());
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// The loss as a function of `logits` alone, with all that is detached held at its value at `at`: what finite differences of a stop-gradient
/// objective must be taken of. Both matrices are `[batch.rows x vocab]`; where they are equal, so are value and gradient to those of the loss.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_reference_surrogate(
    loss: *const surprisal_loss,
    batch: *const surprisal_batch,
    logits: *const f64,
    at: *const f64,
    vocab: usize,
    out: *mut f64,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs and arrays.
        let (loss, batch, logits, at, out) = unsafe {
            let loss = LossInput::read(loss, vocab, &mut memory)?;
            let batch = BatchInput::whole(batch, &mut memory)?;
            let len = matrix_len(batch.rows.len, vocab)?;
            let logits = memory.input("logits", logits, len)?;
            let at = memory.input("at", at, len)?;
            (loss, batch, logits, at, memory.output("out", out, 1)?)
        };
        let checked = memory.check()?;
        let (loss, rows) = (loss.get(&checked), batch.rows.len);
        let (z, at) = (logits.get(&checked), at.get(&checked));
        let value = reference::surrogate(&loss, z, at, rows, vocab, &batch.get(&checked)?)?;
        out.get(&checked).fill(value);
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Compares `gradient` with central differences of fourth order of `function` at `x` (both of `count` elements), and writes the worst entry.
///
/// Calls `function(x, user)` four times an entry, with one entry of `x` moved by `step` or two; afterwards `x` has its old values. With a
/// function of size 1 and steps near 1e-3 about 1e-12 is left of truncation and rounding.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_check_gradient(
    function: surprisal_function,
    user: *mut c_void,
    x: *mut f64,
    gradient: *const f64,
    count: usize,
    step: f64,
    out: *mut surprisal_gradient_check,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        let function = function.ok_or(Failure::missing("function"))?;
        if !(step > 0.0 && step.is_finite()) {
            return Err(Failure::option("step", "expected a finite number > 0").value(step));
        }
        // SAFETY: the C caller's arrays.
        let (x, gradient, out) = unsafe {
            (
                memory.output("x", x, count)?,
                memory.input("gradient", gradient, count)?,
                memory.output("out", out, 1)?,
            )
        };
        let checked = memory.check()?;
        // SAFETY: the C caller's function, for an array of `count` elements; it returns (documented).
        let f = |x: &[f64]| unsafe { function(x.as_ptr(), user) };
        let check = reference::check_gradient(f, x.get(&checked), gradient.get(&checked), step);
        let reference::GradientCheck { index, analytic, numeric, error } = check;
        out.get(&checked).fill(surprisal_gradient_check { index, analytic, numeric, error });
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

fn matrix_len(rows: usize, vocab: usize) -> Result<usize, Failure> {
    let overflow = Failure::new(SURPRISAL_ERROR_EXTENT, "logits", "its size overflows");
    rows.checked_mul(vocab).ok_or(overflow)
}
