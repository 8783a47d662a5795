//! Rows without a softmax, impossible targets, ignored rows, and batches where nothing counts.

use surprisal::objective::{Builtin, Dft, Rho1, Sft, TalrAuto};
use surprisal_tests::problem::Problem;

use crate::ways::{Layout, WAYS, Way, run};

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

/// Five rows of three classes, two of which are what the test is about.
fn problem(first: [f32; 3], second: [f32; 3], objective: Builtin) -> Problem {
    let rows = [first, [0.5, 1.0, -1.0], second, [3.0, 3.0, 3.0], [0.0, -2.0, 1.0]];
    Problem::new(5, 3, rows.concat(), vec![0, 1, 2, 0, 2]).objective(objective)
}

pub(crate) fn rows_without_a_softmax_are_nan() {
    for bad in [[NAN, 0.0, 1.0], [0.0, INF, 1.0], [-INF, -INF, -INF], [0.0, 0.0, -NAN]] {
        let problem = problem([1.0, 2.0, 3.0], bad, Sft.into());
        for way in WAYS {
            let outcome = run::<f32>(&problem, way, Layout::PLAIN);
            assert!(outcome.report.loss.is_nan(), "{way:?} {bad:?}");
            assert_eq!(outcome.report.invalid_row, Some(2), "{way:?} {bad:?}");
            for (index, d) in outcome.dlogits.iter().enumerate() {
                assert_eq!(d.is_nan(), index / 3 == 2, "{way:?} {bad:?}: dlogits[{index}] = {d}");
            }
        }
    }
}

pub(crate) fn impossible_targets_cost_infinity_or_nothing() {
    let impossible = [-INF, 0.0, 1.0];
    for way in WAYS {
        let sft = run::<f32>(&problem(impossible, [0.0; 3], Sft.into()), way, Layout::PLAIN);
        assert_eq!((sft.report.loss, sft.nll[0]), (f64::INFINITY, f64::INFINITY), "{way:?}");
        assert!(sft.dlogits.iter().all(|d| d.is_finite()), "{way:?}");
        let dft = problem(impossible, [0.0; 3], Dft.into());
        let (dft, oracle) = (run::<f32>(&dft, way, Layout::PLAIN), dft.oracle());
        assert!((dft.report.loss - oracle.report.loss).abs() < 1e-6, "{way:?}");
        assert_eq!(dft.dlogits[..3], [0.0; 3], "{way:?}");
        // A class without mass gets nothing.
        let other =
            run::<f32>(&problem([0.0, -INF, 1.0], [0.0; 3], Sft.into()), way, Layout::PLAIN);
        assert_eq!(other.dlogits[1], 0.0, "{way:?}");
    }
}

/// A weight of 0 wins over everything, and over an infinite loss too.
pub(crate) fn what_has_no_weight_costs_nothing() {
    let mut problem = problem([-INF, 0.0, 1.0], [1e20, -1e20, 0.0], Sft.into());
    problem.token_weights = Some(vec![0.0, 1.0, 1.0, 1.0, 1.0]);
    problem.extras.class_weights = Some(vec![1.0, 1.0, 0.0]);
    let oracle = problem.oracle();
    for way in WAYS {
        let outcome = run::<f32>(&problem, way, Layout::PLAIN);
        let difference = (outcome.report.loss - oracle.report.loss).abs();
        assert!(difference < 1e-5, "{way:?}: {} {}", outcome.report.loss, oracle.report.loss);
        assert_eq!(outcome.dlogits[..3], [0.0; 3], "{way:?}");
        assert_eq!(outcome.dlogits[6..9], [0.0; 3], "{way:?}");
    }
}

/// Smoothing wants a little of every class: one that is impossible costs infinity, and the gradient stays finite.
pub(crate) fn smoothing_over_an_impossible_class_is_infinite() {
    let mut problem = problem([0.0, -INF, 1.0], [-INF, -INF, 2.0], Sft.into());
    problem.extras.label_smoothing = 0.1;
    let oracle = problem.oracle();
    for way in WAYS {
        let outcome = run::<f32>(&problem, way, Layout::PLAIN);
        assert_eq!(outcome.report.loss, oracle.report.loss, "{way:?}");
        for (index, (actual, expected)) in outcome.dlogits.iter().zip(&oracle.dlogits).enumerate() {
            let close = (actual - expected).abs() < 1e-5;
            assert!(close, "{way:?}: dlogits[{index}] = {actual} instead of {expected}");
        }
    }
}

pub(crate) fn ignored_rows_are_not_read() {
    let mut problem = problem([NAN, INF, NAN], [NAN; 3], Sft.into());
    (problem.targets[0], problem.targets[2], problem.ignore_index) = (-100, -100, Some(-100));
    let oracle = problem.oracle();
    for way in WAYS {
        let outcome = run::<f32>(&problem, way, Layout::PLAIN);
        assert_eq!(outcome.report.tokens, 3, "{way:?}");
        assert!((outcome.report.loss - oracle.report.loss).abs() < 1e-6, "{way:?}");
        for row in [0, 2] {
            assert_eq!(outcome.dlogits[row * 3..][..3], [0.0; 3], "{way:?}");
            assert_eq!(outcome.nll[row], 0.0, "{way:?}");
        }
    }
    problem.targets.fill(-100);
    for way in WAYS {
        let outcome = run::<f32>(&problem, way, Layout::PLAIN);
        assert_eq!((outcome.report.loss, outcome.report.tokens), (0.0, 0), "{way:?}");
        assert!(outcome.dlogits.iter().all(|&d| d == 0.0), "{way:?}");
    }
}

pub(crate) fn no_rows_are_a_report_of_zeros() {
    for objective in [Builtin::from(Sft), TalrAuto::default().into(), Rho1::default().into()] {
        let mut problem = Problem::new(0, 3, Vec::new(), Vec::new()).objective(objective);
        problem.cu_seqlens = Some(vec![0]);
        problem.ref_log_probs = Some(Vec::new());
        for way in Way::of(&objective) {
            let outcome = run::<f32>(&problem, way, Layout::PLAIN);
            assert_eq!((outcome.report.loss, outcome.report.tokens), (0.0, 0), "{way:?}");
        }
    }
}
