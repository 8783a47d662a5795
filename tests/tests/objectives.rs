//! Every objective of the library: against the hand-derived oracle in every dress and reduction, and against finite differences.

use surprisal::Reduction;
use surprisal::objective::{Builtin, Objective, Real, Token};
use surprisal::reference::{check_gradient, surrogate};
use surprisal_tests::cases::{dressed, objectives, reductions};
use surprisal_tests::compare::{assert_close, close};
use surprisal_tests::problem::Problem;
use surprisal_tests::run::{WAYS, Way, levels, run};
use surprisal_tests::tolerance::{F32, assert_outcome};

/// The list that this file iterates must hold every objective: a new one without a test fails here.
#[test]
fn every_objective_is_in_the_cases() {
    let tested = objectives();
    for name in Builtin::NAMES {
        assert!(tested.iter().any(|objective| objective.name() == *name), "{name} is not tested");
        assert_eq!(Builtin::from_name(name).unwrap().name(), *name);
    }
    assert!(Builtin::from_name("no such objective").is_none());
}

#[test]
fn loss_and_gradient_are_the_oracles() {
    for (seed, objective) in objectives().into_iter().enumerate() {
        for problem in dressed(objective, seed as u64) {
            for reduction in reductions(&objective) {
                let problem = problem.clone().reduction(reduction);
                let oracle = problem.oracle();
                assert!(oracle.report.tokens > 0, "{}: nothing tested", problem.name);
                for way in WAYS.into_iter().chain([Way::Shards(3)]) {
                    let actual = run::<f32>(&problem, way, levels()[0]);
                    assert_outcome(&problem, &actual, &oracle, F32);
                }
            }
        }
    }
}

/// The gradient is the derivative of the loss with everything held that the objective detaches.
#[test]
fn gradient_is_the_finite_difference() {
    for (seed, objective) in objectives().into_iter().enumerate() {
        for mut problem in dressed(objective, 1000 + seed as u64) {
            // NaN in ignored rows is for the kernels; a difference quotient wants numbers.
            for z in problem.logits.iter_mut().filter(|z| z.is_nan()) {
                *z = 0.25;
            }
            let at: Vec<f64> = problem.logits.iter().copied().map(f64::from).collect();
            let analytic = run::<f32>(&problem, Way::SeparateF32, levels()[0]).dlogits;
            let (loss, batch) = (problem.loss(), problem.batch());
            let value =
                |x: &[f64]| surrogate(&loss, x, &at, problem.rows, problem.vocab, &batch).unwrap();
            let check = check_gradient(value, &mut at.clone(), &analytic, 1e-4);
            let largest = analytic.iter().fold(0.0_f64, |a, d| a.max(d.abs()));
            // The second part is the rounding of the losses.
            let bound = 2e-6 * largest.max(1.0) + 1e-11 / largest;
            assert!(check.within(bound), "{}: {check:?}", problem.name);
        }
    }
}

/// The derivative that the library takes of an objective is that of its own definition, with `stop` held fixed.
#[test]
fn dual_is_the_finite_difference_of_the_definition() {
    for objective in objectives().into_iter().filter(|o| o.group_plan().is_none()) {
        for log_p in [-0.001, -0.1, -0.7, -1.0, -2.5, -9.0] {
            for (old, advantage) in [(-0.3, 1.3), (-1.2, -0.8), (-2.4, 2.0)] {
                let slope = surprisal_tests_slope(&objective, log_p, old, advantage);
                let step = 1e-5;
                let at = |x: f64| frozen(&objective, log_p, x, old, advantage);
                let numeric = (at(log_p + step) - at(log_p - step)) / (2.0 * step);
                let bound = 1e-6 * (1.0 + slope.abs());
                assert!(
                    close(slope, numeric, bound),
                    "{objective:?} at {log_p}, {old}, {advantage}: {slope} and {numeric}"
                );
            }
        }
    }
}

/// A token with all that an objective may ask for.
fn filled<R: Real>(mut token: Token<R>, old: f64, advantage: f64) -> Token<R> {
    (token.ref_log_p, token.old_log_p) = (R::lit(old - 0.2), R::lit(old));
    (token.advantage, token.entropy, token.sum_squares) =
        (R::lit(advantage), R::lit(1.7), R::lit(0.4));
    token.shared = [R::lit(1.0); 4];
    token
}

fn surprisal_tests_slope(objective: &Builtin, log_p: f64, old: f64, advantage: f64) -> f64 {
    use surprisal::objective::Dual;
    let token = filled(Token::new(Dual::variable(log_p)), old, advantage);
    objective.loss(&token).slope
}

/// A number that is evaluated at two points at once, so that `stop` can hold the first.
#[derive(Clone, Copy, Debug)]
struct Frozen {
    base: f64,
    at: f64,
}

macro_rules! both {
    ($($trait:ident $op:ident),*) => {$(
        impl std::ops::$trait for Frozen {
            type Output = Self;

            fn $op(self, other: Self) -> Self {
                use std::ops::$trait as Op;
                Self { base: Op::$op(self.base, other.base), at: Op::$op(self.at, other.at) }
            }
        }
    )*};
}
both!(Add add, Sub sub, Mul mul, Div div);

impl std::ops::Neg for Frozen {
    type Output = Self;

    fn neg(self) -> Self {
        Self { base: -self.base, at: -self.at }
    }
}

impl Frozen {
    fn each(self, f: impl Fn(f64) -> f64) -> Self {
        Self { base: f(self.base), at: f(self.at) }
    }
}

surprisal::real_with_f64!(Frozen);

impl Real for Frozen {
    fn lit(value: f64) -> Self {
        Self { base: value, at: value }
    }

    fn exp(self) -> Self {
        self.each(f64::exp)
    }

    fn exp_m1(self) -> Self {
        self.each(f64::exp_m1)
    }

    fn ln(self) -> Self {
        self.each(f64::ln)
    }

    fn ln_1p(self) -> Self {
        self.each(f64::ln_1p)
    }

    fn powf(self, exponent: f64) -> Self {
        self.each(|x| x.powf(exponent))
    }

    fn if_negative(self, then: Self, otherwise: Self) -> Self {
        if self.base < 0.0 { then } else { otherwise }
    }

    fn stop(self) -> Self {
        Self { base: self.base, at: self.base }
    }
}

fn frozen(objective: &Builtin, base: f64, at: f64, old: f64, advantage: f64) -> f64 {
    let token = filled(Token::new(Frozen { base, at }), old, advantage);
    objective.loss(&token).at
}

/// Identities between objectives, which need no oracle.
#[test]
fn identities() {
    use surprisal::objective::*;
    let dlogits = |objective: Builtin| {
        let problem = Problem::random(9, 21, 5).objective(objective).reduction(Reduction::Sum);
        run::<f32>(&problem, Way::Separate, levels()[0]).dlogits
    };
    let same: [(Builtin, Builtin); 8] = [
        (Talr { tau: 1.0, floor: 0.0, ..Talr::default() }.into(), Dft.into()),
        (Talr { tau: 1e30, floor: 0.0, ..Talr::default() }.into(), Sft.into()),
        (Power { alpha: 1.0 }.into(), Dft.into()),
        (Power { alpha: 1e-12 }.into(), Sft.into()),
        (Focal { gamma: 0.0 }.into(), Sft.into()),
        (FocalDetached { gamma: 0.0 }.into(), Sft.into()),
        (SftGo { worst_weight: 0.0 }.into(), Sft.into()),
        (Rho1 { keep: 1.0 }.into(), Sft.into()),
    ];
    for (a, b) in same {
        let (x, y) = (dlogits(a), dlogits(b));
        assert_close(&format!("{a:?} against {b:?}"), &x, &y, |i| 1e-6 * y[i].abs() + 1e-9);
    }
}
