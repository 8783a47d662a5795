//! What a training step on the default wgpu device waits for, and what it creates there: nothing.

#[path = "support/gpu.rs"]
mod gpu;
mod support;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError, mpsc::channel};

use burn::tensor::{DType, Device, Distribution, Int, Tensor};
use gpu::{batch, device, ids, setup};
use support::{assert_near, data, numbers};
use surprisal::objective::{Builtin, TalrAuto};
use surprisal::{Batch, Loss, LossReport};
use surprisal_burn::wgpu::{DeviceLoss, Report};
use surprisal_gpu::wgpu;

const TOKENS: usize = 40;
const VOCAB: usize = 7;

/// Ids of which each predicts the next one.
fn tokens() -> Vec<i64> {
    (0..=TOKENS as i64).map(|i| (i * i + 3 * i) % VOCAB as i64).collect()
}

/// Gradient descent over a table whose rows are the logits after a token: the table, and what each step reports.
fn train<R>(
    steps: usize,
    device: &Device,
    loss: impl Fn(Tensor<2>) -> (Tensor<1>, R),
) -> (Tensor<2>, Vec<R>) {
    let inputs = Tensor::<1, Int>::from_data(&tokens()[..TOKENS], device);
    let mut table = Tensor::<2>::from_data(data([VOCAB, VOCAB], 9), device);
    let mut step = |_| {
        let variable = table.clone().require_grad();
        let (loss, report) = loss(variable.clone().select(0, inputs.clone()));
        let gradient = variable.grad(&loss.mul_scalar(4.0).backward()).unwrap();
        table = (variable.inner() - gradient).autodiff();
        report
    };
    let reports = (0..steps).map(&mut step).collect();
    (table, reports)
}

fn wait() {
    setup().device.poll(wgpu::PollType::wait_indefinitely()).unwrap();
}

/// Held by a test as long as it looks at what others do on the device.
static ALONE: Mutex<()> = Mutex::new(());

/// The library's buffers, by their label.
fn buffers() -> Option<BTreeMap<String, usize>> {
    let mut buffers = BTreeMap::new();
    for allocation in setup().device.generate_allocator_report()?.allocations {
        if allocation.name.starts_with("surprisal") {
            *buffers.entry(allocation.name).or_default() += 1;
        }
    }
    Some(buffers)
}

#[test]
fn a_loop_creates_no_buffers() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let targets = tokens()[1..].to_vec();
    let offsets = [0, 15, TOKENS as i64];
    let on_device = batch(&targets).sequences(ids(&offsets));
    let of = DeviceLoss::new(setup(), Loss::new(TalrAuto::default()), DType::F32).unwrap();
    let train_here = |steps| train(steps, &device(), |z| of.loss(z, &on_device).unwrap());
    let read = |reports: Vec<Report>| reports.into_iter().map(|report| report.read().unwrap());

    // burn compiles, and its pool comes to hand out the same places again and again.
    let mut warm = Vec::new();
    for _ in 0..4 {
        warm = read(train_here(8).1).collect::<Vec<LossReport>>();
        train_here(1);
    }
    wait();
    let before = buffers();
    assert!(before.as_ref().is_none_or(|buffers| buffers.len() == 3), "{before:?}");
    for _ in 0..3 {
        // Reports that nobody reads. What was submitted last is known to be done by the next submission.
        train_here(8);
        wait();
        train_here(1);
        wait();
        assert_eq!(buffers(), before);
    }

    let (table, reports) = train_here(8);
    let reports: Vec<LossReport> = read(reports).collect();
    assert_eq!(reports, warm);
    let host = Batch::new(&targets).ignore_index(-100).sequences(&offsets);
    let talr = Loss::new(TalrAuto::default());
    let (expected_table, expected) =
        train(8, &Device::flex().autodiff(), |z| surprisal_burn::loss(&talr, z, &host).unwrap());
    let curve =
        |reports: &[LossReport]| reports.iter().map(|report| report.loss).collect::<Vec<_>>();
    assert_near(&curve(&reports), &curve(&expected), 1e-5);
    assert_near(&numbers(table), &numbers(expected_table), 1e-5);
    assert!(reports[7].mean_nll() < 0.9 * reports[0].mean_nll(), "{reports:?}");
}

/// A software device is at the loss of this many logits for long.
#[test]
fn neither_loss_nor_backward_waits() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    const WIDE: usize = 50_000;
    let (rows, info) = (256, setup().adapter.get_info());
    if info.device_type != wgpu::DeviceType::Cpu {
        println!("{} is too fast to be caught at work", info.name);
        return;
    }
    let targets: Vec<i64> = (0..rows as i64).collect();
    let batch = batch(&targets).sequences(ids(&[0, 100, rows as i64]));
    let variable = Tensor::<2>::random([rows, WIDE], Distribution::Default, &device());
    let variable = variable.require_grad();
    for name in ["sft", "dft", "talr-auto", "dft-sequence"] {
        let objective = Loss::new(Builtin::from_name(name).unwrap());
        let of = DeviceLoss::new(setup(), objective, DType::F32).unwrap();
        for is_scaled in [false, true] {
            let logits = variable.clone().add_scalar(1.0);
            device().sync().unwrap();
            let (sender, receiver) = channel();
            let (loss, report) = of.loss(logits, &batch).unwrap();
            report.then(move |report| sender.send(report.unwrap()).unwrap());
            let loss = if is_scaled { loss.mul_scalar(0.5) } else { loss };
            let gradients = loss.backward();
            setup().device.poll(wgpu::PollType::Poll).unwrap();
            assert!(receiver.try_recv().is_err(), "{name}: the loss is there already");
            wait();
            let report = receiver.try_recv().unwrap();
            let factor = if is_scaled { 0.5 } else { 1.0 };
            assert!((numbers(loss)[0] - factor * report.loss).abs() < 1e-5 * report.loss, "{name}");
            let sum = numbers(variable.grad(&gradients).unwrap().abs().sum())[0];
            assert!(sum > 0.0 && sum.is_finite(), "{name}");
        }
    }
}
