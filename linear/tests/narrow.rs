//! dW in 16 bits, and threads that behave oddly.

mod common;

use std::collections::BTreeSet;

use common::{Plain, START, numbers, store, widen};
use surprisal::objective::Dft;
use surprisal::{Batch, Loss, LossReport, Outputs, bf16, f16};
use surprisal_linear::{
    Error, Gemm, Gradients, LinearLoss, Matrix, MatrixMut, OwnedWorkspace, Scalar,
};
use surprisal_tests::compare::assert_same_bits;

/// Sums in f32 that are rounded once a chunk, by way of panels, whatever the strides.
fn narrow<W: Scalar, G: Scalar>(rows: usize, d: usize, vocab: usize, strides: (usize, usize)) {
    let h = numbers(rows * d, 1);
    let w = store::<W>(&numbers(vocab * d, 2));
    let targets: Vec<i64> = (0..rows).map(|row| (row * 7 % vocab) as i64).collect();
    let batch = Batch::new(&targets);
    let hidden = Matrix::new(&h, rows, d).unwrap();
    let weight = Matrix::new(&w, vocab, d).unwrap();
    let loss = Loss::new(Dft).logit_scale(0.05);
    let layer = LinearLoss::with_gemm(loss, weight, Plain);
    let mut workspace = OwnedWorkspace::new(layer.memory(rows).len(rows));
    let mut add = |gradients: Gradients<'_>| {
        layer
            .forward_backward(hidden, &batch, gradients, Outputs::new(), workspace.lend())
            .unwrap();
    };
    let mut wide = vec![START; vocab * d];
    add(Gradients::new().weight(MatrixMut::new(&mut wide, vocab, d).unwrap()));
    let len = (vocab - 1) * strides.0 + (d - 1) * strides.1 + 1;
    let untouched = G::from_f32(-8.0);
    let mut dw = vec![untouched; len];
    let (mut places, mut expected) = (BTreeSet::new(), Vec::new());
    for (class, col) in (0..vocab).flat_map(|class| (0..d).map(move |col| (class, col))) {
        let place = class * strides.0 + col * strides.1;
        dw[place] = G::from_f32(START);
        places.insert(place);
        expected.push(G::from_f32(wide[class * d + col]).to_f32());
    }
    let view = MatrixMut::strided(&mut dw, vocab, d, strides.0, strides.1).unwrap();
    add(Gradients::new().weight(view));
    let dw_view = Matrix::strided(&dw, vocab, d, strides.0, strides.1).unwrap();
    let actual: Vec<f32> =
        (0..vocab * d).map(|i| dw_view.get(i / d, i % d).unwrap().to_f32()).collect();
    assert_same_bits("dW", &widen(&actual), &widen(&expected));
    let between = (0..len).filter(|place| !places.contains(place));
    assert!(between.into_iter().all(|place| dw[place].to_f32() == untouched.to_f32()));
}

#[test]
fn weight_gradients_of_16_bits_are_rounded_once() {
    narrow::<bf16, bf16>(5, 7, 11, (7, 1));
    narrow::<f16, f16>(5, 7, 11, (9, 1));
    narrow::<bf16, f16>(5, 7, 11, (1, 11));
    narrow::<f16, bf16>(5, 7, 11, (30, 3));
    // Of several panels, the last one shorter.
    narrow::<bf16, bf16>(2, 1 << 16, 18, (1 << 16, 1));
}

#[test]
fn weight_gradients_of_16_bits_want_weights_of_16_bits() {
    let (w, mut dw) = ([0.5_f32; 6], [bf16::from_f32(1.0); 6]);
    let layer = LinearLoss::new(Loss::new(Dft), Matrix::new(&w, 3, 2).unwrap());
    let gradients = Gradients::new().weight(MatrixMut::new(&mut dw, 3, 2).unwrap());
    let mut workspace = OwnedWorkspace::new(layer.memory(2).len(2));
    let hidden = Matrix::new(&w[..4], 2, 2).unwrap();
    let batch = Batch::new(&[0, 1]);
    let error = layer
        .forward_backward(hidden, &batch, gradients, Outputs::new(), workspace.lend())
        .unwrap_err();
    assert_eq!(error, Error::NarrowWeightGradient);
    assert_eq!(dw, [bf16::from_f32(1.0); 6]);
}

/// The plain product, with what a caller's `parallel` may do to tasks.
struct Odd<F>(F);

impl<F: Fn(usize, &(dyn Fn(usize) + Sync)) + Sync> Gemm for Odd<F> {
    fn product(&self, a: Matrix<'_, f32>, b: Matrix<'_, f32>, beta: f32, c: MatrixMut<'_, f32>) {
        Plain.product(a, b, beta, c);
    }

    fn parallel(&self, tasks: usize, task: &(dyn Fn(usize) + Sync)) {
        (self.0)(tasks, task);
    }
}

/// Report, dH and dW of a call whose chunks have several tasks.
fn with_threads(gemm: impl Gemm) -> (LossReport, Vec<f32>, Vec<f32>) {
    let (rows, d, vocab) = (150, 3, 2000);
    let h = store::<bf16>(&numbers(rows * d, 3));
    let w = store::<bf16>(&numbers(vocab * d, 4));
    let targets: Vec<i64> =
        (0..rows).map(|row| if row % 4 == 1 { -100 } else { row as i64 }).collect();
    let batch = Batch::new(&targets).ignore_index(-100);
    let weight = Matrix::new(&w, vocab, d).unwrap();
    let layer = LinearLoss::with_gemm(Loss::new(Dft), weight, gemm);
    let (mut dh, mut dw) = (vec![0.0; rows * d], vec![0.0; vocab * d]);
    let gradients = Gradients::new()
        .hidden(MatrixMut::new(&mut dh, rows, d).unwrap())
        .weight(MatrixMut::new(&mut dw, vocab, d).unwrap());
    let hidden = Matrix::new(&h, rows, d).unwrap();
    let mut workspace = OwnedWorkspace::new(layer.memory(rows).len(100));
    let report = layer
        .forward_backward(hidden, &batch, gradients, Outputs::new(), workspace.lend())
        .unwrap();
    (report, dh, dw)
}

#[test]
fn every_task_is_done_once_whatever_the_threads_do() {
    let expected = with_threads(Plain);
    let check = |name: &str, (report, dh, dw): (LossReport, Vec<f32>, Vec<f32>)| {
        assert_eq!(report, expected.0, "{name}");
        assert_same_bits(&format!("{name} dH"), &widen(&dh), &widen(&expected.1));
        assert_same_bits(&format!("{name} dW"), &widen(&dw), &widen(&expected.2));
    };
    let called = std::sync::atomic::AtomicUsize::new(0);
    check(
        "in reverse",
        with_threads(Odd(|tasks: usize, task: &(dyn Fn(usize) + Sync)| {
            called.fetch_add(tasks, std::sync::atomic::Ordering::Relaxed);
            (0..tasks).rev().for_each(task);
        })),
    );
    assert!(called.into_inner() > 4, "there was something to share");
    check("none", with_threads(Odd(|_, _: &(dyn Fn(usize) + Sync)| ())));
    check(
        "twice, at the same time, and past the end",
        with_threads(Odd(|tasks: usize, task: &(dyn Fn(usize) + Sync)| {
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| (0..tasks + 2).for_each(task));
                }
            });
        })),
    );
}
