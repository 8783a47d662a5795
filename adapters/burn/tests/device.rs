//! On the default wgpu device, in CI lavapipe, against the oracle and the CPU.

use std::sync::OnceLock;

use burn::tensor::{DType, Device, DeviceKind, Tensor, TensorData};
use surprisal::objective::{Builtin, Dft, Sft};
use surprisal::{Batch, Loss, reference};
use surprisal_burn::Error;
use surprisal_burn::wgpu::{AutoGraphicsApi, DeviceLoss, WgpuDevice, WgpuSetup, init_setup};

const ROWS: usize = 12;
const VOCAB: usize = 37;

fn setup() -> &'static WgpuSetup {
    static SETUP: OnceLock<WgpuSetup> = OnceLock::new();
    SETUP.get_or_init(|| init_setup::<AutoGraphicsApi>(&WgpuDevice::default(), Default::default()))
}

fn device() -> Device {
    setup();
    Device::wgpu(DeviceKind::DefaultDevice).autodiff()
}

fn data<const D: usize>(shape: [usize; D], seed: u64) -> TensorData {
    let mut state = seed;
    let numbers: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 22) as f32 - 2.0
        })
        .collect();
    TensorData::new(numbers, shape)
}

fn variable<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    Tensor::from_data(data(shape, seed), &device()).require_grad()
}

fn targets() -> Vec<i64> {
    (0..ROWS as i64).map(|row| if row % 5 == 3 { -100 } else { row * 11 % VOCAB as i64 }).collect()
}

fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_into_vec().unwrap()
}

#[track_caller]
fn assert_near(actual: &[f64], expected: &[f64], within: f64) {
    assert_eq!(actual.len(), expected.len());
    let size = expected.iter().fold(0.0, |size: f64, value| size.max(value.abs()));
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert!((actual - expected).abs() <= within * size, "{index}: {actual}, not {expected}");
    }
}

#[test]
fn every_objective_is_the_oracles() {
    let ids = targets();
    let (offsets, log_probs) = ([0, 5, ROWS as i64], vec![-2.0; ROWS]);
    let (advantages, groups) =
        (vec![1.0; ROWS], (0..ROWS as u32).map(|row| row % 3).collect::<Vec<_>>());
    let pairs = [surprisal::Pair { chosen: 0, rejected: 1 }];
    let batch = Batch::new(&ids)
        .ignore_index(-100)
        .sequences(&offsets)
        .ref_log_probs(&log_probs)
        .old_log_probs(&log_probs)
        .advantages(&advantages)
        .groups(&groups)
        .pairs(&pairs)
        .keep(&[true, true]);
    for name in Builtin::NAMES {
        let of = Loss::new(Builtin::from_name(name).unwrap());
        let variable = variable([ROWS, VOCAB], 5);
        let z = numbers(variable.clone());
        let mut expected = vec![0.0; z.len()];
        let oracle = reference::forward_backward(&of, &z, ROWS, VOCAB, &batch, &mut expected);
        let oracle = oracle.unwrap_or_else(|error| panic!("{name}: {error}"));
        let on_device = DeviceLoss::new(setup(), of, DType::F32).unwrap();
        // A result that nobody else holds, and one that is kept: the gradient goes elsewhere, in the same pool.
        let (tensor, report) = on_device.loss(variable.clone().add_scalar(0.0), &batch).unwrap();
        assert!((report.loss - oracle.loss).abs() < 1e-5 * (1.0 + oracle.loss.abs()), "{name}");
        assert_eq!(numbers(tensor.clone()), [f64::from(report.loss as f32)]);
        let gradient = numbers(variable.grad(&tensor.backward()).unwrap());
        assert_near(&gradient, &expected, 1e-5);
        let (tensor, again) = on_device.loss(variable.clone(), &batch).unwrap();
        assert_eq!(report, again, "{name}");
        assert_eq!(numbers(variable.grad(&tensor.backward()).unwrap()), gradient, "{name}");
        assert_eq!(numbers(variable), z, "{name}");
    }
}

#[test]
fn views_and_factors_and_layers() {
    let ids = targets();
    let batch = Batch::new(&ids).ignore_index(-100);
    let on_device = DeviceLoss::new(setup(), Loss::new(Sft), DType::F32).unwrap();
    let cpu = Device::flex().autodiff();
    // A layer, then the shift of a batch; and its transpose. What follows the gradient reads it.
    let (hidden, weight) = (data([3, 5, 6], 1), data([1, 6, VOCAB], 2));
    let of = |device: &Device, loss: &dyn Fn(Tensor<3>) -> Tensor<1>| {
        let weight = Tensor::<3>::from_data(weight.clone(), device).require_grad();
        let hidden = Tensor::<3>::from_data(hidden.clone(), device);
        let logits = hidden.matmul(weight.clone().expand([3, 6, VOCAB]));
        let loss = loss(logits.slice([0..3, 0..4])).mul_scalar(0.5);
        numbers(weight.grad(&loss.backward()).unwrap())
    };
    let expected = of(&cpu, &|z| surprisal_burn::loss(&Loss::new(Sft), z, &batch).unwrap().0);
    assert_near(&of(&device(), &|z| on_device.loss(z, &batch).unwrap().0), &expected, 1e-5);
    let kept = of(&device(), &|z| {
        let kept = z.clone();
        let loss = on_device.loss(z, &batch).unwrap().0;
        assert!(numbers(kept.sum())[0].is_finite());
        loss
    });
    assert_near(&kept, &expected, 1e-5);
    let table = data([VOCAB, ROWS], 3);
    let transposed = |device: &Device, loss: &dyn Fn(Tensor<2>) -> Tensor<1>| {
        let table = Tensor::<2>::from_data(table.clone(), device).require_grad();
        let once = loss(table.clone().transpose());
        numbers(table.grad(&once.clone().add(once).backward()).unwrap())
    };
    let expected =
        transposed(&cpu, &|z| surprisal_burn::loss(&Loss::new(Sft), z, &batch).unwrap().0);
    let found = transposed(&device(), &|z| on_device.loss(z, &batch).unwrap().0);
    assert_near(&found, &expected, 1e-5);
}

#[test]
fn logits_of_another_thread() {
    let ids = targets();
    let batch = Batch::new(&ids).ignore_index(-100);
    let on_device = DeviceLoss::new(setup(), Loss::new(Dft), DType::F32).unwrap();
    for seed in 0..20 {
        // Not read before the loss is queued behind them.
        let make = move || {
            let z = Tensor::<2>::from_data(data([ROWS, VOCAB], seed), &device());
            z.mul_scalar(2.0).add_scalar(1.0)
        };
        let logits = std::thread::spawn(make).join().unwrap();
        let (_, report) = on_device.loss(logits, &batch).unwrap();
        let logits = Tensor::<2>::from_data(data([ROWS, VOCAB], seed), &Device::flex());
        let logits = logits.mul_scalar(2.0).add_scalar(1.0);
        let (_, expected) = surprisal_burn::loss(&Loss::new(Dft), logits, &batch).unwrap();
        assert!((report.loss - expected.loss).abs() < 1e-5 * expected.loss, "{seed}");
    }
}

#[test]
fn what_is_refused_says_why() {
    let batch = Batch::new(&[0, 1, 2]);
    let on_device = DeviceLoss::new(setup(), Loss::new(Sft), DType::F32).unwrap();
    let wrong = on_device.loss(variable([2, 4], 1), &batch).unwrap_err();
    assert!(wrong.to_string().contains("targets"), "{wrong}");
    let elsewhere = Tensor::<2>::from_data(data([3, 4], 1), &Device::flex());
    assert!(matches!(on_device.loss(elsewhere, &batch).unwrap_err(), Error::Device(_)));
    assert!(matches!(
        surprisal_burn::loss(&Loss::new(Sft), variable([3, 4], 1), &batch).unwrap_err(),
        Error::Device(_)
    ));
    let halves = DeviceLoss::new(setup(), Loss::new(Sft), DType::F16).unwrap();
    assert_eq!(halves.loss(variable([3, 4], 1), &batch).unwrap_err(), Error::Dtype(DType::F32));
    assert!(DeviceLoss::new(setup(), Loss::new(Sft), DType::F64).is_err());
}
