//! Stage 1: what is known of a row after one pass over its logits. A monoid, so that nothing else knows how a row was cut.

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

    /// exp(target − max).
    fn at_target(&self) -> f64 {
        match self.max {
            // Nothing is finite; a target elsewhere counts as 0.
            f64::MIN => 0.0,
            max if max == self.target_logit => 1.0,
            max => exp(self.target_logit - max),
        }
    }

    /// The softmax of a whole row, target included.
    #[inline]
    pub(crate) fn softmax(&self) -> Softmax {
        Softmax::new(*self, self.at_target())
    }

    /// The softmax of a whole row that was summed without a target.
    #[inline]
    pub(crate) fn softmax_without_target(&self) -> Softmax {
        Softmax::new(*self, 0.0)
    }
}

/// e^x for x ≤ 0, within 1e-15 of itself: once or twice a row, where libm's takes as long as the exponentials of a hundred classes.
#[inline]
fn exp(x: f64) -> f64 {
    /// ln 2 in two parts, the first with so few bits that n·LN2_HI is exact.
    const LN2_HI: f64 = 0.693_147_180_369_123_8;
    const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
    /// 1.5·2^52: adding it rounds to the nearest integer, which then stands in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    // NaN and what is no normal number go the long way.
    if !(x > -700.0 && x <= 0.0) {
        return libm::exp(x);
    }
    let shifted = x * core::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN2_HI) - n * LN2_LO;
    // 1/k!: the Taylor series, in pairs that do not wait for each other.
    let (r2, r4) = (r * r, r * r * (r * r));
    let low = (1.0 + r) + r2 * (1.0 / 2.0 + r * (1.0 / 6.0));
    let middle = (1.0 / 24.0 + r * (1.0 / 120.0)) + r2 * (1.0 / 720.0 + r * (1.0 / 5040.0));
    let high = (1.0 / 40_320.0 + r * (1.0 / 362_880.0))
        + r2 * (1.0 / 3_628_800.0 + r * (1.0 / 39_916_800.0) + r2 * (1.0 / 479_001_600.0));
    let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1.0_f64.to_bits()));
    (low + r4 * (middle + r4 * high)) * power
}

/// What everything else of a row is made of, computed once: NaN for a row without a softmax.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Softmax {
    pub(crate) stats: RowStats,
    /// exp(target − max).
    at_target: f64,
    /// Σ exp(z − max).
    pub(crate) sum: f64,
    pub(crate) ln_sum: f64,
    /// −ln p of the target.
    pub(crate) nll: f64,
    /// p and 1 − p of the target.
    pub(crate) p: f64,
    pub(crate) miss: f64,
}

impl Softmax {
    #[inline]
    fn new(stats: RowStats, at_target: f64) -> Self {
        let sum = stats.others + at_target;
        let sum = if sum > 0.0 { sum } else { f64::NAN };
        let ln_sum = if at_target == 1.0 { libm::log1p(stats.others) } else { libm::log(sum) };
        let nll = (stats.max - stats.target_logit) + ln_sum;
        Self { stats, at_target, sum, ln_sum, nll, p: at_target / sum, miss: stats.others / sum }
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.sum > 0.0
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
        self.stats.max + self.ln_sum
    }

    /// See [`RowStats::entropy`].
    pub(crate) fn entropy(&self) -> f64 {
        let x = self.stats.target_logit - self.stats.max;
        let own = if self.at_target == 0.0 { 0.0 } else { self.at_target * x };
        self.ln_sum - (self.stats.sum_exp_logits + own) / self.sum
    }

    /// See [`RowStats::sum_squares`].
    pub(crate) fn sum_squares(&self) -> f64 {
        (self.stats.sum_exp_squared + self.at_target * self.at_target) / (self.sum * self.sum)
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
    fn exp_is_that_of_libm() {
        for step in 0..2_000_000_u32 {
            let x = -f64::from(step) * 3.7e-4;
            let (actual, exact) = (exp(x), libm::exp(x));
            assert!((actual - exact).abs() <= 1e-15 * exact, "{x}: {actual:e}, not {exact:e}");
        }
        assert_eq!((exp(0.0), exp(-0.0), exp(f64::NEG_INFINITY)), (1.0, 1.0, 0.0));
        assert!(exp(f64::NAN).is_nan());
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
