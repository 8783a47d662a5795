//! One row of logits: its transformation and its softmax, in the most direct way.

use crate::entry;
use crate::error::{Argument, Error, check_len};

/// A row, and how its logits are transformed before everything else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) logits: &'a [f64],
    pub(super) scale: f64,
    pub(super) cap: Option<f64>,
}

/// What is known of the target, accurate also where p is near 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen {
    pub(super) log_p: f64,
    /// 1 − p.
    pub(super) miss: f64,
}

/// What turns transformed logits into log-probabilities. Both are NaN for a row without a softmax.
#[derive(Clone, Copy, Debug)]
pub(super) struct Softmax {
    /// m = max z.
    pub(super) max: f64,
    /// ln Σ exp(z − m).
    pub(super) ln_sum: f64,
}

impl<'a> Row<'a> {
    fn plain(logits: &'a [f64]) -> Self {
        Self { logits, scale: 1.0, cap: None }
    }

    /// z' of one class: scale·z, or cap·tanh(scale·z/cap).
    pub(super) fn logit(&self, class: usize) -> f64 {
        let scaled = self.scale * entry::read(self.logits, class);
        match self.cap {
            None => scaled,
            Some(cap) => cap * libm::tanh(scaled / cap),
        }
    }

    /// ∂z'/∂z of one class: scale, or scale·(1 − tanh²) = scale/cosh².
    pub(super) fn slope(&self, class: usize) -> f64 {
        match self.cap {
            None => self.scale,
            Some(cap) => {
                let cosh = libm::cosh(self.scale * entry::read(self.logits, class) / cap);
                self.scale / (cosh * cosh)
            }
        }
    }

    pub(super) fn softmax(&self) -> Softmax {
        let invalid = Softmax { max: f64::NAN, ln_sum: f64::NAN };
        let mut max = f64::NEG_INFINITY;
        for class in 0..self.logits.len() {
            let z = self.logit(class);
            if z.is_nan() || z == f64::INFINITY {
                return invalid;
            }
            if z > max {
                max = z;
            }
        }
        if max == f64::NEG_INFINITY {
            return invalid;
        }
        // The first class that leads is the 1, which would swallow a small rest.
        let (mut rest, mut led) = (0.0, false);
        for class in 0..self.logits.len() {
            let logit = self.logit(class);
            if logit == max && !led {
                led = true;
            } else {
                rest += libm::exp(logit - max);
            }
        }
        Softmax { max, ln_sum: libm::log1p(rest) }
    }

    /// ln p and 1 − p of one class. Where it leads, the sum of the others is taken by itself: −ln p = ln(1 + Σ_{j≠t} exp(z_j − z_t)).
    pub(super) fn chosen(&self, target: usize) -> Chosen {
        let (softmax, logit) = (self.softmax(), self.logit(target));
        if logit != softmax.max {
            let log_p = softmax.log_p(logit);
            return Chosen { log_p, miss: -libm::expm1(log_p) };
        }
        let mut others = 0.0;
        for class in (0..self.logits.len()).filter(|&class| class != target) {
            others += libm::exp(self.logit(class) - logit);
        }
        Chosen { log_p: -libm::log1p(others), miss: others / (1.0 + others) }
    }

    /// −Σ p ln p, where a class without mass has no part; and Σ p².
    pub(super) fn entropy_and_squares(&self) -> (f64, f64) {
        let softmax = self.softmax();
        if !softmax.is_valid() {
            return (f64::NAN, f64::NAN);
        }
        let (mut entropy, mut squares) = (0.0, 0.0);
        for class in 0..self.logits.len() {
            let log_p = softmax.log_p(self.logit(class));
            let p = libm::exp(log_p);
            if p > 0.0 {
                entropy -= p * log_p;
                squares += p * p;
            }
        }
        (entropy, squares)
    }
}

impl Softmax {
    /// Whether the row has a softmax: some finite logit, no NaN, no +inf.
    pub(super) fn is_valid(&self) -> bool {
        !self.max.is_nan()
    }

    /// ln p of the class with this transformed logit: −((m − z) + ln s).
    pub(super) fn log_p(&self, logit: f64) -> f64 {
        -((self.max - logit) + self.ln_sum)
    }

    /// lse = m + ln s.
    pub(super) fn log_sum_exp(&self) -> f64 {
        self.max + self.ln_sum
    }
}

/// ln Σ exp(z) of a row; NaN for a row without a softmax (empty, all −inf, any NaN or +inf).
///
/// ```
/// use surprisal::reference::log_sum_exp;
///
/// assert!((log_sum_exp(&[1e4, 1e4]) - (1e4 + 2.0_f64.ln())).abs() < 1e-11);
/// ```
#[must_use]
pub fn log_sum_exp(row: &[f64]) -> f64 {
    Row::plain(row).softmax().log_sum_exp()
}

/// ln softmax(z) of a row into `out` of the same length; all NaN for a row without a softmax.
///
/// # Errors
/// [`Error::Length`] where `out` has another length than the row.
///
/// ```
/// use surprisal::reference::log_softmax;
///
/// let mut out = [0.0; 2];
/// log_softmax(&[0.0, f64::NEG_INFINITY], &mut out)?;
/// assert_eq!(out, [0.0, f64::NEG_INFINITY]);
/// # Ok::<(), surprisal::Error>(())
/// ```
pub fn log_softmax(row: &[f64], out: &mut [f64]) -> Result<(), Error> {
    check_len(Argument::Output, out.len(), row.len())?;
    let softmax = Row::plain(row).softmax();
    for (out, &z) in out.iter_mut().zip(row) {
        *out = softmax.log_p(z);
    }
    Ok(())
}

/// ln p of one class of a row, accurate relative to itself also where p is near 1; NaN for a row without a softmax, or where `target` is not a class of it.
///
/// ```
/// use surprisal::reference::log_prob;
///
/// assert_eq!(log_prob(&[3.0, 3.0], 1), -(2.0_f64.ln()));
/// ```
#[must_use]
pub fn log_prob(row: &[f64], target: usize) -> f64 {
    if target >= row.len() {
        return f64::NAN;
    }
    Row::plain(row).chosen(target).log_p
}

/// −ln p of one class of a row; +∞ where its logit is −inf, NaN for a row without a softmax, or where `target` is not a class of it.
///
/// ```
/// use surprisal::reference::nll;
///
/// assert_eq!(nll(&[3.0, 3.0], 1), 2.0_f64.ln());
/// ```
#[must_use]
pub fn nll(row: &[f64], target: usize) -> f64 {
    -log_prob(row, target)
}

/// Entropy of a row in nats: −Σ p ln p, where a class without mass has no part; NaN for a row without a softmax.
///
/// ```
/// use surprisal::reference::entropy;
///
/// assert!((entropy(&[0.0, 0.0, f64::NEG_INFINITY]) - 2.0_f64.ln()).abs() < 1e-15);
/// ```
#[must_use]
pub fn entropy(row: &[f64]) -> f64 {
    Row::plain(row).entropy_and_squares().0
}
