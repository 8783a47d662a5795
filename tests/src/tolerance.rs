//! The accuracy contract as code: what a result may differ from the f64 oracle on the same rounded inputs.

use surprisal::objective::Builtin;

use crate::compare::{assert_close, close};
use crate::problem::{Outcome, Problem};

/// Storage type of a gradient, as far as its rounding goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounding {
    /// Half an ULP relative to the smallest value of a binade; 0 for f32, whose rounding is part of the f32 bound.
    relative: f64,
    /// Half the spacing of subnormals.
    absolute: f64,
    /// What the contract's bounds are multiplied by: 1 on the CPU.
    slack: f64,
}

impl Rounding {
    /// The same storage, computed by a device: all in f32, with the shading language's exp and log (3 + 2|x| ULP, 2^-21).
    #[must_use]
    pub const fn on_device(self) -> Self {
        Self { slack: 8.0, ..self }
    }
}

/// f32 gradients.
pub const F32: Rounding = Rounding { relative: 0.0, absolute: 0.0, slack: 1.0 };
/// f32 gradients against float64 arithmetic that is not compensated: entries that should be 0 are 1e-16 there.
pub const F32_VECTORS: Rounding = Rounding { relative: 0.0, absolute: 1e-14, slack: 1.0 };
/// bf16 gradients: 8 significant bits.
pub const BF16: Rounding = Rounding { relative: 1.0 / 256.0, absolute: 0.0, slack: 1.0 };
/// f16 gradients: 11 significant bits, subnormals of 2^-24.
pub const F16: Rounding =
    Rounding { relative: 1.0 / 2048.0, absolute: 2.980_232_238_769_531_2e-8, slack: 1.0 };

/// ULP of 1 in f32.
const EPS: f64 = 1.192_092_895_507_812_5e-7;

/// −ln p: 2e-7 relative + 2e-7; the soft-cap adds two roundings of the capped logit.
pub fn nll(problem: &Problem, expected: f64) -> f64 {
    let capped = problem.extras.softcap.map_or(0.0, |cap| 2.0 * EPS * f64::from(cap));
    2e-7 * expected.abs() + 2e-7 + capped
}

/// A sum of token losses: 1e-6 of what its tokens may contribute.
fn sum(problem: &Problem, expected: f64, oracle: &Outcome) -> f64 {
    let nll: f64 = oracle.nll.iter().copied().filter(|nll| nll.is_finite()).sum();
    let capped = problem.extras.softcap.map_or(0.0, f64::from);
    1e-6 * (expected.abs() + nll + oracle.report.tokens as f64 * (4.0 + capped))
}

/// The reduced loss: the sum's bound, reduced.
fn loss(problem: &Problem, oracle: &Outcome) -> f64 {
    let (loss, loss_sum) = (oracle.report.loss, oracle.report.loss_sum);
    let reduced = loss / loss_sum;
    let scale = if reduced.is_finite() { reduced.abs().max(0.01) } else { 1.0 };
    scale.min(1.0) * sum(problem, loss_sum, oracle)
}

/// The bounds of one gradient row.
struct RowBound {
    /// Largest entry of the row.
    largest: f64,
    /// 1 where entries are sums of a part that follows p and one that does not.
    mixed: f64,
    /// ULPs that the soft-cap adds.
    capped: f64,
    /// 1 − p of the target.
    miss: f64,
    /// What an error of ln p does to the coefficient.
    sensitivity: Sensitivity,
}

/// A coefficient is a function of ln p, which is known to 2e-7: ∂coef/∂ln p, absolute and relative to the coefficient.
#[derive(Clone, Copy)]
struct Sensitivity {
    absolute: f64,
    relative: f64,
}

impl Sensitivity {
    fn of(problem: &Problem) -> Self {
        match problem.objective {
            // β·(ln p − ln p_ref) vanishes where the models agree.
            Builtin::Grpo(grpo) => Self { absolute: grpo.beta, relative: 1.0 },
            // 1 − logit(p)/logit(P) vanishes at P.
            Builtin::InfoSft(_) => Self { absolute: 2.0, relative: 1.0 },
            // σ(−β·D), where D sums over the sequence.
            Builtin::Dpo(dpo) => Self { absolute: 0.0, relative: dpo.beta * problem.rows as f64 },
            Builtin::Talr(talr) => Self { absolute: 0.0, relative: 1.0 / talr.tau },
            Builtin::Power(power) => Self { absolute: 0.0, relative: power.alpha },
            // The contract as it stands.
            _ => Self { absolute: 0.0, relative: 0.0 },
        }
    }
}

impl RowBound {
    fn new(problem: &Problem, row: &[f64], nll: f64) -> Self {
        let largest = row.iter().fold(0.0_f64, |a, d| a.max(d.abs()));
        let mixed = if problem.extras.label_smoothing > 0.0 { 1.0 } else { 0.0 };
        let capped = problem.extras.softcap.map_or(0.0, |cap| 8.0 + 4.0 * f64::from(cap));
        let sensitivity = Sensitivity::of(problem);
        Self { largest, mixed, capped, miss: -(-nll).exp_m1(), sensitivity }
    }

    /// `distance` is |z'_j − max|.
    fn entry(&self, expected: f64, distance: f64, is_target: bool) -> f64 {
        let ulps = 2.0 + distance + self.capped;
        let f32_bound = EPS * ulps * (expected.abs() + self.mixed * self.largest);
        let target = if is_target {
            // 4e-7·coef, from the entry coef·(p − 1).
            let coef = (expected.abs() / self.miss.max(1e-300)).max(self.mixed * self.largest);
            4e-7 * coef + self.capped * EPS * self.largest
        } else {
            0.0
        };
        let Sensitivity { absolute, relative } = self.sensitivity;
        let drift = 2e-7 * (absolute * (-distance).exp() + relative * expected.abs());
        f32_bound + target + drift + f64::from(f32::MIN_POSITIVE) * self.largest.max(1.0)
    }
}

/// Checks an outcome against the oracle's, to the contract.
///
/// # Panics
/// Where it is broken.
pub fn assert_outcome(problem: &Problem, actual: &Outcome, oracle: &Outcome, rounding: Rounding) {
    let name = &problem.name;
    let (a, e) = (&actual.report, &oracle.report);
    assert_eq!(a.tokens, e.tokens, "{name}: tokens");
    // A soft-cap makes ties in f32 that f64 tells apart.
    if rounding.slack == 1.0 || problem.extras.softcap.is_none() {
        assert_eq!(a.correct, e.correct, "{name}: correct");
    }
    assert_eq!(a.invalid_row, e.invalid_row, "{name}: invalid_row");
    assert_close(&format!("{name} nll"), &actual.nll, &oracle.nll, |row| {
        rounding.slack * nll(problem, oracle.nll[row])
    });
    let sum = |expected| sum(problem, expected, oracle);
    for (what, actual, expected, bound) in [
        ("loss", a.loss, e.loss, loss(problem, oracle)),
        ("loss_sum", a.loss_sum, e.loss_sum, sum(e.loss_sum)),
        ("nll_sum", a.nll_sum, e.nll_sum, sum(e.nll_sum)),
        ("weight_sum", a.weight_sum, e.weight_sum, 1e-12 * e.weight_sum),
    ] {
        assert!(
            close(actual, expected, rounding.slack * bound),
            "{name}: {what} {actual} instead of {expected}, allowed {bound:.1e}"
        );
    }
    for row in 0..problem.rows {
        let range = row * problem.vocab..(row + 1) * problem.vocab;
        let mapped: Vec<f64> =
            problem.logits[range.clone()].iter().map(|&z| problem.mapped(f64::from(z))).collect();
        let max = mapped.iter().copied().fold(f64::MIN, f64::max);
        let expected = &oracle.dlogits[range.clone()];
        let target = problem.batch().target(row).and_then(|t| usize::try_from(t).ok());
        let bound = RowBound::new(problem, expected, oracle.nll[row]);
        let what = format!("{name} dlogits row {row}");
        assert_close(&what, &actual.dlogits[range], expected, |j| {
            let distance = (mapped[j] - max).abs().min(200.0);
            rounding.slack * bound.entry(expected[j], distance, target == Some(j))
                + rounding.relative * expected[j].abs()
                + rounding.absolute
        });
    }
}
