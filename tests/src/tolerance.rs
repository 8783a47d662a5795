//! The accuracy contract as code: what a result may differ from the f64 oracle on the same rounded inputs.

use surprisal::objective::Builtin;

use crate::compare::{assert_close, close};
use crate::problem::{Outcome, Problem};

/// Storage type of a gradient, as far as its rounding goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rounding {
    /// Half an ULP relative to the smallest value of a binade; 0 for f32, whose rounding is part of the f32 bound.
    pub(crate) relative: f64,
    /// Half the spacing of subnormals.
    pub(crate) absolute: f64,
    /// What the contract's bounds are multiplied by: 1 on the CPU.
    slack: f64,
    /// The largest number; what lies beyond is infinite.
    pub(crate) largest: f64,
    /// What is left in an expectation that should be 0.
    noise: f64,
}

/// Halfway between the largest f32 and what would follow: rounded up.
const F32_MAX: f64 = 3.402_823_567_797_336_6e38;

impl Rounding {
    /// The same storage, computed by a device: all in f32, with the shading language's exp and log (3 + 2|x| ULP, 2^-21).
    #[must_use]
    pub const fn on_device(self) -> Self {
        Self { slack: 8.0, ..self }
    }

    /// The value, or an infinity where it leaves the range of the type.
    pub(crate) fn stored(self, value: f64) -> f64 {
        if value.abs() > self.largest { f64::INFINITY.copysign(value) } else { value }
    }
}

/// f32 gradients.
pub const F32: Rounding =
    Rounding { relative: 0.0, absolute: 0.0, slack: 1.0, largest: F32_MAX, noise: 0.0 };
/// f32 gradients against float64 arithmetic that is not compensated: entries that should be 0 are 1e-16 there.
pub const F32_VECTORS: Rounding = Rounding { noise: 1e-14, ..F32 };
/// bf16 gradients: 8 significant bits.
pub const BF16: Rounding = Rounding { relative: 1.0 / 256.0, largest: 3.396e38, ..F32 };
/// f16 gradients: 11 significant bits, subnormals of 2^-24.
pub const F16: Rounding = Rounding {
    relative: 1.0 / 2048.0,
    absolute: 2.980_232_238_769_531_2e-8,
    largest: 65_520.0,
    ..F32
};

/// ULP of 1 in f32.
const EPS: f64 = 1.192_092_895_507_812_5e-7;

/// ULPs that a soft-cap adds to −ln p and to every entry.
fn capped(problem: &Problem) -> f64 {
    problem.extras.softcap.map_or(0.0, |cap| 8.0 + 4.0 * f64::from(cap))
}

/// −ln p, of itself; `distance` is that of the target's logit from the maximum.
pub fn nll(problem: &Problem, expected: f64, distance: f64) -> f64 {
    let lost = f64::from(f32::MIN_POSITIVE) * problem.vocab as f64;
    EPS * (4.0 + distance + capped(problem)) * expected.abs() + lost
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
    /// What label smoothing subtracts everywhere, at most.
    uniform: f64,
    /// Whether entries are sums of a part that follows p and one that does not; those of the target also where p is squared.
    mixed: bool,
    mixed_target: bool,
    /// ULPs that the soft-cap adds.
    capped: f64,
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
            // A·r + β·r·(ln p_ref − ln p) vanishes somewhere; ratios r are within 4 in the cases.
            Builtin::Grpo(grpo) => Self { absolute: 4.0 * grpo.beta, relative: 1.0 },
            // 1 − logit(p)/logit(P) vanishes at P.
            Builtin::InfoSft(_) => Self { absolute: 2.0, relative: 1.0 },
            // σ(−β·D), where D sums over the sequence.
            Builtin::Dpo(dpo) => Self { absolute: 0.0, relative: dpo.beta * problem.rows as f64 },
            // Powers of 1 − p.
            Builtin::Focal(focal) => Self { absolute: 0.0, relative: 2.0 * focal.gamma },
            Builtin::FocalDetached(focal) => Self { absolute: 0.0, relative: 2.0 * focal.gamma },
            // The entropy is a difference where one class that is not the target has nearly everything.
            Builtin::Eaft(eaft) => Self { absolute: eaft.power, relative: 4.0 * eaft.power },
            // p^a, where a = Σp².
            Builtin::Deft(_) => Self { absolute: 0.0, relative: 8.0 },
            Builtin::Talr(talr) => Self { absolute: 0.0, relative: 1.0 / talr.tau },
            Builtin::Power(power) => Self { absolute: 0.0, relative: power.alpha },
            // The contract as it stands.
            _ => Self { absolute: 0.0, relative: 0.0 },
        }
    }
}

impl RowBound {
    fn new(problem: &Problem, index: usize, row: &[f64]) -> Self {
        let largest = row.iter().fold(0.0_f64, |a, d| a.max(d.abs()));
        let extras = &problem.extras;
        let class_weights = extras.class_weights.iter().flatten().copied();
        let weight = problem.token_weights.as_ref().map_or(1.0, |weights| weights[index]);
        // Objectives' own weights are within 16 in the cases.
        let most = 16.0 * class_weights.fold(1.0, f32::max) * weight * extras.grad_scale.abs();
        let uniform = f64::from(extras.label_smoothing * most) / problem.vocab as f64;
        let mixed = problem.extras.label_smoothing > 0.0;
        let mixed_target = mixed || problem.extras.z_loss > 0.0;
        let mut sensitivity = Sensitivity::of(problem);
        sensitivity.absolute *= f64::from(extras.grad_scale.abs());
        Self { largest, uniform, mixed, mixed_target, capped: capped(problem), sensitivity }
    }

    /// `distance` is |z'_j − max|.
    fn entry(&self, expected: f64, distance: f64, is_target: bool) -> f64 {
        let mixed = if is_target { self.mixed_target } else { self.mixed };
        let size = expected.abs() + if mixed { self.largest + self.uniform } else { 0.0 };
        let Sensitivity { absolute, relative } = self.sensitivity;
        // An entry is the coefficient times p, that of the target times 1 − p.
        let share = if is_target { 1.0 } else { (-distance).exp() };
        let drift = 2e-7 * (absolute * share + relative * expected.abs());
        let lost = f64::from(f32::MIN_POSITIVE) * self.largest.max(1.0);
        EPS * (4.0 + distance + self.capped) * size + drift + lost
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
        let distance = |j: usize| (mapped[j] - max).abs().min(200.0);
        let target = problem.batch().target(row).and_then(|t| usize::try_from(t).ok());
        assert_close(
            &format!("{name} nll"),
            &actual.nll[row..=row],
            &oracle.nll[row..=row],
            |_| {
                rounding.slack * nll(problem, oracle.nll[row], target.map_or(0.0, distance))
                    + rounding.noise
            },
        );
        // A coefficient may leave the range of the gradient's type.
        let expected = &oracle.dlogits[range.clone()];
        let expected: Vec<f64> = expected.iter().map(|&d| rounding.stored(d)).collect();
        let bound = RowBound::new(problem, row, &expected);
        let what = format!("{name} dlogits row {row}");
        assert_close(&what, &actual.dlogits[range], &expected, |j| {
            rounding.slack * bound.entry(expected[j], distance(j), target == Some(j))
                + rounding.relative * expected[j].abs()
                + rounding.absolute
                + rounding.noise
        });
    }
}
