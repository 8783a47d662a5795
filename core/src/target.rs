//! What a row's softmax says of its target, over [`Real`]: written once, for the CPU and for the shader that prints it.

use crate::objective::Real;

/// A row's softmax around its target: exponentials are relative to the row's largest logit.
#[derive(Clone, Copy, Debug)]
pub struct TargetSoftmax<R> {
    /// target − max.
    pub distance: R,
    /// exp(target − max).
    pub at_target: R,
    /// Σ exp(z − max) over the other classes.
    pub others: R,
    /// ln Σ exp(z − max) over all classes.
    pub ln_sum: R,
    /// 1 / Σ exp(z − max) over all classes.
    pub inverse: R,
}

impl<R: Real> TargetSoftmax<R> {
    /// −ln p, never through ln Σ exp(z): a common offset of the logits costs no digits.
    #[inline(always)]
    pub fn nll(&self) -> R {
        self.ln_sum - self.distance
    }

    /// p.
    #[inline(always)]
    pub fn p(&self) -> R {
        self.at_target * self.inverse
    }

    /// 1 − p, known without a subtraction.
    #[inline(always)]
    pub fn miss(&self) -> R {
        self.others * self.inverse
    }

    /// ln Σ exp(z).
    #[inline(always)]
    pub fn log_sum_exp(&self, max: R) -> R {
        max + self.ln_sum
    }

    /// −Σ p ln p, given Σ exp(z − max)·(z − max) over the other classes.
    pub fn entropy(&self, sum_exp_logits: R) -> R {
        let own = self.at_target.weigh(self.distance);
        self.ln_sum - (sum_exp_logits + own) * self.inverse
    }

    /// Σ p², given Σ exp(z − max)² over the other classes.
    pub fn sum_squares(&self, sum_exp_squared: R) -> R {
        (sum_exp_squared + self.at_target * self.at_target) * (self.inverse * self.inverse)
    }

    /// Σ w·(ln Σ exp(z) − z), given Σw and Σ w·(max − z): nothing there cancels, whatever the logits have in common.
    pub fn smoothed(&self, weight_sum: R, below_max: R) -> R {
        weight_sum * self.ln_sum + below_max
    }
}
