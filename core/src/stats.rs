//! Stage 1: what is known of a row after one pass over its logits. A monoid, so that nothing else knows how a row was cut.

use fearless_simd::Level;

use crate::kernel::TOGETHER;
use crate::kernel::level::dispatch;
use crate::math::{exp, ln_and_inverse};
use crate::target::TargetSoftmax;

/// Statistics of one row (or of a part of one): all that the later stages need of its logits.
///
/// The target is left out of the sums, so that 1 − p is one of them and never a difference: −ln p = ln(1 + `others` / e^(target − max)) keeps
/// its digits where p is near 1. Logits here are the transformed ones (after logit scale and soft-cap). Fields are f64: 48 bytes a row, never
/// hot, and six doubles in C, so that a collective can carry them.
///
/// # Special values
/// A part without any finite logit is [`RowStats::EMPTY`]; a NaN or +inf among the logits makes `others` NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct RowStats {
    /// Largest logit, the target's among them; `f64::MIN` where there is none.
    pub max: f64,
    /// Σ exp(z − max) over the classes other than the target.
    pub others: f64,
    /// Logit of the target; 0 where the target is in another part.
    pub target_logit: f64,
    /// Σ w·z over all classes (w: class weights, 1 without), for label smoothing; NaN where it was not asked for.
    pub sum_logits: f64,
    /// Σ exp(z − max)·(z − max) over the classes other than the target, for the entropy; NaN where it was not asked for.
    pub sum_exp_logits: f64,
    /// Σ exp(z − max)² over the classes other than the target, for Σp²; NaN where it was not asked for.
    pub sum_exp_squared: f64,
}

impl RowStats {
    /// Statistics of no logits at all: the identity of [`RowStats::merge`].
    pub const EMPTY: Self = Self {
        max: f64::MIN,
        others: 0.0,
        target_logit: 0.0,
        sum_logits: 0.0,
        sum_exp_logits: 0.0,
        sum_exp_squared: 0.0,
    };

    /// [`RowStats::EMPTY`], with NaN for the sums that are only there where they were asked for.
    pub(crate) const UNASKED: Self = Self {
        sum_logits: f64::NAN,
        sum_exp_logits: f64::NAN,
        sum_exp_squared: f64::NAN,
        ..Self::EMPTY
    };

    /// Statistics of two disjoint parts of a row, together.
    ///
    /// Associative up to rounding in f64, commutative bit for bit, with [`RowStats::EMPTY`] as identity bit for bit.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let max = if self.max >= other.max { self.max } else { other.max };
        let (a, b) = (self.rebase(max), other.rebase(max));
        Self {
            max,
            others: a.others + b.others,
            target_logit: a.target_logit + b.target_logit,
            sum_logits: a.sum_logits + b.sum_logits,
            sum_exp_logits: a.sum_exp_logits + b.sum_exp_logits,
            sum_exp_squared: a.sum_exp_squared + b.sum_exp_squared,
        }
    }

    /// The same statistics relative to a common maximum, after which parts merge by adding their fields.
    ///
    /// For collectives that only have MAX and SUM: reduce `max` by MAX, rebase every part to it, sum the other fields.
    /// `max` must be at least `self.max`.
    #[must_use]
    #[inline]
    pub fn rebase(self, max: f64) -> Self {
        let shift = self.max - max;
        if shift == 0.0 {
            return Self { max, ..self };
        }
        let factor = libm::exp(shift);
        // factor is 0 where the shift is huge, and 0 · −inf would be NaN.
        let moved = if factor == 0.0 { 0.0 } else { factor * self.others * shift };
        Self {
            max,
            others: self.others * factor,
            sum_exp_logits: self.sum_exp_logits * factor + moved,
            sum_exp_squared: self.sum_exp_squared * factor * factor,
            ..self
        }
    }

    /// −ln p of the target, in nats. Never negative, and accurate relative to itself, however near to 1 p is.
    ///
    /// Formed as (max − target) + ln Σ exp(z − max), never through lse: common offsets of the logits cost no digits.
    #[must_use]
    pub fn nll(&self) -> f64 {
        self.softmax().nll
    }

    /// ln p of the target.
    #[must_use]
    pub fn log_prob(&self) -> f64 {
        -self.nll()
    }

    /// 1 − p of the target: the probability of all other classes, accurate relative to itself.
    #[must_use]
    pub fn miss(&self) -> f64 {
        self.softmax().miss
    }

    /// ln Σ exp(z).
    #[must_use]
    pub fn log_sum_exp(&self) -> f64 {
        self.softmax().log_sum_exp()
    }

    /// Entropy of the row in nats: −Σ p ln p. NaN where `sum_exp_logits` was not asked for.
    #[must_use]
    pub fn entropy(&self) -> f64 {
        self.softmax().entropy()
    }

    /// Σ p²: the probability that two draws agree. NaN where `sum_exp_squared` was not asked for.
    #[must_use]
    pub fn sum_squares(&self) -> f64 {
        self.softmax().sum_squares()
    }

    /// Whether the target has the largest logit. A tie counts: in 16-bit logits ties are common, and which of the tied
    /// classes an argmax names is an accident.
    #[must_use]
    pub fn is_correct(&self) -> bool {
        self.softmax().is_correct()
    }

    /// Whether the row has a softmax: some finite logit, no NaN, no +inf.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.softmax().is_valid()
    }

    /// The softmax of a whole row, target included.
    pub(crate) fn softmax(&self) -> Softmax {
        let mut row = [Softmax { stats: *self, ..Softmax::NONE }];
        Softmax::find(&mut row);
        let [softmax] = row;
        softmax
    }
}

/// What everything else of a row is made of, computed once: NaN for a row without a softmax.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Softmax {
    pub(crate) stats: RowStats,
    /// exp(target − max).
    at_target: f64,
    /// ln Σ exp(z − max), and 1/Σ.
    pub(crate) ln_sum: f64,
    pub(crate) inverse: f64,
    /// −ln p of the target.
    pub(crate) nll: f64,
    /// p and 1 − p of the target.
    pub(crate) p: f64,
    pub(crate) miss: f64,
}

impl Softmax {
    /// The softmaxes of several rows, [`TOGETHER`] at most, with the instructions of a level and the same bits as one by one.
    pub(crate) fn of_rows(level: Level, rows: &[RowStats]) -> [Self; TOGETHER] {
        let mut found = [Self::NONE; TOGETHER];
        for (softmax, stats) in found.iter_mut().zip(rows) {
            softmax.stats = *stats;
        }
        dispatch!(level, simd => {
            let _ = simd;
            Self::find(&mut found);
        });
        found
    }

    /// Everything but the statistics, from those.
    #[inline(always)]
    fn find<const N: usize>(rows: &mut [Self; N]) {
        let (mut others, mut distance, mut at_target) = ([0.0; N], [0.0; N], [0.0; N]);
        for i in 0..N {
            others[i] = rows[i].stats.others;
            distance[i] = rows[i].stats.target_logit - rows[i].stats.max;
        }
        let e = exp(distance);
        for i in 0..N {
            // Nothing is finite; a target elsewhere counts as 0.
            at_target[i] = if rows[i].stats.max == f64::MIN { 0.0 } else { e[i] };
        }
        let (ln_sum, inverse) = ln_and_inverse(others, at_target);
        for (i, row) in rows.iter_mut().enumerate() {
            let target = TargetSoftmax {
                distance: distance[i],
                at_target: at_target[i],
                others: others[i],
                ln_sum: ln_sum[i],
                inverse: inverse[i],
            };
            *row = Self {
                stats: row.stats,
                at_target: at_target[i],
                ln_sum: ln_sum[i],
                inverse: inverse[i],
                nll: target.nll(),
                p: target.p(),
                miss: target.miss(),
            };
        }
    }

    /// That of [`RowStats::EMPTY`].
    pub(crate) const NONE: Self = Self {
        stats: RowStats::EMPTY,
        at_target: 0.0,
        ln_sum: f64::NAN,
        inverse: f64::NAN,
        nll: f64::NAN,
        p: f64::NAN,
        miss: f64::NAN,
    };

    pub(crate) fn target(&self) -> TargetSoftmax<f64> {
        let Self { stats, at_target, ln_sum, inverse, .. } = *self;
        let distance = stats.target_logit - stats.max;
        TargetSoftmax { distance, at_target, others: stats.others, ln_sum, inverse }
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.inverse > 0.0
    }

    /// See [`RowStats::is_correct`].
    pub(crate) fn is_correct(&self) -> bool {
        self.is_valid() && self.stats.target_logit == self.stats.max
    }

    /// See [`RowStats::log_prob`].
    pub(crate) fn log_prob(&self) -> f64 {
        -self.nll
    }

    /// See [`RowStats::log_sum_exp`].
    pub(crate) fn log_sum_exp(&self) -> f64 {
        self.target().log_sum_exp(self.stats.max)
    }

    /// See [`RowStats::entropy`].
    pub(crate) fn entropy(&self) -> f64 {
        self.target().entropy(self.stats.sum_exp_logits)
    }

    /// See [`RowStats::sum_squares`].
    pub(crate) fn sum_squares(&self) -> f64 {
        self.target().sum_squares(self.stats.sum_exp_squared)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "tests compare with the standard library")]
mod tests {
    extern crate std;

    use super::*;

    /// Largest error of `log_sum_exp`, rounded to f32, over every `step`-th positive f32 as the sum, in ULP of the true logarithm.
    fn worst(step: usize) -> f64 {
        let error = |bits: u32| {
            let others = f64::from(f32::from_bits(bits));
            let impossible = f64::NEG_INFINITY;
            let stats = RowStats { max: 0.0, others, target_logit: impossible, ..RowStats::EMPTY };
            let exact = others.ln();
            if exact == 0.0 {
                return stats.log_sum_exp().abs();
            }
            let ulp = (exact.abs().log2().floor() - 23.0).exp2();
            #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
            let actual = f64::from(stats.log_sum_exp() as f32);
            (actual - exact).abs() / ulp
        };
        let positive = (1..f32::INFINITY.to_bits()).step_by(step);
        positive.map(error).fold(0.0, |worst, e| if e <= worst { worst } else { e })
    }

    #[test]
    fn ln_is_rounded_once_by_stride() {
        let error = worst(997);
        assert!(error <= 0.500_001, "{error} ulp");
    }

    #[test]
    #[ignore = "every positive f32, minutes: cargo test -p surprisal --release -- --ignored"]
    fn ln_is_rounded_once_exhaustively() {
        let error = worst(1);
        std::println!("ln: {error:.7} ulp");
        assert!(error <= 0.500_001, "{error} ulp");
    }
}
