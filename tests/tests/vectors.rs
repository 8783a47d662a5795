//! Every case that PyTorch computed in float64, in every way and at every SIMD level.

use std::collections::BTreeSet;

use surprisal::objective::Builtin;
use surprisal_tests::compare::assert_close;
use surprisal_tests::problem::{Outcome, Problem};
use surprisal_tests::run::{WAYS, Way, levels, run};
use surprisal_tests::tolerance::{F32, F32_VECTORS, assert_outcome};
use surprisal_tests::vectors::{Case, load_all};

fn cases() -> Vec<Case> {
    load_all().into_iter().flat_map(|file| file.cases).collect()
}

/// Cases whose expectation is accurate relative to itself, entry by entry.
fn is_exact(case: &Case) -> bool {
    case.name.starts_with("confident") || ["eaft", "deft"].contains(&case.objective.as_str())
}

/// The expectation as an outcome; rows that an objective drops have an nll all the same.
fn expected(case: &Case) -> Outcome {
    let e = &case.expected;
    let mut report = surprisal::LossReport::default();
    (report.loss, report.loss_sum, report.nll_sum) = (e.loss, e.loss_sum, e.nll_sum);
    (report.weight_sum, report.tokens, report.correct) = (e.weight_sum, e.tokens, e.correct);
    Outcome { report, nll: e.nll.clone(), dlogits: e.dlogits.clone() }
}

#[test]
fn library_agrees_with_pytorch() {
    let mut count = 0;
    for case in cases() {
        let problem = Problem::from(&case);
        let expected = expected(&case);
        for level in levels() {
            for way in WAYS.into_iter().chain([Way::Shards(2), Way::Shards(3)]) {
                let actual = run::<f32>(&problem, way, level);
                let rounding = if is_exact(&case) { F32 } else { F32_VECTORS };
                assert_outcome(&problem, &actual, &expected, rounding);
                count += 1;
            }
        }
    }
    assert!(count > 1000, "{count} comparisons");
}

#[test]
fn oracle_agrees_with_pytorch() {
    for case in cases() {
        let problem = Problem::from(&case);
        let (actual, expected) = (problem.oracle(), expected(&case));
        let name = &case.name;
        let absolute = if is_exact(&case) { 0.0 } else { 1e-12 };
        let bound = |e: f64| 1e-11 * e.abs() + absolute;
        assert_close(&format!("{name} nll"), &actual.nll, &expected.nll, |i| {
            bound(expected.nll[i])
        });
        let numbers = |o: &Outcome| {
            let r = o.report;
            [r.loss, r.loss_sum, r.nll_sum, r.weight_sum, r.tokens as f64, r.correct as f64]
        };
        let (a, e) = (numbers(&actual), numbers(&expected));
        assert_close(&format!("{name} report"), &a, &e, |i| bound(e[i]));
        assert_close(&format!("{name} dlogits"), &actual.dlogits, &expected.dlogits, |i| {
            bound(expected.dlogits[i])
        });
    }
}

#[test]
fn every_objective_has_a_vector() {
    let covered: BTreeSet<_> = cases().into_iter().map(|case| case.objective).collect();
    for name in Builtin::NAMES {
        assert!(covered.contains(*name), "no vector for {name}");
    }
}
