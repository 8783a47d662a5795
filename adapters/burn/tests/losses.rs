//! Against burn's own loss and gradient, against the oracle, and by layout and type.

mod support;

use burn::backend::Flex;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::{DType, Device, Int, Tensor};
use support::{Inputs, ROWS, VOCAB, assert_near, data, numbers, targets};
use surprisal::objective::{Builtin, Dft, Sft};
use surprisal::{Batch, Loss, LossReport, Outputs, reference};
use surprisal_burn::{Error, cross_entropy, ids, linear_loss, linear_loss_with, loss, loss_with};

fn device() -> Device {
    Device::flex().autodiff()
}

fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    Tensor::from_data(data(shape, seed), &device())
}

/// What burn itself makes of the rows that count.
fn by_burn(logits: Tensor<2>, ids: &[i64]) -> Tensor<1> {
    let counted = (0..).zip(ids).filter(|&(_, &id)| id >= 0);
    let (rows, targets): (Vec<i64>, Vec<i64>) = counted.unzip();
    let rows = logits.select(0, Tensor::<1, Int>::from_data(&rows[..], &device()));
    let targets = Tensor::<1, Int>::from_data(&targets[..], &device());
    CrossEntropyLossConfig::new().init(&device()).forward(rows, targets)
}

/// Numbers that burn differentiates by, and those that it does not.
fn variable<const D: usize>(of: &Tensor<D>, dtype: DType) -> Tensor<D> {
    constant(of).cast(dtype).require_grad()
}

fn constant<const D: usize>(of: &Tensor<D>) -> Tensor<D> {
    of.clone().inner().autodiff()
}

/// How a tensor becomes logits of `ROWS` rows, and those a matrix.
fn check_layout<const D: usize, const E: usize>(
    values: Tensor<D>,
    layout: impl Fn(Tensor<D>) -> Tensor<E>,
) {
    let ids = targets();
    let batch = Batch::new(&ids).ignore_index(-100);
    let variable = values.require_grad();
    let view = || layout(variable.clone());
    let of = |loss: Tensor<1>| variable.grad(&loss.backward()).unwrap();
    let own = by_burn(view().reshape([ROWS, VOCAB]), &ids);
    let (expected, gradient) = (numbers(own.clone())[0], numbers(of(own)));
    let (tensor, report) = loss(&Loss::new(Sft), view(), &batch).unwrap();
    assert!((report.loss - expected).abs() < 1e-6, "{} is not {expected}", report.loss);
    assert_eq!(numbers(tensor.clone()), [f64::from(report.loss as f32)]);
    // Back through the view: where it does not look, the gradient is 0.
    let all = of(tensor);
    assert_eq!(all.dims(), variable.dims());
    assert_near(&numbers(all.clone()), &gradient, 1e-6);
    // A factor from upstream, one that is put where it is free, and a loss that is used twice.
    let again = |of: Loss<'_, Sft>| loss(&of, view(), &batch).unwrap().0;
    let half = of(again(Loss::new(Sft)).mul_scalar(0.5).add_scalar(3.0));
    assert_near(&numbers(half.clone()), &numbers(all.clone().mul_scalar(0.5)), 1e-7);
    assert_near(&numbers(of(again(Loss::new(Sft).grad_scale(0.5)))), &numbers(half), 1e-7);
    let once = again(Loss::new(Sft));
    let twice = of(once.clone().add(once.mul_scalar(2.0)));
    assert_near(&numbers(twice), &numbers(all.mul_scalar(3.0)), 1e-6);
}

#[test]
fn sft_is_burns_cross_entropy_in_every_layout() {
    let matrix = || random([ROWS, VOCAB], 1);
    check_layout(matrix(), |z| z);
    check_layout(random([ROWS, VOCAB + 4], 2), |z| z.slice([0..ROWS, 2..VOCAB + 2]));
    check_layout(random([3, 5, VOCAB], 3), |z| z.slice([0..3, 1..5, 0..VOCAB]));
    check_layout(random([VOCAB, ROWS], 4), |z| z.transpose());
    check_layout(matrix(), |z| z.reshape([2, 3, 2, VOCAB]));
    check_layout(matrix(), |z| z.reshape([3, 4, VOCAB]).swap_dims(0, 1));
    check_layout(matrix(), |z| z.flip([0]));
    check_layout(random([1, VOCAB], 5), |z| z.expand([ROWS, VOCAB]));
}

#[test]
fn every_objective_is_the_oracles_in_every_type() {
    let inputs = Inputs::new();
    let batch = inputs.batch();
    for name in Builtin::NAMES {
        let of = Loss::new(Builtin::from_name(name).unwrap());
        for (dtype, within) in [(DType::F32, 2e-6), (DType::BF16, 4e-3), (DType::F16, 1e-3)] {
            let variable = self::variable(&random([ROWS, VOCAB], 5), dtype);
            let z = numbers(variable.clone());
            let mut expected = vec![0.0; z.len()];
            let oracle = reference::forward_backward(&of, &z, ROWS, VOCAB, &batch, &mut expected);
            let oracle = oracle.unwrap_or_else(|error| panic!("{name}: {error}"));
            let (tensor, report) = loss(&of, variable.clone(), &batch).unwrap();
            assert!((report.loss - oracle.loss).abs() < 1e-5 * (1.0 + oracle.loss.abs()), "{name}");
            let gradient = variable.grad(&tensor.backward()).unwrap();
            assert_eq!(gradient.dtype(), dtype);
            assert_near(&numbers(gradient.clone()), &expected, within);
            // A result that nobody else holds: the gradient takes its place.
            let moved = variable.clone().add_scalar(0.0);
            let (in_place, again) = loss(&of, moved, &batch).unwrap();
            assert_eq!(report, again, "{name}");
            let same = variable.grad(&in_place.backward()).unwrap();
            assert_eq!(numbers(same), numbers(gradient), "{name}");
            // Nothing to differentiate.
            let (tensor, alone) = loss(&of, constant(&variable), &batch).unwrap();
            assert!(!tensor.is_tracked() && (alone.loss - report.loss).abs() < 1e-9, "{name}");
        }
    }
}

/// Where a tensor's numbers lie.
fn address(tensor: &Tensor<2>) -> *const u8 {
    let tensor = tensor.clone().inner().try_into_primitive::<Flex>().unwrap();
    tensor.bytes().as_ptr()
}

#[test]
fn the_gradient_takes_the_memory_of_logits_that_nobody_holds() {
    let ids = targets();
    let batch = Batch::new(&ids).ignore_index(-100);
    let variable = random([ROWS, VOCAB], 6).require_grad();
    // An addition hands its gradient on as it is.
    let gradient = |logits: Tensor<2>| {
        let loss = loss(&Loss::new(Sft), logits, &batch).unwrap().0;
        variable.grad(&loss.backward()).unwrap()
    };
    let logits = variable.clone().add_scalar(1.0);
    let memory = address(&logits);
    assert_eq!(address(&gradient(logits)), memory);
    let logits = variable.clone().add_scalar(1.0);
    assert_ne!(address(&gradient(logits.clone())), address(&logits));
}

#[test]
fn logits_that_somebody_holds_are_left_as_they_are() {
    let ids = targets();
    let batch = Batch::new(&ids).ignore_index(-100);
    let variable = random([ROWS, VOCAB], 6).require_grad();
    let before = numbers(variable.clone());
    let logits = variable.clone().mul_scalar(2.0);
    let (first, _) = loss(&Loss::new(Sft), logits.clone(), &batch).unwrap();
    assert_near(&numbers(logits.clone()), &before.iter().map(|z| 2.0 * z).collect::<Vec<_>>(), 0.0);
    // Kept by the operation that made them, whose gradient they are.
    let kept = variable.clone().exp();
    let (second, _) = loss(&Loss::new(Dft), kept, &batch).unwrap();
    let gradient = numbers(variable.grad(&first.add(second).backward()).unwrap());
    let apart = |of: &dyn Fn(Tensor<2>) -> Tensor<1>| {
        numbers(variable.grad(&of(variable.clone()).backward()).unwrap())
    };
    let doubled = apart(&|z| loss(&Loss::new(Sft), z.mul_scalar(2.0), &batch).unwrap().0);
    let composed = apart(&|z| {
        let z = z.exp();
        let kept = z.clone();
        let loss = loss(&Loss::new(Dft), z, &batch).unwrap().0;
        drop(kept);
        loss
    });
    let sum: Vec<f64> = doubled.iter().zip(&composed).map(|(a, b)| a + b).collect();
    assert_near(&gradient, &sum, 1e-6);
    assert_eq!(numbers(variable), before);
}

#[test]
fn every_strategy_of_checkpointing() {
    let ids = targets();
    let batch = Batch::new(&ids).ignore_index(-100);
    let plain = random([ROWS, VOCAB], 7).require_grad();
    let gradient = numbers(plain.grad(&by_burn(plain.clone(), &ids).backward()).unwrap());
    let data = plain.into_data();
    let device = Device::flex().autodiff().gradient_checkpointing();
    let variable = Tensor::<2>::from_data(data.clone(), &device).require_grad();
    let logits = variable.clone().mul_scalar(2.0).mul_scalar(0.5);
    let (tensor, report) = loss(&Loss::new(Sft), logits, &batch).unwrap();
    assert_near(&numbers(variable.grad(&tensor.backward()).unwrap()), &gradient, 1e-6);
    // Without autodiff.
    let constant = Tensor::<2>::from_data(data, &Device::flex());
    let (tensor, alone) = loss(&Loss::new(Sft), constant, &batch).unwrap();
    assert!((alone.loss - report.loss).abs() < 1e-9);
    assert_eq!(numbers(tensor), [f64::from(alone.loss as f32)]);
    let weight = random([VOCAB, 5], 7).require_grad();
    let both = linear_loss(&Loss::new(Sft), variable, weight, &batch, None);
    assert_eq!(both.unwrap_err(), Error::Checkpointing);
}

#[test]
fn the_output_layer_is_the_product_and_the_loss() {
    let ids = targets();
    let batch = Batch::new(&ids).ignore_index(-100);
    for (dtype, within) in [(DType::F32, 3e-6), (DType::BF16, 2e-2), (DType::F16, 3e-3)] {
        let hidden = variable(&random([3, 4, 6], 6), dtype);
        // As nn::Linear has it, and as an embedding has it.
        let (layer, table) = (random([6, VOCAB], 7), random([VOCAB, 6], 8));
        for (weight, is_table) in [(layer.clone(), false), (table.clone(), true)] {
            let weight = variable(&weight, dtype);
            let of = |weight: Tensor<2>| if is_table { weight.transpose() } else { weight };
            let wide_h = variable(&hidden, DType::F32);
            let wide_w = variable(&weight, DType::F32);
            let logits = wide_h.clone().reshape([ROWS, 6]).matmul(of(wide_w.clone()));
            let (composed, expected) = loss(&Loss::new(Dft), logits, &batch).unwrap();
            let composed = composed.backward();
            for budget in [None, Some(4000)] {
                let mut entropy = vec![0.0; ROWS];
                let outputs = Outputs::new().entropy(&mut entropy);
                let (states, weights) = (hidden.clone(), of(weight.clone()));
                let (tensor, report) =
                    linear_loss_with(&Loss::new(Dft), states, weights, &batch, budget, outputs)
                        .unwrap();
                assert!((report.loss - expected.loss).abs() < 1e-6, "{dtype:?}");
                assert!(entropy[0] > 0.0 && entropy[3] == 0.0);
                let gradients = tensor.backward();
                let dh = hidden.grad(&gradients).unwrap();
                assert_eq!((dh.dtype(), dh.dims()), (dtype, hidden.dims()));
                assert_near(&numbers(dh), &numbers(wide_h.grad(&composed).unwrap()), within);
                let dw = weight.grad(&gradients).unwrap();
                assert_eq!((dw.dtype(), dw.dims()), (dtype, weight.dims()));
                assert_near(&numbers(dw), &numbers(wide_w.grad(&composed).unwrap()), within);
            }
            // Frozen weights, on a device without autodiff; shifted states; half the gradient.
            let frozen = Tensor::<2>::from_data(weight.clone().into_data(), &Device::flex());
            let longer = Tensor::cat(vec![hidden.clone(), hidden.clone()], 1).slice([0..3, 4..8]);
            let (tensor, _) =
                linear_loss(&Loss::new(Dft), longer, of(frozen.clone()), &batch, None).unwrap();
            let dh = hidden.grad(&tensor.mul_scalar(0.5).backward()).unwrap();
            let expected_dh = wide_h.grad(&composed).unwrap().mul_scalar(0.5);
            assert_near(&numbers(dh), &numbers(expected_dh), within);
            // Frozen states; nothing to differentiate at all.
            let (tensor, _) =
                linear_loss(&Loss::new(Dft), constant(&hidden), of(weight.clone()), &batch, None)
                    .unwrap();
            let dw = weight.grad(&tensor.backward()).unwrap();
            assert_near(&numbers(dw), &numbers(wide_w.grad(&composed).unwrap()), within);
            let (tensor, report) =
                linear_loss(&Loss::new(Dft), constant(&hidden), of(frozen), &batch, None).unwrap();
            assert!(!tensor.is_tracked() && (report.loss - expected.loss).abs() < 1e-6);
        }
    }
}

#[test]
fn the_drop_in() {
    let logits = random([3, 4], 8);
    for dtype in [DType::I64, DType::I32, DType::U8] {
        let targets = Tensor::<1, Int>::from_data([2, 0, 3], &device()).cast(dtype);
        let own = CrossEntropyLossConfig::new().init(&device());
        let own = own.forward(logits.clone(), targets.clone());
        assert_near(&numbers(cross_entropy(logits.clone(), targets.clone())), &numbers(own), 1e-6);
        assert_eq!(ids(targets).unwrap(), [2, 0, 3]);
    }
    assert_eq!(
        ids(Tensor::<2, Int>::from_data([[1, -100], [3, 4]], &device())).unwrap(),
        [1, -100, 3, 4]
    );
}

#[test]
#[should_panic = "target"]
fn the_drop_in_panics_as_burns_does() {
    cross_entropy(random([3, 4], 8), Tensor::from_data([2, 0, 4], &device()));
}

/// Plain gradient descent from the same start, over a table whose rows are the logits after a token: the mean negative log-likelihoods.
fn curve(loss: impl Fn(Tensor<2>, Tensor<1, Int>) -> (Tensor<1>, f64)) -> Vec<f64> {
    let tokens: Vec<i64> = (0..40_i64).map(|i| (i * i + 3 * i) % 7).collect();
    let mut table = random([7, 7], 9).require_grad();
    (0..60)
        .map(|_| {
            let inputs = Tensor::<1, Int>::from_data(&tokens[..39], &device());
            let targets = Tensor::<1, Int>::from_data(&tokens[1..], &device());
            let (tensor, nll) = loss(table.clone().select(0, inputs), targets);
            let gradient = table.grad(&tensor.backward()).unwrap();
            table = (table.clone().inner() - gradient * 0.5).autodiff().require_grad();
            nll
        })
        .collect()
}

#[test]
fn a_training_run_is_burns_own() {
    let with_value = |loss: Tensor<1>| (loss.clone(), numbers(loss)[0]);
    let burns = CrossEntropyLossConfig::new().init(&device());
    let own = curve(|logits, targets| with_value(burns.forward(logits, targets)));
    assert!(own[59] < 0.7 * own[0], "{own:?}");
    assert_near(&curve(|logits, targets| with_value(cross_entropy(logits, targets))), &own, 1e-5);
    // Another objective is another curve: tokens that the start thinks improbable wait.
    let dft = curve(|logits, targets| {
        let ids = ids(targets).unwrap();
        let (tensor, report) = loss(&Loss::new(Dft), logits, &Batch::new(&ids)).unwrap();
        (tensor, report.mean_nll())
    });
    assert!((dft[0] - own[0]).abs() < 1e-6, "{dft:?}");
    assert!(own[59] < 0.95 * dft[59] && dft[59] < 0.95 * dft[0], "{dft:?}, {own:?}");
}

#[test]
fn what_is_refused_says_why() {
    let batch = Batch::new(&[0, 1, 2]);
    let error = |result: Result<(Tensor<1>, LossReport), Error>| result.unwrap_err().to_string();
    let z = || random([3, 4], 9);
    let wrong = error(loss(&Loss::new(Sft), random([2, 4], 9), &batch));
    assert!(wrong.contains("targets"), "{wrong}");
    assert!(error(loss(&Loss::new(Sft), z().slice([0..3, 0..2]), &batch)).contains("target"));
    assert!(error(loss(&Loss::new(Sft), z().cast(DType::F64), &batch)).contains("F64"));
    // Nothing has been written where the logits were anybody's.
    let (same, before) = (z(), numbers(z()));
    let targets = Batch::new(&[0, 1, 9]);
    assert!(error(loss(&Loss::new(Sft), same.clone(), &targets)).contains("target"));
    assert_eq!(numbers(same), before);
    let mut short = [0.0; 2];
    assert!(loss_with(&Loss::new(Sft), z(), &batch, Outputs::new().nll(&mut short)).is_err());
    let weight = || random([4, 5], 1);
    assert!(error(linear_loss(&Loss::new(Sft), z(), weight(), &batch, Some(3))).contains("budget"));
    assert!(linear_loss(&Loss::new(Sft), random([3, 5], 1), weight(), &batch, None).is_err());
}
