//! Row statistics and token terms: what the stages hand to each other, and what vocabulary shards exchange.

use core::mem::offset_of;

use surprisal::RowStats;
use surprisal::objective::TokenTerm;

use crate::detail::{finish, surprisal_error_detail};
use crate::memory::{Memory, peek};
use crate::status::Failure;
use crate::status::surprisal_status::{self, SURPRISAL_ERROR_VALUE};

/// Statistics of one row, or of a part of one: six doubles, which a collective can carry. A monoid under `surprisal_stats_merge`, with
/// `SURPRISAL_STATS_EMPTY` as identity. Logits are the transformed ones here (after logit scale and soft-cap).
///
/// The target is left out of the sums over exp(z - max), so that 1 - p is one of them and never a difference: -ln p keeps its digits where p is
/// near 1.
///
/// A part without any finite logit is empty; NaN or +inf among the logits makes `others` NaN.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_stats {
    /// Largest logit, the target's among them; `-DBL_MAX` where there is none.
    pub max: f64,
    /// Sum of exp(z - max) over the classes other than the target.
    pub others: f64,
    /// Logit of the target; 0 where the target is in another part.
    pub target_logit: f64,
    /// Sum of class weight times z over all classes, for label smoothing; NaN where it was not asked for.
    pub sum_logits: f64,
    /// Sum of exp(z - max) (z - max) over the classes other than the target, for the entropy; NaN where it was not asked for.
    pub sum_exp_logits: f64,
    /// Sum of exp(z - max)^2 over the classes other than the target, for the sum of p^2; NaN where it was not asked for.
    pub sum_exp_squared: f64,
}

/// What a token contributes: the output of `surprisal_token_terms` and an input of `surprisal_logits_grad`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_term {
    /// The token's weighted loss, before the reduction divides it.
    pub loss: f64,
    /// -d (reduced loss) / d ln p, all weights, the reduction and `grad_scale` included.
    pub coef: f64,
    /// What multiplies label smoothing and z-loss in the gradient of the row: token weight, reduction and `grad_scale`.
    pub dense: f64,
}

const _: () = assert!(
    size_of::<surprisal_stats>() == size_of::<RowStats>()
        && offset_of!(surprisal_stats, max) == offset_of!(RowStats, max)
        && offset_of!(surprisal_stats, others) == offset_of!(RowStats, others)
        && offset_of!(surprisal_stats, target_logit) == offset_of!(RowStats, target_logit)
        && offset_of!(surprisal_stats, sum_logits) == offset_of!(RowStats, sum_logits)
        && offset_of!(surprisal_stats, sum_exp_logits) == offset_of!(RowStats, sum_exp_logits)
        && offset_of!(surprisal_stats, sum_exp_squared) == offset_of!(RowStats, sum_exp_squared)
        && size_of::<surprisal_term>() == size_of::<TokenTerm>()
        && offset_of!(surprisal_term, loss) == offset_of!(TokenTerm, loss)
        && offset_of!(surprisal_term, coef) == offset_of!(TokenTerm, coef)
        && offset_of!(surprisal_term, dense) == offset_of!(TokenTerm, dense)
);

/// Makes `count` statistics those of no logits, `SURPRISAL_STATS_EMPTY`, to merge others into.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_stats_init(
    stats: *mut surprisal_stats,
    count: usize,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's array of `count` entries; the layouts agree (asserted above).
        let stats = unsafe { memory.output::<RowStats>("stats", stats.cast(), count) }?;
        stats.get(&memory.check()?).fill(RowStats::EMPTY);
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Merges the statistics of other parts of the same rows: `merged[i] = merge(merged[i], part[i])` for each of `count` rows.
///
/// Associative up to rounding in double precision, commutative bit for bit. The body of an `MPI_Op`:
/// `surprisal_stats_merge(in, inout, *len, NULL)`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_stats_merge(
    part: *const surprisal_stats,
    merged: *mut surprisal_stats,
    count: usize,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's arrays of `count` entries; the layouts agree (asserted above).
        let (part, merged) = unsafe {
            (
                memory.input::<RowStats>("part", part.cast(), count)?,
                memory.output::<RowStats>("merged", merged.cast(), count)?,
            )
        };
        let checked = memory.check()?;
        for (merged, part) in merged.get(&checked).iter_mut().zip(part.get(&checked)) {
            *merged = merged.merge(*part);
        }
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Expresses statistics relative to a common maximum, after which parts merge by adding all fields but `max`. For collectives that only have
/// MAX and SUM: reduce each row's `max` by MAX, rebase to it, sum the others.
///
/// `max[i]` is at least `stats[i].max`, for each of `count` rows.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_stats_rebase(
    stats: *mut surprisal_stats,
    max: *const f64,
    count: usize,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's arrays of `count` entries; the layouts agree (asserted above).
        let (stats, max) = unsafe {
            (
                memory.output::<RowStats>("stats", stats.cast(), count)?,
                memory.input("max", max, count)?,
            )
        };
        let checked = memory.check()?;
        let (stats, max) = (stats.get(&checked), max.get(&checked));
        for (index, (stats, &max)) in stats.iter().zip(max).enumerate() {
            if max.is_nan() || max < stats.max {
                let failure = Failure::new(SURPRISAL_ERROR_VALUE, "max", "is below the part's own");
                return Err(failure.index(index).value(max));
            }
        }
        for (stats, max) in stats.iter_mut().zip(max) {
            *stats = stats.rebase(*max);
        }
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// A figure of one row's statistics; NaN for NULL.
///
/// # Safety
/// As [`peek`].
unsafe fn figure(stats: *const surprisal_stats, of: impl Fn(&RowStats) -> f64) -> f64 {
    // SAFETY: passed on; the layouts agree (asserted above).
    unsafe { peek(stats.cast::<RowStats>()) }.map_or(f64::NAN, of)
}

/// -ln p of the target, in nats, from the statistics of a whole row. Never negative, and accurate relative to itself however near p is to 1.
/// NaN for a row without a softmax and for NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_stats_nll(stats: *const surprisal_stats) -> f64 {
    // SAFETY: the C caller's struct.
    unsafe { figure(stats, RowStats::nll) }
}

/// 1 - p of the target: the probability of all other classes, accurate relative to itself. NaN for a row without a softmax and for NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_stats_miss(stats: *const surprisal_stats) -> f64 {
    // SAFETY: the C caller's struct.
    unsafe { figure(stats, RowStats::miss) }
}

/// ln of the sum of exp(z). NaN for a row without a softmax and for NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_stats_log_sum_exp(stats: *const surprisal_stats) -> f64 {
    // SAFETY: the C caller's struct.
    unsafe { figure(stats, RowStats::log_sum_exp) }
}

/// Entropy of the row, in nats, from the statistics of a call that was asked for it (`loss.moments` or `outputs.entropy`); NaN for others, for a row
/// without a softmax and for NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_stats_entropy(stats: *const surprisal_stats) -> f64 {
    // SAFETY: the C caller's struct.
    unsafe { figure(stats, RowStats::entropy) }
}

/// Sum of p^2 over the classes of the row: the probability that two draws agree. From the statistics of a call that was asked for it, as
/// `surprisal_stats_entropy`; NaN for others, for a row without a softmax and for NULL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_stats_sum_squares(stats: *const surprisal_stats) -> f64 {
    // SAFETY: the C caller's struct.
    unsafe { figure(stats, RowStats::sum_squares) }
}
