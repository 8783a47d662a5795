//! Shapes and contents against the f64 oracle, in every element type and at every SIMD level.

use surprisal::objective::{Dft, Sft};
use surprisal::{Element, ExtrasScale, Reduction, bf16, f16};
use surprisal_tests::cases::problems;
use surprisal_tests::problem::Problem;
use surprisal_tests::run::{Way, levels, run};
use surprisal_tests::storage::Storage;
use surprisal_tests::tolerance::{BF16, F16, F32, Rounding, assert_outcome};

fn check<T: Element + Storage>(problem: &Problem, rounding: Rounding) {
    let problem = problem.clone().rounded::<T>();
    let oracle = problem.oracle();
    for level in levels() {
        for way in [Way::Separate, Way::SeparateF32, Way::InPlace, Way::Staged, Way::Shards(3)] {
            let rounding = if way.is_f32() { F32 } else { rounding };
            let actual = run::<T>(&problem, way, level);
            assert_outcome(&problem, &actual, &oracle, rounding);
        }
    }
}

fn dresses(problem: Problem) -> [Problem; 2] {
    [problem.clone().objective(Sft.into()), problem.objective(Dft.into())]
}

#[test]
fn f32_logits() {
    for problem in problems().flat_map(dresses) {
        check::<f32>(&problem.reduction(Reduction::MeanTokens), F32);
    }
}

#[test]
fn bf16_logits() {
    for problem in problems().flat_map(dresses) {
        check::<bf16>(&problem, BF16);
    }
}

#[test]
fn f16_logits() {
    // Offsets and wide logits leave the range of f16 or its precision; they stay what rounding makes of them.
    for problem in problems().flat_map(dresses) {
        let fits = problem.logits.iter().all(|z| !z.is_finite() || z.abs() < 65_000.0);
        if fits {
            check::<f16>(&problem, F16);
        }
    }
}

#[test]
fn extras_and_ignored_rows() {
    for problem in problems().filter(|problem| problem.vocab < 300) {
        if problem.logits.iter().any(|z| z.is_infinite()) {
            // −inf logits make label smoothing infinite; the degenerate tests look at that.
            continue;
        }
        for scale in [ExtrasScale::One, ExtrasScale::Objective] {
            let problem = problem.clone().objective(Dft.into()).with_ignored_rows();
            check::<f32>(&problem.with_token_weights().with_extras(scale), F32);
        }
    }
}
