//! A gradient against finite differences of its function.

use crate::entry;

/// Where a gradient and the finite differences differ most; from [`check_gradient`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GradientCheck {
    /// Index of the worst entry.
    pub index: usize,
    /// What the gradient says there.
    pub analytic: f64,
    /// What the finite differences say there.
    pub numeric: f64,
    /// |analytic − numeric| over the gradient's largest magnitude (or |numeric|, where that is larger); NaN where one of
    /// them is, or where `gradient` has another length than `x`.
    pub error: f64,
}

impl GradientCheck {
    /// Whether even the worst entry has at most this error. A NaN never is.
    #[must_use]
    pub fn within(&self, tolerance: f64) -> bool {
        self.error <= tolerance
    }
}

/// Compares `gradient` with central differences of `f` at `x`, and returns the worst entry; of no entries, an error of 0.
///
/// # Formula
/// Fourth order: f'(x) ≈ ( 8·(f(x+h) − f(x−h)) − (f(x+2h) − f(x−2h)) ) / 12h, for each entry of `x` in turn, so 4 calls of `f`
/// an entry. With f of size 1 and steps h near 1e-3, about 1e-12 is left of truncation and rounding.
///
/// `x` has its old values (the same bits) afterwards. An entry that is NaN on either side is the worst.
///
/// Where `gradient` has another length than `x`, nothing is compared and the error is NaN.
///
/// ```
/// use surprisal::reference::check_gradient;
///
/// let check = check_gradient(|x| x[0] * x[0] + 3.0 * x[1], &mut [5.0, 2.0], &[10.0, 3.0], 1e-3);
/// assert!(check.within(1e-10));
///
/// let wrong = check_gradient(|x| x[0] * x[0] + 3.0 * x[1], &mut [5.0, 2.0], &[10.0, -3.0], 1e-3);
/// assert!(!wrong.within(1e-10) && wrong.index == 1);
/// ```
pub fn check_gradient(
    mut f: impl FnMut(&[f64]) -> f64,
    x: &mut [f64],
    gradient: &[f64],
    step: f64,
) -> GradientCheck {
    if x.len() != gradient.len() {
        return GradientCheck { error: f64::NAN, ..GradientCheck::default() };
    }
    let mut largest = 0.0;
    for &entry in gradient {
        if libm::fabs(entry) > largest {
            largest = libm::fabs(entry);
        }
    }
    let mut worst = GradientCheck::default();
    for (index, &analytic) in gradient.iter().enumerate() {
        let numeric = derivative(&mut f, x, index, step);
        let scale = if libm::fabs(numeric) > largest { libm::fabs(numeric) } else { largest };
        let difference = libm::fabs(analytic - numeric);
        let error = if difference == 0.0 { 0.0 } else { difference / scale };
        let is_worse = error.is_nan() || error > worst.error;
        if index == 0 || (is_worse && !worst.error.is_nan()) {
            worst = GradientCheck { index, analytic, numeric, error };
        }
    }
    worst
}

/// The fourth-order central difference with respect to one entry.
fn derivative(f: &mut impl FnMut(&[f64]) -> f64, x: &mut [f64], index: usize, step: f64) -> f64 {
    let centre = entry::read(x, index);
    let mut at = |offset: f64| {
        entry::write(x, index, centre + offset);
        f(x)
    };
    let near = at(step) - at(-step);
    let far = at(2.0 * step) - at(-2.0 * step);
    entry::write(x, index, centre);
    (8.0 * near - far) / (12.0 * step)
}
