//! Stage 1: what is known of a row after one pass over its logits. A monoid, so that nothing else knows how a row was cut.

/// Statistics of one row (or of a part of one): all that the later stages need of its logits.
///
/// Logits here are the transformed ones (after logit scale and soft-cap). Fields are f64: 40 bytes a row, never hot, and
/// five doubles in C, so that a collective can carry them.
///
/// # Special values
/// A part without any finite logit is [`RowStats::EMPTY`]; a NaN or +inf among the logits makes `sum_exp` NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct RowStats {
    /// Largest logit; `f32::MIN` where there is none (a finite identity: shaders may assume that no infinity exists).
    pub max: f64,
    /// Σ exp(z − max); 0 where no logit is finite.
    pub sum_exp: f64,
    /// Logit of the target; 0 where the target is in another part.
    pub target_logit: f64,
    /// Σ w·z over the classes (w: class weights, 1 without), for label smoothing; NaN where it was not asked for.
    pub sum_logits: f64,
    /// Σ exp(z − max)·(z − max), for the entropy; NaN where it was not asked for.
    pub sum_exp_logits: f64,
}

impl RowStats {
    /// Statistics of no logits at all: the identity of [`RowStats::merge`].
    pub const EMPTY: Self = Self {
        max: f32::MIN as f64,
        sum_exp: 0.0,
        target_logit: 0.0,
        sum_logits: 0.0,
        sum_exp_logits: 0.0,
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
            sum_exp: a.sum_exp + b.sum_exp,
            target_logit: a.target_logit + b.target_logit,
            sum_logits: a.sum_logits + b.sum_logits,
            sum_exp_logits: a.sum_exp_logits + b.sum_exp_logits,
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
        let moved = if factor == 0.0 { 0.0 } else { factor * self.sum_exp * shift };
        Self {
            max,
            sum_exp: self.sum_exp * factor,
            sum_exp_logits: self.sum_exp_logits * factor + moved,
            ..self
        }
    }

    /// −ln p of the target, in nats.
    ///
    /// Formed as (max − target) + ln Σ exp(z − max), never through lse: common offsets of the logits cost no digits.
    #[must_use]
    pub fn nll(&self) -> f64 {
        self.softmax().nll()
    }

    /// ln p of the target.
    #[must_use]
    pub fn log_prob(&self) -> f64 {
        -self.nll()
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

    /// Whether the target has the largest logit. A tie counts: in 16-bit logits ties are common, and which of the tied
    /// classes an argmax names is an accident.
    #[must_use]
    pub fn is_correct(&self) -> bool {
        self.is_valid() && self.target_logit == self.max
    }

    /// Whether the row has a softmax: some finite logit, no NaN, no +inf.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.sum_exp > 0.0
    }

    /// The statistics of a whole row with their logarithm.
    #[inline]
    pub(crate) fn softmax(&self) -> Softmax {
        // Within 1 ULP of f64 and so rounded once in f32.
        let ln_sum_exp = if self.is_valid() { libm::log(self.sum_exp) } else { f64::NAN };
        Softmax { stats: *self, ln_sum_exp }
    }
}

/// Statistics with ln Σ exp(z − max), which everything else of a row needs, computed once; NaN for a row without a softmax.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Softmax {
    pub(crate) stats: RowStats,
    pub(crate) ln_sum_exp: f64,
}

impl Softmax {
    /// See [`RowStats::nll`].
    pub(crate) fn nll(&self) -> f64 {
        (self.stats.max - self.stats.target_logit) + self.ln_sum_exp
    }

    /// See [`RowStats::log_prob`].
    pub(crate) fn log_prob(&self) -> f64 {
        -self.nll()
    }

    /// See [`RowStats::log_sum_exp`].
    pub(crate) fn log_sum_exp(&self) -> f64 {
        self.stats.max + self.ln_sum_exp
    }

    /// See [`RowStats::entropy`].
    pub(crate) fn entropy(&self) -> f64 {
        self.ln_sum_exp - self.stats.sum_exp_logits / self.stats.sum_exp
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    /// Largest error of `log_sum_exp`, rounded to f32, over every `step`-th positive f32 as the sum, in ULP of the true logarithm.
    fn worst(step: usize) -> f64 {
        let error = |bits: u32| {
            let sum_exp = f64::from(f32::from_bits(bits));
            let stats = RowStats { max: 0.0, sum_exp, ..RowStats::EMPTY };
            let exact = sum_exp.ln();
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
