//! The layer on the device against the oracle over f64 products, and against the CPU's.

use surprisal::objective::{Builtin, Dft, TokenTerm};
use surprisal::{Loss, OwnedWorkspace, RowStats, bf16, f16};
use surprisal_gpu::{Gradients, HostElement, LinearLoss, LinearPipelines, Scratch};
use surprisal_linear::DefaultGemm;
use surprisal_tests::cases::{dressed, objectives};
use surprisal_tests::compare::assert_same_bits;
use surprisal_tests::problem::Problem;

use crate::common::{Layout, Placed, gpu, submit};
use crate::layers::{self, Case, START, assert_near, assert_outcome, oracle};
use crate::ways::{Number, Way, pipelines, read, run, run_with_results};

fn named(objective: &str) -> Builtin {
    Builtin::from_name(objective).unwrap()
}

fn cases(objective: Builtin) -> impl Iterator<Item = Case> {
    let bias = |(index, problem)| Case::new(problem, index % 2 == 1);
    dressed(objective, 11).into_iter().enumerate().map(bias)
}

pub(crate) fn every_objective() {
    for case in objectives().into_iter().flat_map(cases) {
        let expected = oracle(&case);
        let actual = run::<f32, f32, f32>(&case, Way::in_chunks_of(5));
        assert_outcome(&case.problem.name, &actual, &expected, 1e-4);
    }
}

/// Rows, width and classes that no tile divides, with and without a bias.
pub(crate) fn chunks_of_any_size() {
    for (objective, bias) in [("dft", true), ("sft", false), ("gspo", true)] {
        let problem = Problem::random(150, 201, 3).objective(named(objective));
        let case = Case::new(problem.with_ignored_rows().with_token_weights(), bias);
        let (expected, on_cpu) =
            (oracle(&case), layers::run::<f32, f32, f32>(&case, 64, DefaultGemm));
        for chunk in [7, 63, 64, 65, 100, 1000] {
            let name = format!("{objective} in chunks of {chunk}");
            let actual = run::<f32, f32, f32>(&case, Way::in_chunks_of(chunk));
            assert_outcome(&name, &actual, &expected, 3e-5);
            assert_outcome(&name, &actual, &on_cpu, 3e-5);
        }
    }
}

fn types<T: Number, W: Number, G: Number>(relative: f64) {
    for objective in ["dft", "gspo"] {
        for case in cases(named(objective)) {
            let case = case.rounded::<T, W>();
            let expected = oracle(&case);
            for chunk in [1, 5, 13] {
                let actual = run::<T, W, G>(&case, Way::in_chunks_of(chunk));
                let name = format!("{} {:?} {:?}", case.problem.name, T::DTYPE, W::DTYPE);
                assert_outcome(&name, &actual, &expected, relative);
            }
        }
    }
}

pub(crate) fn every_type() {
    types::<f32, bf16, f32>(1e-4);
    types::<bf16, f32, f32>(1e-4);
    types::<f16, f16, f32>(1e-4);
    types::<bf16, bf16, bf16>(4.1e-3);
    types::<f16, bf16, f16>(6e-4);
}

/// In the middle, at the ends, most, all; and no rows at all.
pub(crate) fn ignored_rows() {
    let of = |rows: usize, ignored: &dyn Fn(usize) -> bool, objective: &str| {
        let mut problem = Problem::random(rows, 19, 5).objective(named(objective));
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
            let expected = oracle(&case);
            for chunk in [1, 7, 40] {
                let name = format!("{objective} pattern {index} chunk {chunk}");
                for actual in [
                    run::<f32, f32, f32>(&case, Way::in_chunks_of(chunk)),
                    run::<f32, f32, bf16>(&case, Way::in_chunks_of(chunk)),
                ] {
                    assert_outcome(&name, &actual, &expected, 5e-3);
                    for row in (0..40).filter(|&row| ignored(row)) {
                        let dh = &actual.dh[row * case.d..][..case.d];
                        assert!(dh.iter().all(|dh| dh.to_bits() == 0), "{name}: row {row}");
                    }
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
        let actual = run::<f32, f32, f32>(&case, Way::in_chunks_of(1));
        assert_eq!((actual.report.tokens, actual.report.loss), (0, 0.0));
        assert!(actual.dw.iter().all(|&dw| dw == f64::from(START)));
    }
}

/// In the rows' own places, ignored ones included; the forward pass by itself gives the same.
pub(crate) fn outputs_of_every_row() {
    for case in cases(named("eaft")) {
        let (rows, vocab, d) = (case.problem.rows, case.problem.vocab, case.d);
        let (_, results) = run_with_results::<f32, f32, f32>(&case, Way::in_chunks_of(5));
        let expected = layers::run::<f32, f32, f32>(&case, 5, DefaultGemm).outputs;
        let [nll, _, _, entropy, weights] = &expected.floats;
        let near = |a: f32, b: f32| (a - b).abs() <= 2e-5 * b.abs().max(1.0);
        let unless_ignored = |row: usize, own: f64| if case.is_ignored(row) { 0.0 } else { own };
        let pipelines = pipelines(&case);
        let h = Placed::new::<f32>(&case.h, rows, d, (0, d), Layout::PLAIN);
        let w = Placed::new::<f32>(&case.w, vocab, d, (0, d), Layout::PLAIN);
        let mut layer = LinearLoss::new(&pipelines, w.matrix(f32::DTYPE));
        let bias = case.bias.as_ref();
        let bias = bias.map(|bias| Placed::new::<f32>(bias, 1, vocab, (0, vocab), Layout::PLAIN));
        if let Some(bias) = &bias {
            layer = layer.bias(bias.matrix(f32::DTYPE));
        }
        let scratch = Scratch::new(gpu().device(), layer.memory(rows).len(6)).unwrap();
        let mut call = None;
        submit(|encoder| {
            let (hidden, batch) = (h.matrix(f32::DTYPE), case.problem.batch());
            call = Some(layer.forward(encoder, hidden, &batch, &scratch).unwrap());
        });
        for results in [results, read(&call.unwrap())] {
            assert_eq!(results.argmax(), expected.argmax);
            let stats = results.row_stats();
            for row in 0..rows {
                assert!(near(results.nll()[row], nll[row]), "row {row}");
                assert!(near(results.weights()[row], weights[row]), "row {row}");
                assert_eq!(stats[row] == RowStats::EMPTY, case.is_ignored(row), "row {row}");
                let own = unless_ignored(row, stats[row].entropy());
                let entropy = unless_ignored(row, f64::from(entropy[row]));
                assert!((own - entropy).abs() <= 2e-5, "row {row}: {own} {entropy}");
            }
        }
    }
}

/// Matrices that begin anywhere in a packet, with padding that is left alone.
pub(crate) fn each_gradient_for_itself() {
    fn of<T: Number>() {
        let case = Case::new(dressed(named("dft"), 2).swap_remove(1), true);
        let case = case.rounded::<T, T>();
        let (rows, vocab, d) = (case.problem.rows, case.problem.vocab, case.d);
        let expected = run::<T, T, T>(&case, Way::in_chunks_of(5));
        let untouched = |value: f32, len: usize| vec![f64::from(value); len];
        for (offset, padding) in [(0, 0), (1, 2), (3, 5)] {
            for asked in 0..8_u32 {
                let layout = Layout { offset, padding, limit: None };
                let asked = [0, 1, 2].map(|bit| asked >> bit & 1 == 1);
                let actual = run::<T, T, T>(&case, Way { layout, asked, ..Way::in_chunks_of(5) });
                let or = |asked: bool, of: &[f64], value: f32| {
                    if asked { of.to_vec() } else { untouched(value, of.len()) }
                };
                assert_eq!(actual.dh.len(), rows * d);
                assert_eq!(actual.dw.len(), vocab * d);
                if asked[0] {
                    assert_same_bits("dH", &actual.dh, &expected.dh);
                } else {
                    assert!(actual.dh.iter().all(|dh| dh.is_nan()));
                }
                assert_same_bits("dW", &actual.dw, &or(asked[1], &expected.dw, START));
                assert_same_bits("dbias", &actual.dbias, &or(asked[2], &expected.dbias, START));
            }
        }
    }
    of::<f32>();
    of::<bf16>();
    of::<f16>();
}

/// Where a device binds little: every matrix in parts, also those of the products.
pub(crate) fn small_bindings() {
    for objective in ["dft", "gspo"] {
        let problem = Problem::random(40, 151, 7).objective(named(objective));
        let case = Case::new(problem.with_ignored_rows(), true).rounded::<bf16, f16>();
        let expected = oracle(&case);
        for limit in [1500, 6000] {
            for chunk in [9, 40] {
                let layout = Layout { offset: 3, padding: 1, limit: Some(limit) };
                let way = Way { layout, ..Way::in_chunks_of(chunk) };
                let name = format!("{objective}, {limit} bytes, chunks of {chunk}");
                assert_outcome(&name, &run::<bf16, f16, f32>(&case, way), &expected, 1e-4);
            }
        }
    }
}

/// Two shards of the vocabulary, merged between the stages.
pub(crate) fn shards() {
    for objective in ["dft", "talr-auto"] {
        for case in cases(named(objective)) {
            let (rows, vocab, d) = (case.problem.rows, case.problem.vocab, case.d);
            let expected = oracle(&case);
            let (loss, batch, cut) = (case.problem.loss(), case.problem.batch(), vocab / 3);
            let pipelines = pipelines(&case);
            let plain = Layout::PLAIN;
            let h = Placed::new::<f32>(&case.h, rows, d, (0, d), plain);
            let no_bias = vec![0.0; vocab];
            let bias = case.bias.as_deref().unwrap_or(&no_bias);
            let parts = [(0, cut), (cut, vocab)].map(|(start, end)| {
                let classes = end - start;
                let w = &case.w[start * d..end * d];
                let w = Placed::new::<f32>(w, classes, d, (0, d), plain);
                let bias = Placed::new::<f32>(bias, 1, vocab, (start, end), plain);
                (w, bias, start)
            });
            let layers = parts.each_ref().map(|(w, bias, start)| {
                let layer = LinearLoss::new(&pipelines, w.matrix(f32::DTYPE));
                layer.bias(bias.matrix(f32::DTYPE)).shard(*start, vocab)
            });
            let scratch = Scratch::new(gpu().device(), layers[1].memory(rows).len(4)).unwrap();
            let hidden = h.matrix(f32::DTYPE);
            let mut merged = vec![RowStats::EMPTY; rows];
            for layer in &layers {
                let mut call = None;
                submit(|encoder| {
                    call = Some(layer.row_stats(encoder, hidden, &batch, &scratch).unwrap());
                });
                let stats = read(&call.unwrap()).row_stats();
                merged.iter_mut().zip(stats).for_each(|(all, part)| *all = all.merge(part));
            }
            let mut terms = vec![TokenTerm::default(); rows];
            let mut own = OwnedWorkspace::new();
            loss.token_terms(&merged, &batch, vocab, &mut terms, own.lend(rows, 0)).unwrap();
            let (mut dh, mut dw) = (vec![0.0; rows * d], Vec::new());
            for (layer, (w, ..)) in layers.iter().zip(&parts) {
                let part = Placed::new::<f32>(&vec![f32::NAN; rows * d], rows, d, (0, d), plain);
                let rows_of_w = w.values::<f32>().len() / d;
                let start = vec![START; rows_of_w * d];
                let of_w = Placed::new::<f32>(&start, rows_of_w, d, (0, d), plain);
                let gradients = Gradients::new().hidden(part.matrix(f32::DTYPE));
                let gradients = gradients.weight(of_w.matrix(f32::DTYPE));
                submit(|encoder| {
                    let known = (&*merged, &*terms);
                    layer.backward(encoder, hidden, &batch, known, gradients, &scratch).unwrap();
                });
                dh.iter_mut().zip(part.values::<f32>()).for_each(|(sum, part)| *sum += part);
                dw.extend(of_w.values::<f32>());
            }
            let name = &case.problem.name;
            assert_near(&format!("{name} dH"), &dh, &expected.dh, 1e-4);
            assert_near(&format!("{name} dW"), &dw, &expected.dw, 1e-4);
        }
    }
}

pub(crate) fn a_range_of_rows() {
    let problem = Problem::random(23, 64, 4).with_ignored_rows().objective(Dft.into());
    let case = Case::new(problem, false);
    let (vocab, d) = (case.problem.vocab, case.d);
    let loss = case.problem.loss();
    let whole = case.problem.batch();
    let whole = whole.denominator(loss.denominator(&whole, &mut []).unwrap());
    let expected = oracle(&case);
    let pipelines = pipelines(&case);
    let w = Placed::new::<f32>(&case.w, vocab, d, (0, d), Layout::PLAIN);
    let layer = LinearLoss::new(&pipelines, w.matrix(f32::DTYPE));
    // The caller's own buffers, with room for 4 rows.
    let len = layer.memory(23).len(4);
    let (logits, hidden) = (gpu().buffer(len.logits).unwrap(), gpu().buffer(len.hidden).unwrap());
    let scratch = Scratch::lent(&logits, &hidden);
    let mut all = Vec::new();
    for range in [0..5, 5..6, 6..6, 6..23] {
        let rows = range.len();
        let h = &case.h[range.start * d..range.end * d];
        let h = Placed::new::<f32>(h, rows, d, (0, d), Layout::PLAIN);
        let dh = Placed::new::<f32>(&vec![1.0; rows * d], rows, d, (0, d), Layout::PLAIN);
        let gradients = Gradients::new().hidden(dh.matrix(f32::DTYPE));
        submit(|encoder| {
            let (hidden, batch) = (h.matrix(f32::DTYPE), whole.row_range(range));
            layer.forward_backward(encoder, hidden, &batch, gradients, &scratch).unwrap();
        });
        all.extend(dh.values::<f32>());
    }
    assert_near("dH", &all, &expected.dh, 1e-4);
}

/// Rows without a gradient by their terms alone are dropped like ignored ones: NaN in their hidden states reaches nothing.
pub(crate) fn rows_that_the_terms_drop() {
    let case = Case::new(Problem::random(9, 21, 6), false);
    let (rows, vocab, d) = (9, 21, case.d);
    let pipelines = LinearPipelines::new(gpu().device(), Loss::new(Dft)).unwrap();
    let mut h = case.h.clone();
    let w = Placed::new::<f32>(&case.w, vocab, d, (0, d), Layout::PLAIN);
    let layer = LinearLoss::new(&pipelines, w.matrix(f32::DTYPE));
    let scratch = Scratch::new(gpu().device(), layer.memory(rows).len(4)).unwrap();
    let batch = case.problem.batch();
    let stats = |h: &[f32]| {
        let h = Placed::new::<f32>(h, rows, d, (0, d), Layout::PLAIN);
        let mut call = None;
        submit(|encoder| {
            let hidden = h.matrix(f32::DTYPE);
            call = Some(layer.row_stats(encoder, hidden, &batch, &scratch).unwrap());
        });
        let results = read(&call.unwrap());
        (results.row_stats(), results.terms())
    };
    let (stats, mut terms) = stats(&h);
    for row in [2, 3, 8] {
        terms[row] = TokenTerm::default();
        h[row * d..][..d].fill(f32::NAN);
    }
    let h = Placed::new::<f32>(&h, rows, d, (0, d), Layout::PLAIN);
    let dh = Placed::new::<f32>(&vec![1.0; rows * d], rows, d, (0, d), Layout::PLAIN);
    let dw = Placed::new::<f32>(&vec![START; vocab * d], vocab, d, (0, d), Layout::PLAIN);
    let gradients = Gradients::new().hidden(dh.matrix(f32::DTYPE)).weight(dw.matrix(f32::DTYPE));
    submit(|encoder| {
        let (hidden, known) = (h.matrix(f32::DTYPE), (&*stats, &*terms));
        layer.backward(encoder, hidden, &batch, known, gradients, &scratch).unwrap();
    });
    for (row, dh) in dh.values::<f32>().chunks(d).enumerate() {
        let is_dropped = [2, 3, 8].contains(&row);
        assert_eq!(dh.iter().all(|dh| dh.to_bits() == 0), is_dropped, "row {row}");
    }
    assert!(dw.values::<f32>().iter().all(|dw| dw.is_finite()));
}

/// A hidden state that is NaN costs its own row, the loss and the gradients that sum over rows; not the other rows.
pub(crate) fn a_row_without_a_softmax() {
    let mut case = Case::new(Problem::random(9, 21, 6).with_ignored_rows(), false);
    let d = case.d;
    case.h[4 * d] = f32::NAN;
    let actual = run::<f32, f32, f32>(&case, Way::in_chunks_of(2));
    let on_cpu = layers::run::<f32, f32, f32>(&case, 2, DefaultGemm);
    assert_eq!((actual.report.invalid_row, on_cpu.report.invalid_row), (Some(4), Some(4)));
    assert!(actual.report.loss.is_nan());
    for (row, (dh, on_cpu)) in actual.dh.chunks(d).zip(on_cpu.dh.chunks(d)).enumerate() {
        if row == 4 {
            assert!(dh.iter().all(|dh| dh.is_nan()));
        } else {
            assert_near(&format!("dH of row {row}"), dh, on_cpu, 1e-4);
        }
    }
    assert!(actual.dw.iter().all(|dw| dw.is_nan()));
}
