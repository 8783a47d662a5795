//! The crate against the oracle, against the composed path, and against itself in other chunks.

mod common;

use common::{Asked, Case, Plain, START, assert_outcome, bits, composed, oracle, run, store};
use surprisal::objective::{Builtin, Objective};
use surprisal::{Loss, Outputs, Reduction, RowStats, bf16, f16};
use surprisal_linear::{
    DefaultGemm, Gradients, LinearLoss, Matrix, MatrixMut, OwnedWorkspace, Scalar,
};
use surprisal_tests::cases::{dressed, objectives, reductions};
use surprisal_tests::compare::assert_same_bits;
use surprisal_tests::problem::Problem;

/// A row, a divisor of nothing, all rows, more than all.
const CHUNKS: [usize; 4] = [1, 5, 13, 64];

fn cases(objective: Builtin) -> impl Iterator<Item = Case> {
    let bias = |(index, problem)| Case::new(problem, index % 2 == 1);
    dressed(objective, 11).into_iter().enumerate().map(bias)
}

#[test]
fn every_objective_agrees_with_the_oracle() {
    for case in objectives().into_iter().flat_map(cases) {
        let oracle = oracle(&case);
        let name = &case.problem.name;
        assert_outcome(name, &run::<f32, f32, f32>(&case, 5, DefaultGemm), &oracle, 1e-4);
    }
}

/// Per-token outputs and dH bit for bit; sums over rows but for their rounding.
#[test]
fn every_objective_is_the_composed_path_in_any_chunks() {
    for case in objectives().into_iter().flat_map(cases) {
        let (name, expected) = (&case.problem.name, composed(&case));
        for chunk in CHUNKS {
            let actual = run::<f32, f32, f32>(&case, chunk, Plain);
            let name = format!("{name} in chunks of {chunk}");
            assert_eq!(bits(&actual.outputs), bits(&expected.outputs), "{name}");
            assert_same_bits(&format!("{name} dH"), &actual.dh, &expected.dh);
            assert_outcome(&name, &actual, &expected, 1e-6);
        }
    }
}

#[test]
fn every_reduction_agrees() {
    for objective in ["sft", "ppo", "talr-auto", "dpo", "rho1"] {
        let objective = Builtin::from_name(objective).unwrap();
        for reduction in reductions(&objective) {
            let problem = Problem::random(13, 37, 3).objective(objective).reduction(reduction);
            let case = Case::new(problem.with_ignored_rows().with_token_weights(), false);
            let expected = composed(&case);
            for chunk in CHUNKS {
                let actual = run::<f32, f32, f32>(&case, chunk, Plain);
                let name = format!("{} in chunks of {chunk}", case.problem.name);
                assert_same_bits(&format!("{name} dH"), &actual.dh, &expected.dh);
                assert_outcome(&name, &actual, &expected, 1e-6);
            }
        }
    }
}

/// Ignored rows: in the middle, at the ends, most, all; and no rows at all.
#[test]
fn ignored_rows_are_left_out() {
    let of = |rows: usize, ignored: &dyn Fn(usize) -> bool, objective: &str| {
        let objective = Builtin::from_name(objective).unwrap();
        let mut problem = Problem::random(rows, 19, 5).objective(objective);
        problem.ignore_index = Some(-100);
        for row in (0..rows).filter(|&row| ignored(row)) {
            problem.targets[row] = -100;
            problem.logits[row * 19..][..19].fill(f32::NAN);
        }
        Case::new(problem, true)
    };
    let patterns: [&dyn Fn(usize) -> bool; 5] = [
        &|_| false,
        &|row| row * 7 % 10 < 7,
        &|row| !(4..30).contains(&row),
        &|row| row != 17,
        &|_| true,
    ];
    for objective in ["sft", "dft-sequence"] {
        for (index, ignored) in patterns.into_iter().enumerate() {
            let case = of(40, ignored, objective);
            let expected = composed(&case);
            for chunk in [1, 7, 40] {
                let actual = run::<f32, f32, f32>(&case, chunk, Plain);
                let name = format!("{objective} pattern {index} chunk {chunk}");
                assert_eq!(bits(&actual.outputs), bits(&expected.outputs), "{name}");
                assert_outcome(&name, &actual, &expected, 1e-6);
                for row in (0..40).filter(|&row| ignored(row)) {
                    let dh = &actual.dh[row * case.d..][..case.d];
                    assert!(dh.iter().all(|dh| dh.to_bits() == 0), "{name}: dH of an ignored row");
                }
            }
        }
        let mut case = of(4, &|_| true, objective);
        case.problem.rows = 0;
        (case.problem.targets, case.h) = (Vec::new(), Vec::new());
        let empty = || Some(Vec::new());
        (case.problem.ref_log_probs, case.problem.old_log_probs) = (empty(), empty());
        (case.problem.advantages, case.problem.groups) = (empty(), Some(Vec::new()));
        case.problem.cu_seqlens = Some(vec![0; 5]);
        let actual = run::<f32, f32, f32>(&case, 1, Plain);
        assert_eq!((actual.report.tokens, actual.report.loss), (0, 0.0));
        assert!(actual.dw.iter().all(|&dw| dw == f64::from(START)));
    }
}

fn types<T: Scalar, W: Scalar, G: Scalar>(relative: f64) {
    for objective in ["dft", "gspo"] {
        for case in cases(Builtin::from_name(objective).unwrap()) {
            let case = case.rounded::<T, W>();
            let expected = oracle(&case);
            for chunk in [1, 5, 13] {
                let actual = run::<T, W, G>(&case, chunk, DefaultGemm);
                assert_outcome(&case.problem.name, &actual, &expected, relative);
            }
        }
    }
}

#[test]
fn every_type_agrees_with_the_oracle_on_the_rounded_operands() {
    types::<f32, f32, f32>(1e-4);
    types::<bf16, bf16, f32>(1e-4);
    types::<f16, f16, f32>(1e-4);
    types::<f32, bf16, f32>(1e-4);
    types::<bf16, f32, f32>(1e-4);
    types::<bf16, bf16, bf16>(5e-3);
    types::<f16, f32, f16>(1e-3);
}

/// More classes than a panel of 16-bit weights has, in a layer that is as wide.
#[test]
fn panels_of_weights() {
    let (rows, vocab, d) = (3, 50, 1 << 16);
    let w = store::<bf16>(&common::numbers(vocab * d, 1));
    let h = store::<f32>(&common::numbers(rows * d, 2));
    let wide: Vec<f32> = w.iter().map(|w| w.to_f32()).collect();
    let batch = surprisal::Batch::new(&[3, 49, 16]);
    let (mut dh, mut dh_wide) = (vec![0.0_f32; rows * d], vec![0.0_f32; rows * d]);
    let hidden = Matrix::new(&h, rows, d).unwrap();
    let loss = Loss::new(surprisal::objective::Sft).logit_scale(0.01);
    let layer = LinearLoss::new(loss, Matrix::new(&w, vocab, d).unwrap());
    let len = layer.memory(rows).len(2);
    assert!(len.scratch < vocab * d, "a panel is a part of the weights");
    let gradients = Gradients::new().hidden(MatrixMut::new(&mut dh, rows, d).unwrap());
    let mut workspace = OwnedWorkspace::new(len);
    layer.forward_backward(hidden, &batch, gradients, Outputs::new(), workspace.lend()).unwrap();
    let gradients = Gradients::new().hidden(MatrixMut::new(&mut dh_wide, rows, d).unwrap());
    LinearLoss::new(loss, Matrix::new(&wide, vocab, d).unwrap())
        .forward_backward(hidden, &batch, gradients, Outputs::new(), workspace.lend())
        .unwrap();
    common::assert_near("dH", &common::widen(&dh), &common::widen(&dh_wide), 1e-4);
}

/// Padded, transposed, interleaved; and each gradient for itself.
fn strides<T: Scalar>() {
    let case = Case::new(dressed(Builtin::from_name("dft").unwrap(), 2).swap_remove(1), true);
    let case = case.rounded::<T, T>();
    let (rows, vocab, d) = (case.problem.rows, case.problem.vocab, case.d);
    let (h, w, bias) = (store::<T>(&case.h), store::<T>(&case.w), case.bias.clone().unwrap());
    let expected = run::<T, T, T>(&case, 5, Plain);
    let spread = |values: &[T], cols: usize, (down, across): (usize, usize), size: usize| {
        let mut all = vec![T::from_f32(f32::NAN); size];
        values.iter().enumerate().for_each(|(i, &v)| all[i / cols * down + i % cols * across] = v);
        all
    };
    // Row and column stride of H and dH, and of W and dW.
    for (of_h, of_w) in [
        ((d + 3, 1), (d + 5, 1)),
        ((1, rows), (1, vocab)),
        ((1, rows + 2), (1, vocab + 1)),
        ((2 * d, 2), (3 * d + 1, 3)),
    ] {
        let size_h = (rows - 1) * of_h.0 + (d - 1) * of_h.1 + 1;
        let size_w = (vocab - 1) * of_w.0 + (d - 1) * of_w.1 + 1;
        let (h, w) = (spread(&h, d, of_h, size_h), spread(&w, d, of_w, size_w));
        let hidden = Matrix::strided(&h, rows, d, of_h.0, of_h.1).unwrap();
        let weight = Matrix::strided(&w, vocab, d, of_w.0, of_w.1).unwrap();
        let layer = LinearLoss::with_gemm(case.problem.loss(), weight, Plain).bias(&bias);
        let mut workspace = OwnedWorkspace::new(layer.memory(rows).len(5));
        for asked in 0..8_u32 {
            let has = |bit: u32| asked >> bit & 1 == 1;
            let mut dh = vec![T::from_f32(1536.0); size_h];
            let (mut dw, mut dbias) = (vec![START; size_w], vec![START; vocab]);
            let mut gradients = Gradients::new();
            if has(0) {
                let dh = MatrixMut::strided(&mut dh, rows, d, of_h.0, of_h.1).unwrap();
                gradients = gradients.hidden(dh);
            }
            if has(1) {
                gradients = gradients
                    .weight(MatrixMut::strided(&mut dw, vocab, d, of_w.0, of_w.1).unwrap());
            }
            if has(2) {
                gradients = gradients.bias(&mut dbias);
            }
            let mut outputs = Asked::new(rows);
            layer
                .forward_backward(
                    hidden,
                    &case.problem.batch(),
                    gradients,
                    outputs.ask(),
                    workspace.lend(),
                )
                .unwrap();
            assert_eq!(bits(&outputs), bits(&expected.outputs));
            let at = |i: usize, (down, across): (usize, usize)| i / d * down + i % d * across;
            let dh_of = |i: usize| f64::from(dh[at(i, of_h)].to_f32());
            let dw_of = |i: usize| f64::from(dw[at(i, of_w)]);
            let (all_h, all_w): (Vec<f64>, Vec<f64>) =
                ((0..rows * d).map(dh_of).collect(), (0..vocab * d).map(dw_of).collect());
            let or = |asked, expected: &[f64], untouched: f32| {
                if asked { expected.to_vec() } else { vec![f64::from(untouched); expected.len()] }
            };
            assert_same_bits("dH", &all_h, &or(has(0), &expected.dh, 1536.0));
            assert_same_bits("dW", &all_w, &or(has(1), &expected.dw, START));
            assert_same_bits("dbias", &common::widen(&dbias), &or(has(2), &expected.dbias, START));
            let padding = (0..size_h).filter(|i| (0..rows * d).all(|j| at(j, of_h) != *i));
            assert!(padding.into_iter().all(|i| dh[i].to_f32() == 1536.0), "padding of dH");
        }
    }
}

#[test]
fn strides_and_each_gradient_for_itself() {
    strides::<f32>();
    strides::<bf16>();
}

#[test]
fn forward_is_forward_backward_without_gradients() {
    for objective in ["dft", "eaft", "dpo"] {
        for case in cases(Builtin::from_name(objective).unwrap()) {
            let expected = run::<f32, f32, f32>(&case, 5, DefaultGemm);
            let (rows, vocab, d) = (case.problem.rows, case.problem.vocab, case.d);
            let mut layer =
                LinearLoss::new(case.problem.loss(), Matrix::new(&case.w, vocab, d).unwrap());
            if let Some(bias) = &case.bias {
                layer = layer.bias(bias);
            }
            let mut workspace = OwnedWorkspace::new(layer.memory(rows).len(5));
            let (mut outputs, hidden) = (Asked::new(rows), Matrix::new(&case.h, rows, d).unwrap());
            let batch = case.problem.batch();
            let report = layer.forward(hidden, &batch, outputs.ask(), workspace.lend()).unwrap();
            assert_eq!(report, expected.report);
            assert_eq!(bits(&outputs), bits(&expected.outputs));
        }
    }
}

/// Two shards of the vocabulary, merged between the stages.
#[test]
fn shards_agree_with_the_whole() {
    for objective in ["dft", "talr-auto"] {
        for case in cases(Builtin::from_name(objective).unwrap()) {
            let (rows, vocab, d) = (case.problem.rows, case.problem.vocab, case.d);
            let expected = run::<f32, f32, f32>(&case, 5, Plain);
            let (loss, batch) = (case.problem.loss(), case.problem.batch());
            let hidden = Matrix::new(&case.h, rows, d).unwrap();
            let cut = vocab / 3;
            let shards = [0..cut, cut..vocab].map(|classes| {
                let start = classes.start;
                let weight = Matrix::new(&case.w, vocab, d).unwrap().row_range(classes.clone());
                let layer = LinearLoss::with_gemm(loss, weight, Plain).shard(start, vocab);
                let layer =
                    case.bias.as_ref().map_or(layer, |bias| layer.bias(&bias[classes.clone()]));
                (layer, classes)
            });
            let mut merged = vec![RowStats::EMPTY; rows];
            for (layer, _) in &shards {
                let mut stats = vec![RowStats::EMPTY; rows];
                let mut workspace = OwnedWorkspace::new(layer.memory(rows).len(4));
                let outputs = Outputs::new().stats(&mut stats);
                layer.row_stats(hidden, &batch, outputs, workspace.lend()).unwrap();
                merged.iter_mut().zip(stats).for_each(|(all, part)| *all = all.merge(part));
            }
            let mut terms = vec![surprisal::objective::TokenTerm::default(); rows];
            let mut own = surprisal::OwnedWorkspace::new();
            let report =
                loss.token_terms(&merged, &batch, vocab, &mut terms, own.lend(rows, 0)).unwrap();
            let (mut sum, mut dw, mut dbias) =
                (vec![0.0; rows * d], vec![START; vocab * d], vec![START; vocab]);
            for (layer, classes) in &shards {
                let (mut dh, of_w) = (vec![0.0_f32; rows * d], classes.start * d..classes.end * d);
                let mut workspace = OwnedWorkspace::new(layer.memory(rows).len(4));
                let gradients = Gradients::new()
                    .hidden(MatrixMut::new(&mut dh, rows, d).unwrap())
                    .weight(MatrixMut::new(&mut dw[of_w], classes.len(), d).unwrap())
                    .bias(&mut dbias[classes.clone()]);
                layer
                    .backward(hidden, &batch, (&merged, &terms), gradients, workspace.lend())
                    .unwrap();
                sum.iter_mut().zip(dh).for_each(|(sum, dh)| *sum += f64::from(dh));
            }
            let actual = common::Outcome {
                report,
                dh: sum,
                dw: common::widen(&dw),
                dbias: common::widen(&dbias),
                outputs: Asked::new(0),
            };
            assert_outcome(&case.problem.name, &actual, &expected, 2e-6);
        }
    }
}

/// Ranges of a batch's rows, as threads take them: in place of the whole, and with arrays of their own rows.
#[test]
fn ranges_agree_with_the_whole() {
    let problem = Problem::random(13, 37, 9).reduction(Reduction::MeanTokens);
    let case = Case::new(problem.with_ignored_rows().with_token_weights(), false);
    let (rows, vocab, d) = (case.problem.rows, case.problem.vocab, case.d);
    let expected = run::<f32, f32, f32>(&case, 4, Plain);
    let weight = Matrix::new(&case.w, vocab, d).unwrap();
    let layer = LinearLoss::with_gemm(case.problem.loss(), weight, Plain);
    let denominator = case.problem.loss().denominator(&case.problem.batch(), &mut []).unwrap();
    let mut workspace = OwnedWorkspace::new(layer.memory(rows).len(4));
    let weights = case.problem.token_weights.as_deref().unwrap();
    for alone in [false, true] {
        let mut report = surprisal::LossReport::default();
        let mut dh = vec![0.0_f32; rows * d];
        for (start, end) in [(0, 1), (1, 6), (6, 6), (6, 13)] {
            let batch = if alone {
                surprisal::Batch::new(&case.problem.targets[start..end])
                    .ignore_index(-100)
                    .token_weights(&weights[start..end])
                    .part_of(start..end, rows)
            } else {
                case.problem.batch().row_range(start..end)
            };
            let batch = batch.denominator(denominator);
            let part = MatrixMut::new(&mut dh[start * d..end * d], end - start, d).unwrap();
            let hidden = Matrix::new(&case.h, rows, d).unwrap().row_range(start..end);
            let mut outputs = Asked::new(end - start);
            let gradients = Gradients::new().hidden(part);
            let of_part = layer
                .forward_backward(hidden, &batch, gradients, outputs.ask(), workspace.lend())
                .unwrap();
            report = report.merge(of_part);
            assert_eq!(outputs.floats[0], expected.outputs.floats[0][start..end]);
        }
        assert_same_bits("dH", &common::widen(&dh), &expected.dh);
        assert!((report.loss - expected.report.loss).abs() < 1e-12);
        assert_eq!(report.tokens, expected.report.tokens);
    }
}

/// dH, dW and dbias of a tiny layer against differences of the loss.
#[test]
fn finite_differences() {
    for objective in
        Builtin::all().filter(|o| ["sft", "focal", "power", "cispo", "dpo"].contains(&o.name()))
    {
        let mut case = Case::new(Problem::random(8, 7, 4).objective(objective), true);
        // Detached objectives have another gradient than their value's.
        if objective.name() == "cispo" {
            case.problem.objective = Builtin::from_name("grpo").unwrap();
        }
        assert!(case.problem.objective.check().is_ok());
        let outcome = run::<f32, f32, f32>(&case, 3, DefaultGemm);
        let loss_of = |case: &Case| {
            let (logits, problem) = (case.logits(), &case.problem);
            surprisal::reference::forward(&problem.loss(), &logits, 8, 7, &problem.batch())
                .unwrap()
                .loss
        };
        let step = 1.0 / 1024.0;
        let check = |what: &str, analytic: f64, vary: &dyn Fn(&mut Case, f32)| {
            let (mut above, mut below) = (case.clone(), case.clone());
            vary(&mut above, step);
            vary(&mut below, -step);
            let slope = (loss_of(&above) - loss_of(&below)) / (2.0 * f64::from(step));
            assert!(
                (slope - analytic).abs() < 2e-3 * (1.0 + slope.abs()),
                "{} {what}: {analytic} for {slope}",
                case.problem.name
            );
        };
        for i in 0..case.h.len() {
            check("dH", outcome.dh[i], &|case, step| case.h[i] += step);
        }
        for i in 0..case.w.len() {
            check("dW", outcome.dw[i] - f64::from(START), &|case, step| case.w[i] += step);
        }
        for i in 0..7 {
            let vary = |case: &mut Case, step| case.bias.as_mut().unwrap()[i] += step;
            check("dbias", outcome.dbias[i] - f64::from(START), &vary);
        }
    }
}
