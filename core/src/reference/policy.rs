//! Hand-derived pieces of the policy-gradient objectives: PPO's clip and the KL estimators.

use super::number::{at_least, at_most, times};
use crate::objective::Kl;

/// −min(r·A, clip(r, 1−low, 1+high)·A).
///
/// A > 0: −A·min(r, 1+high), since a clip from below only raises r. A < 0: −A·max(r, 1−low). The dual clip is −A·min(that, c).
pub(super) fn clipped_loss(
    ratio: f64,
    advantage: f64,
    low: f64,
    high: f64,
    dual: Option<f64>,
) -> f64 {
    if ratio.is_nan() {
        f64::NAN
    } else if advantage > 0.0 {
        -advantage * at_most(1.0 + high, ratio)
    } else if advantage < 0.0 {
        let raised = at_least(1.0 - low, ratio);
        -advantage * dual.map_or(raised, |dual| at_most(dual, raised))
    } else {
        0.0
    }
}

/// −∂/∂ln p of it: A·r where nothing is clipped, else 0, since ∂r/∂ln p = r.
pub(super) fn clipped_coef(
    ratio: f64,
    advantage: f64,
    low: f64,
    high: f64,
    dual: Option<f64>,
) -> f64 {
    if ratio.is_nan() {
        return f64::NAN;
    }
    let clipped_above = advantage > 0.0 && ratio > 1.0 + high;
    let clipped_below = advantage < 0.0 && ratio < 1.0 - low;
    let clipped_twice = advantage < 0.0 && dual.is_some_and(|dual| ratio > dual);
    if clipped_above || clipped_below || clipped_twice { 0.0 } else { times(advantage, ratio) }
}

/// e^k − 1 − k; ∞ at both ends. Near 0 the sum of k^n/n! from n = 2 on.
fn k3(k: f64) -> f64 {
    if k == f64::INFINITY {
        return f64::INFINITY;
    }
    if libm::fabs(k) > 1.0 || k.is_nan() {
        return libm::expm1(k) - k;
    }
    let (mut term, mut sum) = (k, 0.0);
    for n in 2..25 {
        term *= k / f64::from(n);
        sum += term;
    }
    sum
}

/// A KL estimator at k = ln p_ref − ln p and r = p/p_old.
pub(super) fn kl_loss(kl: Kl, k: f64, ratio: f64) -> f64 {
    match kl {
        Kl::K1 => -k,
        Kl::K2 => k * k / 2.0,
        Kl::K3 => k3(k),
        Kl::K3Corrected => times(ratio, k3(k)),
        Kl::K3Clamped => at_most(10.0, k3(at_least(-20.0, at_most(20.0, k)))),
    }
}

/// −∂/∂ln p of it, which is ∂/∂k: K1 −1, K2 k, K3 e^k − 1, 0 beyond a clamp. r·K3: r·(e^k − 1) − r·K3 = r·k.
pub(super) fn kl_coef(kl: Kl, k: f64, ratio: f64) -> f64 {
    match kl {
        Kl::K1 => -1.0,
        Kl::K2 => k,
        Kl::K3 => libm::expm1(k),
        Kl::K3Corrected => times(ratio, k),
        Kl::K3Clamped => {
            let clamped = !(-20.0..=20.0).contains(&k) || k3(k) > 10.0;
            if clamped { 0.0 } else { libm::expm1(k) }
        }
    }
}
