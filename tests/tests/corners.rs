//! Corners where naive arithmetic goes wrong: zero weights against infinite coefficients, huge finite logits, denominators, signed zeros; and
//! every objective against the oracle in all of them at once.

use surprisal::objective::{
    GroupPlan, Grpo, Input, Normalize, Objective, Over, Ppo, Real, Selection, Sft, Statistic,
    TalrAuto, TauFrom, Token, TokenTerm,
};
use surprisal::{
    Argument, Batch, Element, Error, ExtrasScale, Logits, LogitsMut, Loss, LossReport, Outputs,
    OwnedWorkspace, Reduction, RowStats, Workspace, bf16, f16,
};
use surprisal_tests::cases::objectives;
use surprisal_tests::compare::assert_same_bits;
use surprisal_tests::problem::{Outcome, Problem};
use surprisal_tests::run::{WAYS, Way, levels, run};
use surprisal_tests::storage::Storage;
use surprisal_tests::tolerance::{BF16, F16, F32, Rounding, assert_outcome};

const INF: f32 = f32::INFINITY;

fn every_way(problem: &Problem, check: impl Fn(&Outcome, &str)) {
    for level in levels() {
        for way in WAYS.into_iter().chain([Way::Shards(2), Way::Shards(3)]) {
            check(&run::<f32>(problem, way, level), &format!("{} {way:?} {level:?}", problem.name));
        }
    }
}

/// What a row looks like.
#[derive(Clone, Copy, Debug)]
enum Row {
    Ordinary,
    Impossible,
    Certain,
    Equal,
}

/// Nine rows of 23 classes, every third one of this kind, with all side inputs.
fn problem(kind: Row, seed: u64) -> Problem {
    let mut problem = Problem::random(9, 23, seed);
    for row in (0..9).step_by(3) {
        let target = usize::try_from(problem.targets[row]).unwrap();
        let z = &mut problem.logits[row * 23..][..23];
        match kind {
            Row::Ordinary => {}
            Row::Impossible => z[target] = -INF,
            Row::Certain => {
                z.iter_mut().enumerate().filter(|(j, _)| *j != target).for_each(|(_, z)| *z = -INF)
            }
            Row::Equal => z.fill(1.25),
        }
        // Other models are not far away: ratios stay small, so that tolerances need no knowledge of them.
        let near = match kind {
            Row::Ordinary => continue,
            Row::Impossible => 3.0,
            Row::Certain => 0.2,
            Row::Equal => 3.3,
        };
        for side in [&mut problem.ref_log_probs, &mut problem.old_log_probs] {
            side.as_mut().unwrap()[row] = -near;
        }
    }
    problem.name = format!("{kind:?}");
    problem
}

/// The dense extras one by one, and all of them.
fn extras(problem: &Problem) -> Vec<Problem> {
    let with = |name: &str, change: &dyn Fn(&mut Problem)| {
        let mut problem = problem.clone();
        change(&mut problem);
        problem.name = format!("{} {name}", problem.name);
        problem
    };
    let weights: Vec<f32> =
        (0..23).map(|j| if j % 5 == 2 { 0.0 } else { 0.5 + j as f32 / 16.0 }).collect();
    vec![
        with("plain", &|_| {}),
        with("smoothing", &|p| p.extras.label_smoothing = 0.125),
        with("all smoothing", &|p| p.extras.label_smoothing = 1.0),
        with("z-loss", &|p| p.extras.z_loss = 1e-3),
        with("scale", &|p| p.extras.logit_scale = 0.7),
        with("softcap", &|p| p.extras.softcap = Some(8.0)),
        with("class weights", &|p| p.extras.class_weights = Some(weights.clone())),
        with("gradient scale", &|p| p.extras.grad_scale = -512.0),
    ]
}

/// Weights 0, tiny and 1 on rows of every kind.
fn weighted(mut problem: Problem, weight: f32) -> Problem {
    problem.token_weights =
        Some((0..9).map(|row| if row % 2 == 0 { weight } else { 1.0 }).collect());
    problem.name = format!("{} weight {weight:e}", problem.name);
    problem
}

/// Where the oracle has ∞ − ∞ (an infinite coefficient against infinite smoothing of the other sign) anything goes.
fn without_conflicts(oracle: &Outcome, actual: &Outcome) -> Outcome {
    let mut oracle = oracle.clone();
    let vocab = oracle.dlogits.len() / oracle.nll.len();
    for (index, (expected, actual)) in oracle.dlogits.iter_mut().zip(&actual.dlogits).enumerate() {
        if expected.is_nan() && !oracle.nll[index / vocab].is_nan() {
            *expected = *actual;
        }
    }
    oracle
}

/// A problem in every way of one element type, against the oracle.
fn compare<T: Element + Storage>(problem: &Problem, rounding: Rounding) -> usize {
    let problem = problem.clone().rounded::<T>();
    let oracle = problem.oracle();
    for way in WAYS.into_iter().chain([Way::Shards(3)]) {
        let rounding = if way.is_f32() { F32 } else { rounding };
        let actual = run::<T>(&problem, way, levels()[0]);
        assert_outcome(&problem, &actual, &without_conflicts(&oracle, &actual), rounding);
    }
    1
}

#[test]
fn every_objective_in_every_corner() {
    let mut compared = 0;
    for (seed, objective) in objectives().into_iter().enumerate() {
        for kind in [Row::Ordinary, Row::Impossible, Row::Certain, Row::Equal] {
            let base = problem(kind, seed as u64).objective(objective);
            for scale in [ExtrasScale::One, ExtrasScale::Objective] {
                for mut problem in extras(&base) {
                    problem.extras.scale = scale;
                    for weight in [0.0, 1e-30, 1.0] {
                        let problem = weighted(problem.clone(), weight);
                        compared += compare::<f32>(&problem, F32);
                        // Every third problem, another one each time.
                        match compared % 3 {
                            0 => compared += compare::<bf16>(&problem, BF16),
                            1 => compared += compare::<f16>(&problem, F16),
                            _ => {}
                        }
                    }
                }
            }
        }
    }
    assert!(compared > 8000, "{compared}");
}

/// A token without weight costs nothing, also against an infinite coefficient; and 0 smoothing of it is nothing.
#[test]
fn zero_weights_win_over_infinite_coefficients() {
    let mut problem =
        problem(Row::Impossible, 1).objective(Grpo { beta: 0.3, ..Grpo::default() }.into());
    problem.extras.scale = ExtrasScale::Objective;
    problem.token_weights = Some((0..9).map(|row| if row == 0 { 0.0 } else { 1.0 }).collect());
    every_way(&problem, |outcome, what| {
        assert!(outcome.dlogits[..23].iter().all(|d| d.to_bits() == 0), "{what}");
        assert!(outcome.dlogits.iter().all(|d| !d.is_nan()), "{what}");
        assert_eq!(outcome.report.loss, f64::INFINITY, "{what}");
    });
}

/// Finite logits have a finite loss, whatever the scale.
#[test]
fn huge_finite_logits() {
    for (scale, logits, target, nll) in [
        (0.7, [2e10, 0.0], 0, 0.0),
        (0.7, [2.3e10, 0.0], 0, 0.0),
        (0.7, [2.3e8, 2.3e8 - 32.0], 0, (-0.7_f64 * 32.0).exp()),
        (2.0, [3e38, -3e38], 0, 0.0),
        (3e38, [3e38, 1e38], 0, 0.0),
        (2.0, [f32::MIN, f32::MIN], 1, 2.0_f64.ln()),
        (0.5, [-2e10, -2e10], 1, 2.0_f64.ln()),
        (1e-38, [3e38, -3e38], 1, 6.0),
    ] {
        let mut problem = Problem::new(1, 2, logits.to_vec(), vec![target]);
        problem.extras.logit_scale = scale;
        let oracle = problem.oracle();
        every_way(&problem, |outcome, what| {
            assert_eq!(outcome.report.invalid_row, None, "{what} {logits:?}");
            assert!(outcome.nll[0] >= 0.0, "{what} {logits:?}: {}", outcome.nll[0]);
            let close = (outcome.nll[0] - nll).abs() <= 0.02 * nll + 1e-30;
            assert!(close, "{what} {logits:?}: {} for {nll}", outcome.nll[0]);
            assert_outcome(&problem, outcome, &oracle, F32);
        });
    }
}

#[test]
fn smoothing_at_an_offset() {
    let mut problem = Problem::new(1, 1000, vec![10_000.3; 1000], vec![7]);
    (problem.extras.logit_scale, problem.extras.label_smoothing) = (0.7, 1.0);
    every_way(&problem, |outcome, what| {
        assert!(
            (outcome.report.loss - 1000.0_f64.ln()).abs() < 5e-7,
            "{what}: {}",
            outcome.report.loss
        );
    });
}

/// A division, not a product with a rounded reciprocal.
#[test]
fn denominators_divide() {
    let problem = Problem::new(49, 2, vec![0.5; 98], vec![1; 49]);
    for reduction in [Reduction::By(49.0), Reduction::MeanTokens] {
        every_way(&problem.clone().reduction(reduction), |outcome, what| {
            assert_eq!(outcome.report.loss, outcome.report.loss_sum / 49.0, "{what} {reduction:?}");
        });
    }
}

/// Fused and staged agree in the sign of zeros.
#[test]
fn signed_zeros_agree() {
    let z: Vec<f32> = (0..70).map(|j| if j == 3 { 90.0 } else { -60.0 }).collect();
    let mut problem = Problem::new(1, 70, z, vec![3]).objective(Ppo::default().into());
    (problem.old_log_probs, problem.advantages) = (Some(vec![0.0]), Some(vec![-1.0]));
    for scale in [ExtrasScale::One, ExtrasScale::Objective] {
        problem.extras.scale = scale;
        let fused = run::<f32>(&problem, Way::Separate, levels()[0]);
        for way in WAYS {
            let other = run::<f32>(&problem, way, levels()[0]);
            assert_same_bits(&format!("{way:?}"), &other.dlogits, &fused.dlogits);
        }
    }
}

/// Statistics of shards sum what the entropy is made of, when asked, and merge it.
#[test]
fn entropy_of_shards() {
    let problem = Problem::random(3, 50, 5);
    let (batch, loss) = (problem.batch(), Loss::new(Sft).with_moments());
    for cuts in [vec![0, 50], vec![0, 17, 50], vec![0, 1, 30, 49, 50]] {
        let mut merged = [RowStats::EMPTY; 3];
        for cut in cuts.windows(2) {
            let rows = problem.logits.chunks(50).flat_map(|row| &row[cut[0]..cut[1]]);
            let z: Vec<f32> = rows.copied().collect();
            let logits = Logits::new(&z, 3, cut[1] - cut[0]).unwrap().shard(cut[0], 50).unwrap();
            let mut stats = [RowStats::EMPTY; 3];
            loss.row_stats(logits, &batch, &mut stats).unwrap();
            for (all, part) in merged.iter_mut().zip(stats) {
                *all = all.merge(part);
            }
        }
        for (stats, row) in merged.iter().zip(problem.logits.chunks(50)) {
            let exact: Vec<f64> = row.iter().copied().map(f64::from).collect();
            let entropy = surprisal::reference::entropy(&exact);
            assert!((stats.entropy() - entropy).abs() < 2e-6 * entropy, "{cuts:?}");
            let mut log_p = vec![0.0; 50];
            surprisal::reference::log_softmax(&exact, &mut log_p).unwrap();
            let squares: f64 = log_p.iter().map(|log_p| (2.0 * log_p).exp()).sum();
            assert!((stats.sum_squares() - squares).abs() < 2e-6 * squares, "{cuts:?}");
        }
    }
    let mut unasked = [RowStats::EMPTY; 3];
    let logits = Logits::new(&problem.logits, 3, 50).unwrap();
    Loss::new(Sft).row_stats(logits, &batch, &mut unasked).unwrap();
    assert!(unasked.iter().all(|stats| stats.entropy().is_nan() && stats.sum_squares().is_nan()));
}

#[test]
fn mismatched_views_are_named() {
    let (z, mut dz, batch) = ([0.0_f32; 8], [0.0_f32; 8], Batch::new(&[1, 5]));
    let logits = Logits::new(&z, 2, 4).unwrap().shard(0, 8).unwrap();
    let (stats, terms) = ([RowStats::EMPTY; 2], [TokenTerm::default(); 2]);
    let mut call = |place: Option<(usize, usize)>| {
        let out = LogitsMut::new(&mut dz, 2, 4).unwrap();
        let out = match place {
            Some((start, total)) => out.shard(start, total).unwrap(),
            None => out,
        };
        Loss::new(Sft).logits_grad(logits, &batch, &stats, &terms, out)
    };
    let argument = Argument::Dlogits;
    let other = |vocab_start, vocab_total| Error::OtherShard { argument, vocab_start, vocab_total };
    assert_eq!(call(Some((4, 8))), Err(other(4, 8)));
    assert_eq!(call(Some((0, 9))), Err(other(0, 9)));
    // A result that says nothing of its place has that of the logits.
    assert_eq!((call(None), call(Some((0, 8)))), (Ok(()), Ok(())));
}

#[test]
fn short_stats_are_named() {
    let (batch, mut terms) = (Batch::new(&[1, 0]), [TokenTerm::default(); 2]);
    let error =
        Loss::new(Sft).token_terms(&[RowStats::EMPTY], &batch, 3, &mut terms, Workspace::none());
    assert_eq!(error, Err(Error::Length { argument: Argument::Stats, expected: 2, actual: 1 }));
}

/// A call on a range looks at its own rows' entries and no others: those may hold anything.
#[test]
fn ranges_look_at_their_own_rows() {
    const NAN: f32 = f32::NAN;
    let (z, mut dz) = ([0.25_f32; 4], [9.0_f32; 4]);
    let loss = Loss::new(Grpo { beta: 0.1, ..Grpo::default() }).reduction(Reduction::By(2.0));
    let batch = Batch::new(&[77, 1, -5])
        .token_weights(&[NAN, 1.0, -1.0])
        .ref_log_probs(&[9.0, -1.0, NAN])
        .old_log_probs(&[NAN, -1.0, 9.0])
        .advantages(&[f32::INFINITY, 1.0, NAN])
        .extra("difficulty", &[NAN, 1.0, NAN])
        .row_range(1..2);
    let (logits, out) = (Logits::new(&z, 1, 4).unwrap(), LogitsMut::new(&mut dz, 1, 4).unwrap());
    let report = loss.forward_backward(logits, &batch, out).unwrap();
    assert_eq!((report.tokens, report.weight_sum), (1, 1.0));
    // A mean must know of the others; it is told.
    let loss = Loss::new(Sft);
    let targets = Batch::new(&[0, 1, 3]);
    let part = targets.row_range(1..2);
    assert_eq!(loss.forward(logits, &part), Err(Error::Missing(Argument::Denominator)));
    let known = loss.denominator(&targets, &mut []).unwrap();
    let report = loss.forward(logits, &part.denominator(known)).unwrap();
    assert_eq!(report.loss, report.loss_sum / 3.0);
    // What is counted once is checked once: the whole batch.
    assert_eq!(loss.denominator(&batch, &mut []), Err(Error::Target { row: 2, target: -5 }));
    let by_sequence = Loss::new(Sft).reduction(Reduction::MeanSequences);
    let packed = targets.sequences(&[0, 1, 3]);
    let short = Error::Length { argument: Argument::SequenceTokens, expected: 2, actual: 0 };
    assert_eq!(by_sequence.denominator(&packed, &mut []), Err(short));
}

/// An upstream factor reaches the gradient and not the loss, before the gradient is rounded.
#[test]
fn gradient_scale() {
    let problem = Problem::random(6, 40, 8).objective(TalrAuto::default().into());
    let scaled = |factor: f32| {
        let mut problem = problem.clone();
        problem.extras.grad_scale = factor;
        run::<f32>(&problem, Way::Separate, levels()[0])
    };
    let one = scaled(1.0);
    for factor in [0.5, -2.0, 65_536.0, 0.0] {
        let other = scaled(factor);
        let expected: Vec<f64> = one.dlogits.iter().map(|d| d * f64::from(factor) + 0.0).collect();
        assert_same_bits(
            "dlogits",
            &other.dlogits.iter().map(|d| d + 0.0).collect::<Vec<_>>(),
            &expected,
        );
        assert_eq!(other.report, one.report);
    }
    // 1/1000 of a probability of 1e-6 is nothing in f16; scaled, it survives.
    let mut problem =
        Problem::new(1, 2, vec![0.0, -14.0], vec![0]).reduction(Reduction::By(1000.0));
    assert_eq!(run::<f16>(&problem, Way::Separate, levels()[0]).dlogits, [0.0, 0.0]);
    problem.extras.grad_scale = 65_536.0;
    let gradient = run::<f16>(&problem, Way::Separate, levels()[0]).dlogits[1];
    let exact = 65_536.0 / 1000.0 * (-14.0_f64).exp() / (1.0 + (-14.0_f64).exp());
    assert!((gradient / exact - 1.0).abs() < 1e-3, "{gradient} {exact}");
    for factor in [f32::NAN, INF] {
        let loss = Loss::new(Sft).grad_scale(factor);
        let error =
            loss.forward(Logits::new(&[0.0_f32; 2], 1, 2).unwrap(), &Batch::new(&[0])).unwrap_err();
        assert!(matches!(error, Error::Parameter { name: "grad_scale", .. }));
    }
}

/// Columns between the vocabulary and the stride are zero on request, in every row that is written, and else as they were.
#[test]
fn padding_can_be_zeroed() {
    let batch = Batch::new(&[0, -1, 2]).ignore_index(-1);
    for zero in [false, true] {
        let expected = if zero { 0.0 } else { 7.0 };
        fn view(data: &mut [f32], zero: bool) -> LogitsMut<'_, f32> {
            let view = LogitsMut::strided(data, 3, 3, 5).unwrap();
            if zero { view.zero_padding() } else { view }
        }
        // The last row's padding is not there.
        let (z, mut dz) = ([0.5_f32; 9], [7.0_f32; 13]);
        Loss::new(Sft)
            .forward_backward(Logits::new(&z, 3, 3).unwrap(), &batch, view(&mut dz, zero))
            .unwrap();
        assert_eq!([dz[3], dz[4], dz[8], dz[9]], [expected; 4]);
        assert!(dz[10..].iter().all(|&d| d != 7.0));
        let mut place = [7.0_f32; 15];
        Loss::new(Sft).forward_backward_in_place(view(&mut place, zero), &batch).unwrap();
        assert_eq!([place[3], place[8], place[13], place[14]], [expected; 4]);
    }
}

/// A batch carries inputs of the caller's own, which an objective asks for by name.
#[test]
fn extra_inputs() {
    #[derive(Clone, Copy, Debug)]
    struct Harder;
    impl Objective for Harder {
        fn loss<R: Real>(&self, t: &Token<R>) -> R {
            -(t.extra[1] * t.log_p) + t.extra[0]
        }

        fn inputs(&self) -> &'static [Input] {
            &[Input::Extra("bias"), Input::Extra("difficulty")]
        }
    }
    let z = [0.0_f32; 4];
    let logits = || Logits::new(&z, 2, 2).unwrap();
    let batch = Batch::new(&[0, 1]).extra("difficulty", &[2.0, 3.0]).extra("unused", &[0.0; 2]);
    let loss = Loss::new(&Harder).reduction(Reduction::Sum);
    let missing = Error::Missing(Argument::Extra("bias"));
    assert_eq!(loss.forward(logits(), &batch), Err(missing));
    assert_eq!(missing.to_string(), "bias is needed and was not given");
    let batch = batch.extra("bias", &[0.25, 0.5]);
    let mut dz = [0.0_f32; 4];
    let report =
        loss.forward_backward(logits(), &batch, LogitsMut::new(&mut dz, 2, 2).unwrap()).unwrap();
    assert!((report.loss - (5.0 * 2.0_f64.ln() + 0.75)).abs() < 1e-6);
    assert_eq!(dz, [-1.0, 1.0, 1.5, -1.5]);
    let value = Error::Value { argument: Argument::Extra("bias"), index: 1, value: f64::INFINITY };
    assert_eq!(loss.forward(logits(), &batch.extra("bias", &[0.0, INF])), Err(value));
    let short = Error::Length { argument: Argument::Extra("bias"), expected: 2, actual: 1 };
    assert_eq!(loss.forward(logits(), &batch.extra("bias", &[0.0])), Err(short));
    let full = batch.extra("fourth", &[0.0; 2]).extra("fifth", &[0.0; 2]);
    assert_eq!(loss.forward(logits(), &full), Err(Error::ExtraInputs { name: "fifth" }));
}

/// A user's own plan decides what takes part; the temperature that it finds is in the report.
#[test]
fn plans_of_ones_own() {
    /// −2·ln p on the half of the tokens with the largest `score`.
    #[derive(Clone, Copy, Debug)]
    struct BestHalf;
    impl Objective for BestHalf {
        fn loss<R: Real>(&self, t: &Token<R>) -> R {
            -(t.shared[0] * t.log_p * 2.0)
        }

        fn inputs(&self) -> &'static [Input] {
            &[Input::Extra("score")]
        }

        fn group_plan(&self) -> Option<GroupPlan> {
            let steps = [Statistic::Top(0.5).over(Over::Batch), Statistic::Sum.over(Over::Batch)];
            Some(GroupPlan::of(steps).select(Selection::Step(0)))
        }

        fn step<R: Real>(&self, index: usize, t: &Token<R>) -> R {
            if index == 0 { t.extra[0] } else { t.shared[0] * t.extra[0] }
        }

        fn temperature<R: Real>(&self, t: &Token<R>) -> Option<R> {
            Some(t.shared[1])
        }
    }
    let z = [0.0_f32; 10];
    let mut workspace = OwnedWorkspace::new();
    let logits = Logits::new(&z, 5, 2).unwrap();
    let scores = [0.5, -1.0, 3.0, 9.0, 0.5];
    let batch = Batch::new(&[0, 1, 0, -1, 1]).ignore_index(-1).extra("score", &scores);
    let loss = Loss::new(BestHalf);
    assert_eq!(loss.forward(logits, &batch), Err(Error::Missing(Argument::Workspace)));
    let report = loss.forward_with(logits, &batch, Outputs::new(), workspace.lend(5, 2)).unwrap();
    // Of four tokens the third and, of two equal ones, the first.
    assert_eq!((report.tokens, report.tau), (2, Some(3.5)));
    assert!((report.loss - 2.0 * 2.0_f64.ln()).abs() < 1e-6);
}

/// The report of an automatic TALR names its τ: the median of the sequences' mean nll.
#[test]
fn talr_reports_its_temperature() {
    let problem = Problem::random(9, 30, 4).objective(TalrAuto::default().into());
    let oracle = problem.oracle();
    every_way(&problem, |outcome, what| {
        let (tau, expected) = (outcome.report.tau.unwrap(), oracle.report.tau.unwrap());
        assert!((tau - expected).abs() < 1e-6 * expected, "{what}: {tau} for {expected}");
    });
}

/// Reports of ranges that are merged name the first row without a softmax, in whatever order they come.
#[test]
fn merged_reports_name_the_first_invalid_row() {
    let invalid = |row| {
        let mut report = LossReport::default();
        report.invalid_row = row;
        report
    };
    for (a, b, first) in
        [(Some(3), Some(5), 3), (Some(5), Some(3), 3), (None, Some(4), 4), (Some(4), None, 4)]
    {
        assert_eq!(invalid(a).merge(invalid(b)).invalid_row, Some(first));
    }
}

/// A normaliser of weights that all underflow: without a shift by the largest it would be ln 0.
#[test]
fn talr_normalises_weights_that_underflow() {
    let mut z = vec![0.0_f32; 4 * 40];
    z.chunks_mut(40).for_each(|row| row[0] = -3000.0);
    let mut problem = Problem::new(4, 40, z, vec![0; 4]);
    for normalize in [Normalize::Sum1Batch, Normalize::Mean1Batch] {
        // The median of the others is small: theirs decides τ.
        problem.targets = vec![0, 1, 1, 1];
        problem.logits[40 + 1..].iter_mut().step_by(40).for_each(|z| *z = 30.0);
        let objective = TalrAuto {
            floor: 0.0,
            tau_from: TauFrom::TokenMedian,
            normalize,
            ..TalrAuto::default()
        };
        let problem = problem.clone().objective(objective.into());
        let oracle = problem.oracle();
        every_way(&problem, |outcome, what| {
            assert!(outcome.report.loss.is_finite(), "{what}");
            assert_outcome(&problem, outcome, &oracle, F32);
        });
    }
    // A sequence that is learnt decides τ; in the other one every weight underflows, and its sum must not be 0.
    let (easy, hard) = ([0.5, 0.0], [[-2000.0, 0.0], [-3000.0, 0.0]]);
    let z = [easy, easy, easy, hard[0], hard[1]].concat();
    let mut problem = Problem::new(5, 2, z, vec![0; 5]);
    problem.cu_seqlens = Some(vec![0, 3, 5]);
    let (tau_from, normalize) = (TauFrom::TokenMedian, Normalize::Sum1Sequence);
    let objective = TalrAuto { floor: 0.0, tau_from, normalize, ..TalrAuto::default() };
    let problem = problem.objective(objective.into()).reduction(Reduction::Sum);
    let expected = (-0.5_f64).exp().ln_1p() + 2000.0;
    every_way(&problem, |outcome, what| {
        let loss = outcome.report.loss;
        assert!((loss / expected - 1.0).abs() < 1e-6, "{what}: {loss}");
    });
}

/// A masked sequence and an empty one: of five mean losses two are 0 where they count, so that the median is that of another sequence.
#[test]
fn sequences_without_tokens_count_as_0_where_that_is_asked() {
    let mut problem = Problem::random(9, 21, 77);
    problem.cu_seqlens = Some(vec![0, 2, 2, 4, 6, 9]);
    problem.keep = None;
    problem.ignore_index = Some(-100);
    problem.targets[2..4].fill(-100);
    let mut taus = [TauFrom::SequenceMedian, TauFrom::SequenceMedianWithEmpty].map(|tau_from| {
        let objective = TalrAuto { tau_from, ..TalrAuto::default() };
        let problem = problem.clone().objective(objective.into());
        let oracle = problem.oracle();
        every_way(&problem, |outcome, _| assert_outcome(&problem, outcome, &oracle, F32));
        oracle.report.tau.expect("there are tokens")
    });
    let nll = |rows: std::ops::Range<usize>| {
        let plain = problem.clone().objective(Sft.into()).oracle();
        rows.clone().map(|row| plain.nll[row]).sum::<f64>() / rows.len() as f64
    };
    let mut means = [nll(0..2), nll(4..6), nll(6..9)];
    means.sort_by(f64::total_cmp);
    for (tau, mean) in taus.iter_mut().zip([means[1], means[0]]) {
        assert!((*tau / mean - 1.0).abs() < 1e-9, "{tau} {mean}");
    }
}
