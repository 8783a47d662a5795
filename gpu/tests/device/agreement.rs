//! The device and the CPU: long rows, matrices beyond one binding, objectives of one's own, per-row outputs.

use surprisal::objective::{Dft, GroupPlan, Input, Objective, Over, Real, Sft, Statistic, Token};
use surprisal::{
    Batch, Logits, LogitsMut, Loss, Outputs, OwnedWorkspace, RowStats, Workspace, bf16,
};
use surprisal_gpu::{Dtype, Gradient, HostElement, Matrix, Pipelines};
use surprisal_tests::problem::Problem;
use surprisal_tests::storage::Storage;

use crate::ways::{gpu, submit};

/// What a device may differ from the CPU, relative to the largest entry of a row. It knows ln p to an ULP of its size in f32 and so, where p is
/// a weight, p of a rare token to some 1e-6.
const NEAR: f32 = 8e-6;

/// Gradients of both, by rows that are equal up to `NEAR` and half an ULP of the type.
fn agree<T: HostElement + Storage, O: Objective + Clone>(
    problem: &Problem,
    objective: O,
    ulp: f32,
) {
    agree_on::<T, O>(problem, &problem.batch(), objective, ulp);
}

/// The same with a batch of its own.
fn agree_on<T: HostElement + Storage, O: Objective + Clone>(
    problem: &Problem,
    batch: &Batch<'_>,
    objective: O,
    ulp: f32,
) {
    let (rows, vocab) = (problem.rows, problem.vocab);
    let z: Vec<T> = problem.logits.iter().map(|&z| T::round(z)).collect();
    let loss = Loss::new(objective);
    let mut cpu = vec![0.0_f32; z.len()];
    let logits = Logits::new(&z, rows, vocab).unwrap();
    let out = LogitsMut::new(&mut cpu, rows, vocab).unwrap();
    let mut workspace = OwnedWorkspace::new();
    let workspace = workspace.lend(rows, vocab);
    let expected =
        loss.forward_backward_with(logits, batch, out, Outputs::new(), workspace).unwrap();
    let mut device = vec![T::round(9.0); z.len()];
    let outcome = gpu().forward_backward(&loss, &z, rows, vocab, batch, Some(&mut device)).unwrap();
    let close = |a: f64, b: f64| (a - b).abs() <= f64::from(NEAR) * b.abs().max(1.0);
    let (a, e) = (outcome.report, expected);
    assert!(close(a.loss, e.loss) && close(a.nll_sum, e.nll_sum), "{a:?} {e:?}");
    assert_eq!((a.tokens, a.correct), (e.tokens, e.correct));
    for (row, (device, cpu)) in device.chunks(vocab).zip(cpu.chunks(vocab)).enumerate() {
        let largest = cpu.iter().fold(0.0_f32, |largest, d| largest.max(d.abs()));
        for (column, (a, e)) in device.iter().zip(cpu).enumerate() {
            let bound = NEAR * largest + ulp * e.abs();
            assert!((a.widen() - e).abs() <= bound, "row {row}, column {column}: {a:?} {e}");
        }
    }
}

/// A row of many packets is shared by workgroups.
pub(crate) fn few_long_rows() {
    for vocab in [50_003, 151_936] {
        let problem = Problem::random(2, vocab, 3);
        agree::<f32, _>(&problem, Sft, 0.0);
        agree::<bf16, _>(&problem, Dft, 1.0 / 256.0);
    }
}

/// More bytes than software binds at once (128 MiB), with rows that begin anywhere in a packet.
pub(crate) fn more_than_one_binding() {
    let problem = Problem::random(1100, 32_003, 9).with_ignored_rows();
    agree::<f32, _>(&problem, Dft, 0.0);
}

/// An objective that the library does not have: one definition for both.
pub(crate) fn an_objective_of_ones_own() {
    #[derive(Clone)]
    struct Tempered {
        power: f64,
    }
    impl Objective for Tempered {
        fn loss<R: Real>(&self, t: &Token<R>) -> R {
            -((t.log_p * self.power).exp().stop() * t.log_p)
        }
    }
    agree::<f32, _>(&Problem::random(40, 300, 5), Tempered { power: 0.5 }, 0.0);
}

/// Inputs that the caller names, in the order in which the objective asks for them, not the batch's.
pub(crate) fn inputs_of_ones_own() {
    #[derive(Clone)]
    struct Margin;
    impl Objective for Margin {
        fn loss<R: Real>(&self, t: &Token<R>) -> R {
            let [weight, margin, ..] = t.extra;
            -(weight * (t.log_p - margin).min(R::lit(-0.5)))
        }

        fn inputs(&self) -> &'static [Input] {
            &[Input::Extra("weight"), Input::Extra("margin")]
        }
    }
    let problem = Problem::random(40, 300, 6).with_ignored_rows();
    let margins: Vec<f32> = (0..40).map(|row| (row % 4) as f32 - 3.0).collect();
    let weights: Vec<f32> = (0..40).map(|row| 0.25 * (row % 3) as f32).collect();
    let batch = problem.batch().extra("margin", &margins).extra("weight", &weights);
    agree_on::<f32, _>(&problem, &batch, Margin, 0.0);
    agree_on::<f32, _>(&problem, &batch, AboveMean, 0.0);
}

/// A group objective that asks for inputs of several kinds.
#[derive(Clone)]
struct AboveMean;

impl Objective for AboveMean {
    fn loss<R: Real>(&self, t: &Token<R>) -> R {
        let [weight, ..] = t.extra;
        -((weight - t.shared[0]).exp() * t.log_p)
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::Extra("weight"), Input::RefLogProbs, Input::Extra("margin")]
    }

    fn group_plan(&self) -> Option<GroupPlan> {
        Some(GroupPlan::of([Statistic::Mean.over(Over::Batch)]))
    }

    fn step<R: Real>(&self, _: usize, t: &Token<R>) -> R {
        let [weight, margin, ..] = t.extra;
        weight + margin * 0.5 + t.ref_log_p * 0.25
    }
}

pub(crate) fn outputs_of_every_row() {
    let problem = Problem::random(37, 131, 8).with_ignored_rows();
    let (rows, vocab, batch, loss) = (37, 131, problem.batch(), Loss::new(Dft).with_moments());
    let (mut nll, mut weights, mut argmax) = (vec![0.0; rows], vec![0.0; rows], vec![0; rows]);
    let mut entropy = vec![0.0; rows];
    let outputs = Outputs::new().nll(&mut nll).weights(&mut weights).argmax(&mut argmax);
    let logits = Logits::new(&problem.logits, rows, vocab).unwrap();
    let mut stats = vec![RowStats::EMPTY; rows];
    let outputs = outputs.entropy(&mut entropy).stats(&mut stats);
    loss.forward_with(logits, &batch, outputs, Workspace::none()).unwrap();

    let pipelines = Pipelines::new(gpu().device(), loss, Dtype::F32).unwrap();
    let buffer = gpu().upload(&problem.logits).unwrap();
    let matrix = Matrix::new(&buffer, Dtype::F32, rows, vocab).unwrap();
    let mut call = None;
    submit(|encoder| call = Some(pipelines.forward(encoder, matrix, &batch).unwrap()));
    let results = call.unwrap().read(gpu().device(), gpu().queue()).unwrap();
    assert_eq!(results.argmax(), argmax);
    let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5);
    assert!(close(&results.nll(), &nll));
    assert!(close(&results.weights(), &weights));
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-5;
    for (row, (device, cpu)) in results.row_stats().iter().zip(&stats).enumerate() {
        if batch.target(row).is_none() {
            assert_eq!(device, cpu);
            continue;
        }
        assert!(near(device.entropy(), f64::from(entropy[row])), "row {row}: {device:?} {cpu:?}");
        assert!(near(device.sum_squares(), cpu.sum_squares()), "row {row}: {device:?} {cpu:?}");
        assert_eq!((device.max, device.target_logit), (cpu.max, cpu.target_logit));
        assert!(device.sum_logits.is_nan(), "nobody asked for it");
    }
}

/// Two calls recorded into one encoder do not meet.
pub(crate) fn two_calls_of_one_submission() {
    let (a, b) = (Problem::random(20, 64, 1), Problem::random(20, 64, 2));
    let pipelines = Pipelines::new(gpu().device(), Loss::new(Sft), Dtype::F32).unwrap();
    let buffers = [&a, &b].map(|problem| gpu().upload(&problem.logits).unwrap());
    let (batch_a, batch_b) = (a.batch(), b.batch());
    let mut calls = Vec::new();
    submit(|encoder| {
        for (buffer, batch) in buffers.iter().zip([&batch_a, &batch_b]) {
            let matrix = Matrix::new(buffer, Dtype::F32, 20, 64).unwrap();
            let gradient = Gradient::InPlace;
            calls.push(pipelines.forward_backward(encoder, matrix, batch, gradient).unwrap());
        }
    });
    for (call, problem) in calls.iter().zip([&a, &b]) {
        let results = call.read(gpu().device(), gpu().queue()).unwrap();
        let report = results.report(&pipelines, &problem.batch(), 64).unwrap();
        let z = Logits::new(&problem.logits, 20, 64).unwrap();
        let expected = Loss::new(Sft).forward(z, &Batch::new(&problem.targets)).unwrap();
        assert!((report.loss - expected.loss).abs() < 1e-5, "{report:?} {expected:?}");
    }
}

/// A range of a batch's rows: what is ignored is told by the rows themselves, wherever the range begins.
pub(crate) fn a_range_of_rows() {
    let problem = Problem::random(23, 64, 4).with_ignored_rows();
    let (whole, loss) = (problem.batch(), Loss::new(Dft));
    let whole = whole.denominator(loss.denominator(&whole, &mut []).unwrap());
    let pipelines = Pipelines::new(gpu().device(), loss, Dtype::F32).unwrap();
    for range in [0..23, 5..23, 7..12] {
        let (batch, z) = (whole.row_range(range.clone()), &problem.logits);
        let z = &z[range.start * 64..range.end * 64];
        let expected = loss.forward(Logits::new(z, range.len(), 64).unwrap(), &batch).unwrap();
        let buffer = gpu().upload(z).unwrap();
        let matrix = Matrix::new(&buffer, Dtype::F32, range.len(), 64).unwrap();
        let mut call = None;
        submit(|encoder| call = Some(pipelines.forward(encoder, matrix, &batch).unwrap()));
        let results = call.unwrap().read(gpu().device(), gpu().queue()).unwrap();
        let report = results.report(&pipelines, &batch, 64).unwrap();
        assert!((report.loss - expected.loss).abs() < 1e-6, "{report:?} {expected:?}");
        assert!((report.nll_sum - expected.nll_sum).abs() < 1e-4, "{report:?} {expected:?}");
        assert_eq!((report.tokens, report.correct), (expected.tokens, expected.correct));
    }
}
