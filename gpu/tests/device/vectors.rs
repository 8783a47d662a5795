//! The device against every case that PyTorch computed in float64: in each way that the objective allows.

use surprisal::LossReport;
use surprisal_tests::problem::{Outcome, Problem};
use surprisal_tests::tolerance::{F32, F32_VECTORS, assert_outcome};
use surprisal_tests::vectors::{Case, VectorFile, load_all};

use crate::ways::{Layout, Way, run};

/// The expectation as an outcome.
fn expected(case: &Case) -> Outcome {
    let e = &case.expected;
    let mut report = LossReport::default();
    (report.loss, report.loss_sum, report.nll_sum) = (e.loss, e.loss_sum, e.nll_sum);
    (report.weight_sum, report.tokens, report.correct) = (e.weight_sum, e.tokens, e.correct);
    Outcome { report, nll: e.nll.clone(), dlogits: e.dlogits.clone() }
}

/// float64 that is not compensated leaves 0 where 1e-33 would be right.
fn keep_what_cancelled(actual: &[f64], expected: &mut [f64]) {
    for (expected, actual) in expected.iter_mut().zip(actual) {
        if (*expected - actual).abs() <= 1e-15 {
            *expected = *actual;
        }
    }
}

/// Whether every number is accurate relative to itself.
fn is_exact(file: &VectorFile) -> bool {
    file.name == "confident"
}

fn check(file: &VectorFile) {
    let rounding = if is_exact(file) { F32 } else { F32_VECTORS };
    for case in &file.cases {
        let problem = Problem::from(case);
        for way in Way::of(&problem.objective) {
            let (actual, mut expected) = (run::<f32>(&problem, way, Layout::PLAIN), expected(case));
            if rounding == F32_VECTORS {
                keep_what_cancelled(&actual.nll, &mut expected.nll);
            }
            assert_outcome(&problem, &actual, &expected, rounding.on_device());
        }
    }
}

/// Targets that are nearly certain: 1 − p down to 2e-12.
pub(crate) fn confident_tokens() {
    check(load_all().iter().find(|file| is_exact(file)).expect("confident.json"));
}

pub(crate) fn all_vectors() {
    load_all().iter().filter(|file| !is_exact(file)).for_each(check);
}
