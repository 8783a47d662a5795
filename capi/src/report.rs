//! The report of a call: the reduced loss, and what adds up over ranges of rows, micro-batches and ranks.

use surprisal::LossReport;

use crate::detail::{finish, surprisal_error_detail};
use crate::memory::Memory;
use crate::status::surprisal_status;
use crate::versioned::{self, Versioned, versioned};

/// What a call computes besides gradients. An output: begin with `SURPRISAL_REPORT_INIT`.
///
/// Sums are over the tokens that count, in double precision, in an order that depends on nothing but the number of rows.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_report {
    /// `sizeof(surprisal_report)`.
    pub struct_size: usize,
    /// Tokens that count.
    pub tokens: usize,
    /// Tokens among them whose target has the largest logit (ties count).
    pub correct: usize,
    /// Zero.
    pub reserved: usize,
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
}

versioned!(surprisal_report: "report" then tau, surprisal_report {
    struct_size: size_of::<surprisal_report>(),
    tokens: 0,
    correct: 0,
    reserved: 0,
    loss: 0.0,
    loss_sum: 0.0,
    nll_sum: 0.0,
    weight_sum: 0.0,
    invalid_row: -1,
    tau: 0.0,
});

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
            ..Self::INIT
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

/// Fills a report with its initial values, as `SURPRISAL_REPORT_INIT` does: the report of no rows.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_report_init(
    report: *mut surprisal_report,
    struct_size: usize,
) -> surprisal_status {
    // SAFETY: the C caller passes `struct_size` bytes of its own.
    unsafe { surprisal_report::init(report, struct_size) }
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
        let (merged, other, out) = unsafe {
            let merged = versioned::read(report)?.0;
            (merged, memory.read_struct("other", other)?, memory.write_struct(report)?)
        };
        memory.check()?;
        out.write(LossReport::from(merged).merge(other.into()).into());
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// A figure of a report; NaN where it cannot be read.
///
/// # Safety
/// As [`versioned::read`].
unsafe fn figure(report: *const surprisal_report, of: impl Fn(&LossReport) -> f64) -> f64 {
    // SAFETY: passed on.
    unsafe { versioned::read(report) }.map_or(f64::NAN, |(report, _)| of(&report.into()))
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
