//! On the default wgpu device, in CI lavapipe, against the oracle and the CPU.

#[path = "support/gpu.rs"]
mod gpu;
mod support;

use burn::tensor::{Bool, DType, Device, Int, Tensor};
use gpu::{batch, device, ids, setup};
use support::{Inputs, ROWS, VOCAB, assert_near, data, numbers, targets};
use surprisal::objective::{Builtin, Dft, DftSequence, Input, Objective, Real, Sft, Token};

use surprisal::{Argument, Batch, Loss, reference};
use surprisal_burn::Error;
use surprisal_burn::wgpu::{DeviceLoss, TensorBatch};

fn variable<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    Tensor::from_data(data(shape, seed), &device()).require_grad()
}

/// The same on the device, in integers of a type as far as it has that.
fn on_device(inputs: &Inputs, dtype: DType) -> TensorBatch {
    let dtype = if device().supports_dtype(dtype) { dtype } else { DType::I32 };
    let floats = |of: &[f32]| Tensor::<1>::from_data(of, &device());
    let groups: Vec<i64> = inputs.groups.iter().map(|&id| id.into()).collect();
    let pairs = inputs.pairs.iter().flat_map(|pair| [pair.chosen as i64, pair.rejected as i64]);
    let pairs = ids(&pairs.collect::<Vec<_>>()).reshape([inputs.pairs.len(), 2]);
    TensorBatch::new(ids(&inputs.targets).cast(dtype).reshape([2, ROWS / 2]))
        .ignore_index(-100)
        .sequences(ids(&inputs.offsets).cast(dtype))
        .token_weights(floats(&inputs.token_weights))
        .ref_log_probs(floats(&inputs.ref_log_probs))
        .old_log_probs(floats(&inputs.old_log_probs))
        .advantages(floats(&inputs.advantages))
        .groups(ids(&groups).cast(dtype))
        .pairs(pairs.cast(dtype))
        .keep(Tensor::<1, Bool>::from_data(&inputs.keep[..], &device()))
}

#[test]
fn every_objective_is_the_oracles_in_every_type() {
    let inputs = Inputs::new();
    let batch = inputs.batch();
    let types = [
        (DType::F32, 1e-5, on_device(&inputs, DType::I32)),
        (DType::F16, 1e-3, on_device(&inputs, DType::I64)),
        (DType::BF16, 4e-3, on_device(&inputs, DType::U32)),
    ];
    for (dtype, within, on_device) in types {
        if !device().supports_dtype(dtype) {
            assert_ne!(dtype, DType::F32);
            println!("burn has no {dtype:?} on this device");
            continue;
        }
        for name in Builtin::NAMES {
            let of = Loss::new(Builtin::from_name(name).unwrap());
            let variable = variable([ROWS, VOCAB], 5).inner().cast(dtype).autodiff().require_grad();
            let z = numbers(variable.clone());
            let mut expected = vec![0.0; z.len()];
            let oracle = reference::forward_backward(&of, &z, ROWS, VOCAB, &batch, &mut expected);
            let oracle = oracle.unwrap_or_else(|error| panic!("{name}: {error}"));
            let of = DeviceLoss::new(setup(), of, dtype).unwrap();
            // A result that nobody else holds, and one that is kept: the gradient goes elsewhere, in the same pool.
            let (tensor, report) = of.loss(variable.clone().add_scalar(0.0), &on_device).unwrap();
            let loss = numbers(tensor.clone())[0];
            let gradient = variable.grad(&tensor.backward()).unwrap();
            assert_eq!(gradient.dtype(), dtype);
            let (tensor, again) = of.loss(variable.clone(), &on_device).unwrap();
            let same = numbers(variable.grad(&tensor.backward()).unwrap());
            let report = report.read().unwrap();
            assert!((report.loss - oracle.loss).abs() < 1e-5 * (1.0 + oracle.loss.abs()), "{name}");
            assert!((loss - report.loss).abs() <= 1e-6 * (1.0 + report.loss.abs()), "{name}");
            assert_eq!((report.tokens, report.correct), (oracle.tokens, oracle.correct), "{name}");
            assert_eq!(report.tau.is_some(), oracle.tau.is_some(), "{name}");
            assert_near(&numbers(gradient.clone()), &expected, within);
            assert_eq!(report, again.read().unwrap(), "{name}");
            assert_eq!(same, numbers(gradient), "{name}");
            assert_eq!(numbers(variable.clone()), z, "{name}");
            // Nothing to differentiate.
            let (tensor, alone) = of.loss(variable.inner(), &on_device).unwrap();
            assert!((alone.read().unwrap().loss - report.loss).abs() < 1e-6 * (1.0 + loss.abs()));
            assert!(!tensor.is_tracked(), "{name}");
        }
    }
}

/// Gradients with respect to what a function makes logits of, by the CPU and by the device.
fn check<const D: usize, const E: usize>(
    shape: [usize; D],
    logits: impl Fn(Tensor<D>) -> Tensor<E>,
    scaled: impl Fn(Tensor<1>) -> Tensor<1>,
) {
    let targets = targets();
    let host = Batch::new(&targets).ignore_index(-100);
    let of = DeviceLoss::new(setup(), Loss::new(Sft), DType::F32).unwrap();
    let gradient = |device: &Device, loss: &dyn Fn(Tensor<E>) -> Tensor<1>| {
        let variable = Tensor::<D>::from_data(data(shape, 3), device).require_grad();
        let loss = scaled(loss(logits(variable.clone())));
        numbers(variable.grad(&loss.backward()).unwrap())
    };
    let cpu = Device::flex().autodiff();
    let expected = gradient(&cpu, &|z| surprisal_burn::loss(&Loss::new(Sft), z, &host).unwrap().0);
    let batch = batch(&targets);
    assert_near(&gradient(&device(), &|z| of.loss(z, &batch).unwrap().0), &expected, 1e-5);
    let kept = gradient(&device(), &|z| {
        let kept = z.clone();
        let loss = of.loss(z, &batch).unwrap().0;
        assert!(numbers(kept.sum())[0].is_finite());
        loss
    });
    assert_near(&kept, &expected, 1e-5);
}

#[test]
fn views_and_factors() {
    check([ROWS, VOCAB], |z| z, |loss| loss);
    check([ROWS, VOCAB], |z| z.mul_scalar(2.0), |loss| loss.mul_scalar(0.5).add_scalar(3.0));
    // Padded rows, the shift of a batch, its transpose; a loss that is used twice, and one that is not used.
    check([ROWS, VOCAB + 4], |z| z.slice([0..ROWS, 2..VOCAB + 2]), |loss| loss.mul_scalar(-3.0));
    check([3, 5, VOCAB], |z| z.slice([0..3, 0..4]), |loss| loss.clone().add(loss));
    check([VOCAB, ROWS], |z| z.transpose(), |loss| loss.mul_scalar(0.0));
}

#[test]
fn layers() {
    // What follows the gradient reads it.
    let weight = Tensor::<2>::from_data(data([6, VOCAB], 2), &Device::flex());
    let logits = move |hidden: Tensor<2>| {
        let weight = Tensor::<2>::from_data(weight.to_data(), &hidden.device());
        hidden.matmul(weight)
    };
    check([ROWS, 6], logits, |loss| loss.mul_scalar(0.5));
}

#[test]
fn tensors_of_other_threads() {
    let targets = targets();
    let host = Batch::new(&targets).ignore_index(-100);
    let of = DeviceLoss::new(setup(), Loss::new(Dft), DType::F32).unwrap();
    for seed in 0..20 {
        // Not read before the loss is queued behind them.
        let make = move || {
            let z = Tensor::<2>::from_data(data([ROWS, VOCAB], seed), &device());
            z.mul_scalar(2.0).add_scalar(1.0)
        };
        let logits = std::thread::spawn(make).join().unwrap();
        let ids = std::thread::spawn(|| ids(&support::targets()).add_scalar(1).sub_scalar(1));
        let batch = TensorBatch::new(ids.join().unwrap()).ignore_index(-100);
        let (_, report) = of.loss(logits, &batch).unwrap();
        let logits = Tensor::<2>::from_data(data([ROWS, VOCAB], seed), &Device::flex());
        let logits = logits.mul_scalar(2.0).add_scalar(1.0);
        let (_, expected) = surprisal_burn::loss(&Loss::new(Dft), logits, &host).unwrap();
        let report = report.read().unwrap();
        assert!((report.loss - expected.loss).abs() < 1e-5 * expected.loss, "{seed}");
    }
}

#[test]
fn threads_share_a_loss() {
    let of = DeviceLoss::new(setup(), Loss::new(Sft), DType::F32).unwrap();
    let run = |seed: u64| {
        let rows = 5 + seed as usize;
        let targets: Vec<i64> = (0..rows as i64).collect();
        let (batch, z) = (batch(&targets), data([rows, VOCAB], seed));
        let on_cpu = Tensor::<2>::from_data(z.clone(), &Device::flex());
        let host = Batch::new(&targets);
        let expected = surprisal_burn::loss(&Loss::new(Sft), on_cpu, &host).unwrap().1.loss;
        for _ in 0..10 {
            let variable = Tensor::<2>::from_data(z.clone(), &device()).require_grad();
            let (loss, report) = of.loss(variable.clone().mul_scalar(1.0), &batch).unwrap();
            let sums = variable.grad(&loss.clone().backward()).unwrap().sum_dim(1);
            assert!((numbers(loss)[0] - expected).abs() < 1e-5 * expected, "{seed}");
            assert!(numbers(sums).iter().all(|sum| sum.abs() < 1e-6), "{seed}");
            assert!((report.read().unwrap().loss - expected).abs() < 1e-5 * expected, "{seed}");
        }
    };
    let run = &run;
    std::thread::scope(|scope| {
        for seed in 0..4 {
            scope.spawn(move || run(seed));
        }
    });
}

/// −(weight · ln p), weights by their name.
#[derive(Clone)]
struct Named;

impl Objective for Named {
    fn loss<R: Real>(&self, token: &Token<R>) -> R {
        let [weight, ..] = token.extra;
        -(weight * token.log_p)
    }

    fn inputs(&self) -> &'static [Input] {
        &[Input::Extra("difficulty")]
    }
}

#[test]
fn inputs_of_ones_own() {
    let inputs = Inputs::new();
    let host = Batch::new(&inputs.targets).ignore_index(-100);
    let host = host.extra("difficulty", &inputs.advantages);
    let z = data([ROWS, VOCAB], 6);
    let on_cpu = Tensor::<2>::from_data(z.clone(), &Device::flex());
    let (_, expected) = surprisal_burn::loss(&Loss::new(Named), on_cpu, &host).unwrap();
    let of = DeviceLoss::new(setup(), Loss::new(Named), DType::F32).unwrap();
    let logits = || Tensor::<2>::from_data(z.clone(), &device());
    let difficulty = Tensor::<1>::from_data(&inputs.advantages[..], &device());
    // The last one that is given counts.
    let named = batch(&inputs.targets).extra("difficulty", difficulty.clone().mul_scalar(9.0));
    let (_, report) = of.loss(logits(), &named.extra("difficulty", difficulty)).unwrap();
    let report = report.read().unwrap();
    assert!((report.loss - expected.loss).abs() < 1e-5 * (1.0 + expected.loss.abs()));
    let missing = of.loss(logits(), &batch(&inputs.targets)).unwrap_err();
    let argument = Argument::Extra("difficulty");
    assert_eq!(missing, Error::Loss(surprisal::Error::Missing(argument)));
}

#[test]
fn batches_that_are_views_and_of_other_types() {
    let tokens = Tensor::<2, Int>::from_data([[9, 1, 4, 1], [5, 9, 2, 6]], &device());
    let weights = Tensor::<1>::from_data([1.0, 0.5, 0.25], &device());
    let weights = weights.unsqueeze::<2>().expand([2, 3]);
    let of = DeviceLoss::new(setup(), Loss::new(Sft), DType::F32).unwrap();
    let z = data([6, 10], 8);
    let host = Batch::new(&[1, 4, 1, 9, 2, 6]).token_weights(&[1.0, 0.5, 0.25, 1.0, 0.5, 0.25]);
    let logits = Tensor::<2>::from_data(z.clone(), &Device::flex());
    let (_, expected) = surprisal_burn::loss(&Loss::new(Sft), logits, &host).unwrap();
    for dtype in [DType::I32, DType::I64, DType::U32, DType::U8, DType::U64] {
        if !device().supports_dtype(dtype) {
            println!("burn has no {dtype:?} on this device");
            continue;
        }
        let targets = tokens.clone().cast(dtype).slice([0..2, 1..4]);
        // A weight that is differentiated by is a number here.
        let batch = TensorBatch::new(targets).token_weights(weights.clone().require_grad());
        let logits = Tensor::<2>::from_data(z.clone(), &device());
        let report = of.loss(logits, &batch).unwrap().1.read().unwrap();
        assert!((report.loss - expected.loss).abs() < 1e-5 * expected.loss, "{dtype:?}");
        assert_eq!(report.weight_sum, expected.weight_sum);
    }
}

#[test]
fn batches_that_grow_and_are_empty() {
    let of = DeviceLoss::new(setup(), Loss::new(DftSequence::default()), DType::F32).unwrap();
    for rows in [3, 5000, 0, 20] {
        let targets: Vec<i64> = (0..rows as i64).map(|row| row % 7).collect();
        let offsets = [0, rows as i64];
        let host = Batch::new(&targets).sequences(&offsets);
        let z = data([rows, 7], 4);
        let logits = Tensor::<2>::from_data(z.clone(), &Device::flex());
        let (_, expected) =
            surprisal_burn::loss(&Loss::new(DftSequence::default()), logits, &host).unwrap();
        let batch = batch(&targets).sequences(ids(&offsets));
        let variable = Tensor::<2>::from_data(z, &device()).require_grad();
        let (loss, report) = of.loss(variable.clone(), &batch).unwrap();
        let gradient = variable.grad(&loss.backward()).unwrap();
        assert_eq!(gradient.dims(), [rows, 7]);
        assert!(numbers(gradient).iter().sum::<f64>().abs() < 1e-5, "{rows}");
        let report = report.read().unwrap();
        assert!((report.loss - expected.loss).abs() <= 1e-5 * expected.loss, "{rows}");
        assert_eq!(report.tokens, rows);
    }
}

#[test]
fn what_the_device_refuses_trains_nothing() {
    let of = DeviceLoss::new(setup(), Loss::new(Dft), DType::F32).unwrap();
    let weights = Tensor::<1>::from_data([1.0, -1.0, 1.0], &device());
    let cases = [
        (batch(&[0, 1, 4]), Argument::Targets, 2),
        (batch(&[0, -1, 3]), Argument::Targets, 1),
        (batch(&[0, 1, 3]).token_weights(weights), Argument::TokenWeights, 1),
    ];
    for (batch, argument, index) in cases {
        for factor in [1.0, 3.0] {
            let variable = variable([3, 4], 1);
            for logits in [variable.clone(), variable.clone().add_scalar(0.0)] {
                let (loss, report) = of.loss(logits, &batch).unwrap();
                let gradients = loss.mul_scalar(factor).backward();
                assert_eq!(numbers(variable.grad(&gradients).unwrap()), [0.0; 12]);
                let refused = surprisal_gpu::Error::Refused { argument, index };
                assert_eq!(report.read().unwrap_err(), Error::Gpu(refused));
            }
        }
    }
    // The next batch is as it was.
    let (_, report) = of.loss(variable([3, 4], 1), &batch(&[0, 1, 3])).unwrap();
    assert_eq!(report.read().unwrap().tokens, 3);
}

#[test]
fn infinite_losses_are_in_the_report() {
    let of = DeviceLoss::new(setup(), Loss::new(Sft), DType::F32).unwrap();
    let z = Tensor::<2>::from_data([[0.0, f32::NEG_INFINITY], [0.0, 0.0]], &device());
    let (loss, report) = of.loss(z, &batch(&[1, 0])).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    report.then(move |report| sender.send(report).unwrap());
    // burn's own read finds it.
    assert!((numbers(loss)[0] - 0.5 * 2.0_f64.ln()).abs() < 1e-6);
    let report = receiver.recv_timeout(std::time::Duration::from_secs(60)).unwrap().unwrap();
    assert_eq!((report.loss, report.tokens), (f64::INFINITY, 2));
}

#[test]
fn what_is_refused_says_why() {
    let three = || TensorBatch::new(ids(&[0, 1, 2]));
    let of = DeviceLoss::new(setup(), Loss::new(Sft), DType::F32).unwrap();
    let error = |batch: &TensorBatch| of.loss(variable([3, 4], 1), batch).unwrap_err();
    let length = |argument, expected, actual| {
        Error::Loss(surprisal::Error::Length { argument, expected, actual })
    };
    let short = || Tensor::<1>::from_data([1.0, 1.0], &device());
    assert_eq!(error(&batch(&[0, 1])), length(Argument::Targets, 3, 2));
    assert_eq!(error(&three().advantages(short())), length(Argument::Advantages, 3, 2));
    assert_eq!(error(&three().sequences(ids(&[]))), length(Argument::Sequences, 1, 0));
    let pairs = ids(&[0, 1, 1, 0, 0, 1]).reshape([2, 3]);
    assert_eq!(error(&three().pairs(pairs)), length(Argument::Pairs, 4, 6));
    let keep = Tensor::<1, Bool>::from_data([true], &device());
    let sequences = three().sequences(ids(&[0, 2, 3]));
    assert_eq!(error(&sequences.keep(keep)), length(Argument::Keep, 2, 1));
    let talr = DeviceLoss::new(setup(), Loss::new(DftSequence::default()), DType::F32).unwrap();
    let missing = talr.loss(variable([3, 4], 1), &three()).unwrap_err();
    assert_eq!(missing, Error::Loss(surprisal::Error::Missing(Argument::Sequences)));
    let elsewhere = Tensor::<2>::from_data(data([3, 4], 1), &Device::flex());
    assert!(matches!(of.loss(elsewhere, &three()).unwrap_err(), Error::Device(_)));
    let ids = Tensor::<1, Int>::from_data([0, 1, 2], &Device::flex());
    assert!(matches!(error(&TensorBatch::new(ids)), Error::Device(_)));
    let host = Batch::new(&[0, 1, 2]);
    let on_cpu = surprisal_burn::loss(&Loss::new(Sft), variable([3, 4], 1), &host);
    assert!(matches!(on_cpu.unwrap_err(), Error::Device(_)));
    let halves = DeviceLoss::new(setup(), Loss::new(Sft), DType::F16).unwrap();
    let wrong = halves.loss(variable([3, 4], 1), &three()).unwrap_err();
    assert_eq!(wrong, Error::Dtype(DType::F32));
    assert!(DeviceLoss::new(setup(), Loss::new(Sft), DType::F64).is_err());
}
