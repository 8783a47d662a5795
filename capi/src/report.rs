//! The report of a call: the reduced loss, and what adds up over ranges of rows, micro-batches and ranks.

use surprisal::LossReport;

use crate::detail::{finish, surprisal_error_detail};
use crate::memory::{Memory, peek};
use crate::status::surprisal_status;

/// What a call computes besides gradients. An output that needs no initial value; one that reports are added to begins with `SURPRISAL_REPORT_INIT`.
///
/// Sums are over the tokens that count, in double precision, in an order that depends on nothing but the number and the length of the call's rows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_report {
    /// Tokens that count.
    pub tokens: usize,
    /// Tokens among them whose target has the largest logit (ties count).
    pub correct: usize,
    /// The reduced loss: what the gradient is the gradient of, but for `grad_scale`. Of a range of rows, its share.
    pub loss: f64,
    /// Sum of the tokens' weighted losses.
    pub loss_sum: f64,
    /// Sum of -ln p, unweighted: the number to watch, since weighted losses of different objectives do not compare.
    pub nll_sum: f64,
    /// Sum of token weight times class weight of the target.
    pub weight_sum: f64,
    /// The first row without a softmax (NaN or +inf among its logits, or nothing finite), whose loss and gradient are NaN; -1 where there is
    /// none.
    pub invalid_row: i64,
    /// The temperature that the objective found in the batch (talr-auto, flow); 0 for objectives that look for none.
    pub tau: f64,
    /// Zero: room for more, which older programs do not look at.
    pub reserved: [u64; 6],
}

impl surprisal_report {
    /// The report of no rows.
    const EMPTY: Self = Self {
        tokens: 0,
        correct: 0,
        loss: 0.0,
        loss_sum: 0.0,
        nll_sum: 0.0,
        weight_sum: 0.0,
        invalid_row: -1,
        tau: 0.0,
        reserved: [0; 6],
    };
}

impl From<LossReport> for surprisal_report {
    fn from(report: LossReport) -> Self {
        Self {
            tokens: report.tokens,
            correct: report.correct,
            loss: report.loss,
            loss_sum: report.loss_sum,
            nll_sum: report.nll_sum,
            weight_sum: report.weight_sum,
            invalid_row: report.invalid_row.and_then(|row| i64::try_from(row).ok()).unwrap_or(-1),
            // A temperature is above 0.
            tau: report.tau.unwrap_or(0.0),
            ..Self::EMPTY
        }
    }
}

impl From<surprisal_report> for LossReport {
    fn from(from: surprisal_report) -> Self {
        let mut report = Self::default();
        report.loss = from.loss;
        report.loss_sum = from.loss_sum;
        report.nll_sum = from.nll_sum;
        report.weight_sum = from.weight_sum;
        report.tokens = from.tokens;
        report.correct = from.correct;
        report.invalid_row = usize::try_from(from.invalid_row).ok();
        report.tau = (from.tau != 0.0).then_some(from.tau);
        report
    }
}

/// Makes a report that of no rows, to add others to, as `SURPRISAL_REPORT_INIT` does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_report_init(
    report: *mut surprisal_report,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's struct.
        let report = unsafe { memory.output("report", report, 1) }?;
        report.get(&memory.check()?).fill(surprisal_report::EMPTY);
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Adds the report of another range of rows of the same batch to `report`; everything adds up, the loss too. (Over micro-batches or ranks
/// whose losses are means of their own, add the sums and divide.)
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_report_merge(
    report: *mut surprisal_report,
    other: *const surprisal_report,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs.
        let (report, other) =
            unsafe { (memory.output("report", report, 1)?, memory.input("other", other, 1)?) };
        let checked = memory.check()?;
        for (report, other) in report.get(&checked).iter_mut().zip(other.get(&checked)) {
            *report = LossReport::from(*report).merge((*other).into()).into();
        }
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// A figure of a report; NaN for NULL.
///
/// # Safety
/// As [`peek`].
unsafe fn figure(report: *const surprisal_report, of: impl Fn(&LossReport) -> f64) -> f64 {
    // SAFETY: passed on.
    unsafe { peek(report) }.map_or(f64::NAN, |report| of(&(*report).into()))
}

/// Mean of -ln p over the tokens, in nats; 0 without tokens, NaN for NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_report_mean_nll(report: *const surprisal_report) -> f64 {
    // SAFETY: the C caller's struct.
    unsafe { figure(report, LossReport::mean_nll) }
}

/// e to the mean of -ln p; NaN for NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_report_perplexity(report: *const surprisal_report) -> f64 {
    // SAFETY: the C caller's struct.
    unsafe { figure(report, LossReport::perplexity) }
}

/// Code length: mean of -log2 p, in bits; NaN for NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_report_bits_per_token(report: *const surprisal_report) -> f64 {
    // SAFETY: the C caller's struct.
    unsafe { figure(report, LossReport::bits_per_token) }
}

/// Share of the tokens whose target has the largest logit; 0 without tokens, NaN for NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_report_accuracy(report: *const surprisal_report) -> f64 {
    // SAFETY: the C caller's struct.
    unsafe { figure(report, LossReport::accuracy) }
}
