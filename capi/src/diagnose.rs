//! What people look at while they fine-tune: how probable the targets are, and how much the weights concentrate.

use surprisal::Batch;

use crate::batch::surprisal_batch;
use crate::batch_input::BatchInput;
use crate::detail::{finish, surprisal_error_detail};
use crate::memory::Memory;
use crate::status::Failure;
use crate::status::surprisal_status::{self, SURPRISAL_ERROR_SHAPE};

/// Histogram of the targets' probabilities over `bin_count` equal bins of [0, 1]: adds each token of `log_probs` (one entry a row) to its bin.
///
/// Bin i of n holds i/n <= p < (i+1)/n; p = 1 falls in the last. NaN and ignored rows are not counted.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_histogram(
    batch: *const surprisal_batch,
    log_probs: *const f32,
    bins: *mut u64,
    bin_count: usize,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs and arrays.
        let (batch, log_probs, bins) = unsafe {
            let batch = BatchInput::whole(batch, &mut memory)?;
            let log_probs = memory.input("log_probs", log_probs, batch.rows.len)?;
            (batch, log_probs, memory.output("bins", bins, bin_count)?)
        };
        if bin_count == 0 {
            return Err(Failure::new(SURPRISAL_ERROR_SHAPE, "bin_count", "is 0").value(0.0));
        }
        let checked = memory.check()?;
        let batch = batch.get(&checked)?;
        Ok(surprisal::diagnose::histogram(&batch, log_probs.get(&checked), bins.get(&checked))?)
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Share of the tokens that are hard: p below `threshold`. 0 without tokens. `log_probs` has one entry a row.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_hard_token_share(
    batch: *const surprisal_batch,
    log_probs: *const f32,
    threshold: f64,
    out: *mut f64,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let share =
        |batch: &Batch<'_>, p: &[f32]| surprisal::diagnose::hard_token_share(batch, p, threshold);
    // SAFETY: the C caller's structs and arrays.
    unsafe { finish(detail, |memory| figure(batch, ("log_probs", log_probs), out, share, memory)) }
}

/// Effective sample size of the tokens' weights (one entry a row): (sum w)^2 / sum w^2. The number of tokens where all weigh the same, 1 where one
/// has all the weight, 0 without weight.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_effective_sample_size(
    batch: *const surprisal_batch,
    weights: *const f32,
    out: *mut f64,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let size = surprisal::diagnose::effective_sample_size;
    // SAFETY: the C caller's structs and arrays.
    unsafe { finish(detail, |memory| figure(batch, ("weights", weights), out, size, memory)) }
}

/// Second moment of the tokens' weights (one entry a row): mean of w^2. 0 without tokens.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_second_moment(
    batch: *const surprisal_batch,
    weights: *const f32,
    out: *mut f64,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let moment = surprisal::diagnose::second_moment;
    // SAFETY: the C caller's structs and arrays.
    unsafe { finish(detail, |memory| figure(batch, ("weights", weights), out, moment, memory)) }
}

/// One number of a batch and an array of one entry a row.
///
/// # Safety
/// As [`BatchInput::read`], [`Memory::input`], [`Memory::output`].
unsafe fn figure(
    batch: *const surprisal_batch,
    (argument, values): (&'static str, *const f32),
    out: *mut f64,
    of: impl Fn(&Batch<'_>, &[f32]) -> Result<f64, surprisal::Error>,
    mut memory: Memory,
) -> Result<(), Failure> {
    // SAFETY: passed on.
    let (batch, values, out) = unsafe {
        let batch = BatchInput::whole(batch, &mut memory)?;
        let values = memory.input(argument, values, batch.rows.len)?;
        (batch, values, memory.output("out", out, 1)?)
    };
    let checked = memory.check()?;
    let value = of(&batch.get(&checked)?, values.get(&checked))?;
    out.get(&checked).fill(value);
    Ok(())
}
