//! The table of degenerate rows, each line in every way, element type and level.

use surprisal::objective::{Builtin, Dft, Sft, Talr};
use surprisal::{
    Batch, Element, Error, Logits, Loss, Outputs, Reduction, RowStats, Workspace, bf16, f16,
};
use surprisal_tests::problem::{Outcome, Problem};
use surprisal_tests::run::{WAYS, Way, levels, run};
use surprisal_tests::storage::Storage;

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;

/// Three rows of 19 classes, the middle one given, targets 2.
fn around(middle: impl Fn(usize) -> f32) -> Problem {
    let logits =
        (0..3 * 19).map(|i| if i / 19 == 1 { middle(i % 19) } else { (i % 5) as f32 }).collect();
    Problem::new(3, 19, logits, vec![2, 2, 2])
}

fn each_way(problem: &Problem, check: impl Fn(&Outcome, &str)) {
    fn one<T: Element + Storage>(problem: &Problem, check: &impl Fn(&Outcome, &str)) {
        for level in levels() {
            for way in WAYS.into_iter().chain([Way::Shards(3), Way::Shards(19)]) {
                let what = format!("{} {way:?} {level:?}", std::any::type_name::<T>());
                check(&run::<T>(problem, way, level), &what);
            }
        }
    }
    one::<f32>(problem, &check);
    one::<bf16>(problem, &check);
    one::<f16>(problem, &check);
}

fn middle(outcome: &Outcome) -> &[f64] {
    &outcome.dlogits[19..38]
}

#[test]
fn ignored_rows_are_exactly_zero_and_unread() {
    for content in [NAN, INF, -INF, 3.0] {
        let mut problem = around(|_| content);
        (problem.targets[1], problem.ignore_index) = (-100, Some(-100));
        each_way(&problem, |outcome, what| {
            assert!(middle(outcome).iter().all(|d| d.to_bits() == 0), "{what}");
            assert_eq!(outcome.nll[1].to_bits(), 0, "{what}");
            assert_eq!((outcome.report.tokens, outcome.report.invalid_row), (2, None), "{what}");
            assert!(outcome.report.loss.is_finite(), "{what}");
        });
    }
}

#[test]
fn rows_without_a_softmax_are_nan_and_named() {
    // NaN and +inf at the first, a middle and the last (tail) class; everything −inf; everything NaN.
    let mut rows: Vec<Box<dyn Fn(usize) -> f32>> =
        vec![Box::new(|_| -INF), Box::new(|_| NAN), Box::new(|_| INF)];
    for bad in [NAN, INF, -NAN] {
        for place in [0, 2, 7, 15, 16, 18] {
            rows.push(Box::new(move |class| if class == place { bad } else { 1.0 }));
        }
    }
    for row in rows {
        for objective in [Builtin::from(Sft), Dft.into()] {
            let problem = around(&row).objective(objective);
            each_way(&problem, |outcome, what| {
                assert!(middle(outcome).iter().all(|d| d.is_nan()), "{what}");
                assert!(outcome.nll[1].is_nan() && outcome.report.loss.is_nan(), "{what}");
                assert_eq!(outcome.report.invalid_row, Some(1), "{what}");
                let others = outcome.dlogits[..19].iter().chain(&outcome.dlogits[38..]);
                assert!(others.into_iter().all(|d| d.is_finite()), "{what}: other rows");
                assert!(outcome.nll[0].is_finite() && outcome.nll[2].is_finite(), "{what}");
            });
        }
    }
}

#[test]
fn impossible_target() {
    let problem = |objective: Builtin| {
        around(|class| if class == 2 { -INF } else { 1.0 }).objective(objective)
    };
    let p = 1.0 / 18.0;
    each_way(&problem(Sft.into()), |outcome, what| {
        assert_eq!((outcome.nll[1], outcome.report.loss), (f64::INFINITY, f64::INFINITY), "{what}");
        assert_eq!(outcome.report.invalid_row, None, "{what}");
        assert_eq!(middle(outcome)[2], -1.0, "{what}");
        assert!((middle(outcome)[0] - p).abs() < 1e-3, "{what}");
    });
    each_way(&problem(Dft.into()), |outcome, what| {
        assert_eq!(outcome.nll[1], f64::INFINITY, "{what}");
        assert!(outcome.report.loss.is_finite(), "{what}");
        assert!(middle(outcome).iter().all(|d| *d == 0.0), "{what}");
    });
    each_way(
        &problem(Talr { tau: 2.0, floor: 0.25, ..Talr::default() }.into()),
        |outcome, what| {
            assert_eq!(outcome.report.loss, f64::INFINITY, "{what}");
            assert_eq!(middle(outcome)[2], -0.25, "{what}");
        },
    );
    // A weight of 0 wins over the infinite loss.
    let mut unweighted = problem(Sft.into());
    unweighted.token_weights = Some(vec![1.0, 0.0, 1.0]);
    each_way(&unweighted, |outcome, what| assert!(outcome.report.loss.is_finite(), "{what}"));
}

#[test]
fn every_objective_survives_impossible_and_certain_targets() {
    for objective in Builtin::all() {
        for target_logit in [-INF, -60_000.0, 60_000.0] {
            let mut problem = Problem::random(8, 33, 3);
            let target = usize::try_from(problem.targets[3]).unwrap();
            problem.logits[3 * 33 + target] = target_logit;
            let problem = problem.objective(objective);
            each_way(&problem, |outcome, what| {
                let finite = outcome.dlogits.iter().all(|d| !d.is_nan());
                assert!(finite, "{} {target_logit} {what}", problem.name);
                assert!(!outcome.report.loss.is_nan(), "{} {target_logit} {what}", problem.name);
            });
        }
    }
}

#[test]
fn nothing_counts() {
    for reduction in
        [Reduction::Sum, Reduction::MeanTokens, Reduction::MeanWeights, Reduction::By(2.0)]
    {
        let mut problem = around(|_| 1.0);
        (problem.targets, problem.ignore_index) = (vec![-1; 3], Some(-1));
        each_way(&problem.reduction(reduction), |outcome, what| {
            assert_eq!(outcome.report, surprisal::LossReport::default(), "{what}");
            assert!(outcome.dlogits.iter().all(|d| d.to_bits() == 0), "{what}");
        });
    }
    // Weights that sum to 0: no denominator, loss 0.
    let mut problem = around(|_| 1.0).reduction(Reduction::MeanWeights);
    problem.token_weights = Some(vec![0.0; 3]);
    each_way(&problem, |outcome, what| {
        assert_eq!((outcome.report.loss, outcome.report.tokens), (0.0, 3), "{what}");
        assert!(outcome.dlogits.iter().all(|d| *d == 0.0), "{what}");
    });
}

#[test]
fn no_rows() {
    for objective in Builtin::all() {
        let mut problem = Problem::new(0, 5, vec![], vec![]);
        problem.cu_seqlens = Some(vec![0]);
        problem.ref_log_probs = Some(vec![]);
        problem.old_log_probs = Some(vec![]);
        problem.advantages = Some(vec![]);
        problem.groups = Some(vec![]);
        problem.pairs = Some(vec![]);
        problem.keep = Some(vec![]);
        let problem = problem.objective(objective);
        each_way(&problem, |outcome, what| {
            assert_eq!(outcome.report, surprisal::LossReport::default(), "{what}");
        });
    }
    let empty: [f32; 0] = [];
    assert_eq!(Logits::new(&empty, 0, 0).unwrap_err(), Error::EmptyVocab);
}

#[test]
fn one_class() {
    let problem = Problem::new(2, 1, vec![5.0, -3e38], vec![0, 0]);
    let oracle = problem.oracle();
    assert_eq!(oracle.dlogits, [0.0, 0.0]);
    for level in levels() {
        for way in WAYS {
            let outcome = run::<f32>(&problem, way, level);
            assert_eq!((outcome.report.loss, outcome.report.correct), (0.0, 2));
            assert!(outcome.dlogits.iter().all(|d| *d == 0.0));
        }
    }
}

#[test]
fn extreme_finite_logits() {
    let (big, lowest) = (f32::MAX, f32::MIN);
    let logits = vec![big, lowest, 0.0, lowest, lowest, lowest, -big, 1e-45, -1e-45];
    let problem = Problem::new(3, 3, logits, vec![0, 1, 2]);
    let oracle = problem.oracle();
    for level in levels() {
        for way in WAYS {
            let actual = run::<f32>(&problem, way, level);
            surprisal_tests::tolerance::assert_outcome(
                &problem,
                &actual,
                &oracle,
                surprisal_tests::tolerance::F32,
            );
        }
    }
}

/// A row of −inf behind a soft-cap is a row like any other: capped.
#[test]
fn softcap_caps_infinities() {
    let mut problem = around(|class| if class == 4 { INF } else { -INF });
    problem.extras.softcap = Some(4.0);
    each_way(&problem, |outcome, what| {
        assert_eq!(outcome.report.invalid_row, None, "{what}");
        let expected = 8.0 + (1.0 + 18.0 * (-8.0_f64).exp()).ln();
        assert!((outcome.nll[1] - expected).abs() < 1e-5, "{what}: {}", outcome.nll[1]);
    });
}

#[test]
fn statistics_of_nothing_are_the_identity() {
    let z = [-INF; 40];
    let mut stats = [RowStats { max: 1.0, ..RowStats::EMPTY }];
    let logits = Logits::new(&z, 1, 40).unwrap().shard(40, 100).unwrap();
    Loss::new(Sft).row_stats(logits, &Batch::new(&[3]), &mut stats).unwrap();
    let nan = f64::NAN;
    let (sum_logits, sum_exp_logits, sum_exp_squared) = (nan, nan, nan);
    let expected = RowStats { sum_logits, sum_exp_logits, sum_exp_squared, ..RowStats::EMPTY };
    assert_eq!(format!("{:?}", stats[0]), format!("{expected:?}"));
}

/// An error found late must not leave outputs half written.
#[test]
fn a_nan_row_does_not_stop_the_others() {
    let problem = around(|class| if class == 0 { NAN } else { 0.0 });
    let mut nll = [7.0; 3];
    let logits = Logits::new(&problem.logits, 3, 19).unwrap();
    let report = problem
        .loss()
        .forward_with(logits, &problem.batch(), Outputs::new().nll(&mut nll), Workspace::none())
        .unwrap();
    assert_eq!((report.invalid_row, report.tokens), (Some(1), 3));
    assert!(nll[0].is_finite() && nll[1].is_nan() && nll[2].is_finite());
}
