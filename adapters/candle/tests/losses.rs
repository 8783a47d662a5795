//! Against candle's own loss and gradient, against the oracle, and by layout and type.

use candle_core::{DType, Device, Result, Tensor, Var};
use surprisal::objective::{Builtin, Dft, Sft};
use surprisal::{Batch, Loss, Outputs, reference};
use surprisal_candle::{
    cross_entropy, ids, linear_loss, linear_loss_with, loss, loss_in_place, loss_with,
};

const ROWS: usize = 12;
const VOCAB: usize = 37;

fn random(shape: &[usize], seed: u64) -> Result<Tensor> {
    let mut state = seed;
    let numbers: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 22) as f32 - 2.0
        })
        .collect();
    Tensor::from_vec(numbers, shape, &Device::Cpu)
}

fn targets() -> Vec<i64> {
    (0..ROWS as i64).map(|row| if row % 5 == 3 { -100 } else { row * 11 % VOCAB as i64 }).collect()
}

fn numbers(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
}

#[track_caller]
fn assert_near(actual: &[f64], expected: &[f64], within: f64) {
    assert_eq!(actual.len(), expected.len());
    let size = expected.iter().fold(0.0, |size: f64, value| size.max(value.abs()));
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert!((actual - expected).abs() <= within * size, "{index}: {actual}, not {expected}");
    }
}

/// What candle itself makes of the rows that count, with the gradient.
fn by_candle(logits: &Tensor, ids: &[i64]) -> Result<(f64, Vec<f64>)> {
    let z = Var::from_tensor(&logits.contiguous()?.to_dtype(DType::F32)?)?;
    let rows = z.reshape(((), VOCAB))?;
    let counted: Vec<u32> = (0..ids.len() as u32).filter(|&row| ids[row as usize] >= 0).collect();
    let targets: Vec<u32> = ids.iter().filter(|&&id| id >= 0).map(|&id| id as u32).collect();
    let rows = rows.index_select(&Tensor::new(counted, &Device::Cpu)?, 0)?;
    let loss = candle_nn::loss::cross_entropy(&rows, &Tensor::new(targets, &Device::Cpu)?)?;
    let gradient = numbers(loss.backward()?.get(&z).unwrap())?;
    Ok((f64::from(loss.to_scalar::<f32>()?), gradient))
}

/// How a tensor becomes logits.
type View = dyn Fn(&Tensor) -> Result<Tensor>;

#[test]
fn sft_is_candles_cross_entropy_in_every_layout() -> Result<()> {
    let ids = targets();
    let batch = Batch::new(&ids).ignore_index(-100);
    let matrix = random(&[ROWS, VOCAB], 1)?;
    let wide = random(&[ROWS, VOCAB + 4], 2)?;
    let longer = random(&[3, 5, VOCAB], 3)?;
    let transposed = random(&[VOCAB, ROWS], 4)?;
    let layouts: [(&Tensor, &View); 6] = [
        (&matrix, &|z| Ok(z.clone())),
        (&wide, &|z| z.narrow(1, 2, VOCAB)),
        (&longer, &|z| z.narrow(1, 1, 4)),
        (&transposed, &|z| z.t()),
        (&matrix, &|z| z.reshape((2, 3, 2, VOCAB))),
        (&matrix, &|z| z.reshape((3, 4, VOCAB))?.transpose(0, 1)),
    ];
    for (index, (values, layout)) in layouts.into_iter().enumerate() {
        let variable = Var::from_tensor(values)?;
        let logits = layout(&variable)?;
        let (expected, gradient) = by_candle(&logits, &ids)?;
        let (tensor, report) = loss(&Loss::new(Sft), &logits, &batch)?;
        assert!((report.loss - expected).abs() < 1e-6, "layout {index}");
        assert_eq!(f64::from(tensor.to_scalar::<f32>()?), f64::from(report.loss as f32));
        // Back through the view: where it does not look, the gradient is 0.
        let all = tensor.backward()?.get(&variable).unwrap().clone();
        assert_near(&numbers(&layout(&all)?)?, &gradient, 1e-6);
        assert_eq!(all.dims(), variable.dims());
        // A factor from upstream, and one that is put where it is free.
        let half = tensor.affine(0.5, 3.0)?.backward()?.get(&variable).unwrap().clone();
        let free = loss(&Loss::new(Sft).grad_scale(0.5), &logits, &batch)?.0;
        let free = free.backward()?.get(&variable).unwrap().clone();
        assert_near(&numbers(&half)?, &numbers(&all.affine(0.5, 0.0)?)?, 1e-7);
        assert_near(&numbers(&free)?, &numbers(&half)?, 1e-7);
    }
    Ok(())
}

#[test]
fn every_objective_is_the_oracles_in_every_type() -> Result<()> {
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
        for (dtype, within) in [(DType::F32, 2e-6), (DType::BF16, 4e-3), (DType::F16, 1e-3)] {
            let variable = Var::from_tensor(&random(&[ROWS, VOCAB], 5)?.to_dtype(dtype)?)?;
            let z = numbers(&variable)?;
            let mut expected = vec![0.0; z.len()];
            let oracle = reference::forward_backward(&of, &z, ROWS, VOCAB, &batch, &mut expected);
            let oracle = oracle.unwrap_or_else(|error| panic!("{name}: {error}"));
            let (tensor, report) = loss(&of, &variable, &batch)?;
            assert!((report.loss - oracle.loss).abs() < 1e-5 * (1.0 + oracle.loss.abs()), "{name}");
            let gradient = tensor.backward()?.get(&variable).unwrap().clone();
            assert_eq!(gradient.dtype(), dtype);
            assert_near(&numbers(&gradient)?, &expected, within);
            let (in_place, again) = loss_in_place(&of, variable.affine(1.0, 0.0)?, &batch)?;
            assert_eq!(report, again, "{name}");
            let same = in_place.backward()?.get(&variable).unwrap().clone();
            assert_eq!(numbers(&same)?, numbers(&gradient)?, "{name}");
        }
    }
    Ok(())
}

#[test]
fn the_output_layer_is_the_product_and_the_loss() -> Result<()> {
    let ids = targets();
    let batch = Batch::new(&ids).ignore_index(-100);
    for (dtype, within) in [(DType::F32, 3e-6), (DType::BF16, 2e-2), (DType::F16, 3e-3)] {
        let hidden = Var::from_tensor(&random(&[3, 4, 6], 6)?.to_dtype(dtype)?)?;
        let weight = Var::from_tensor(&random(&[VOCAB, 6], 7)?.to_dtype(dtype)?)?;
        let wide = [&hidden, &weight]
            .map(|var| Var::from_tensor(&var.to_dtype(DType::F32).unwrap()).unwrap());
        let logits = wide[0].reshape((ROWS, 6))?.matmul(&wide[1].t()?)?;
        let (composed, expected) = loss(&Loss::new(Dft), &logits, &batch)?;
        let composed = composed.backward()?;
        for budget in [None, Some(4000)] {
            let mut entropy = vec![0.0; ROWS];
            let outputs = Outputs::new().entropy(&mut entropy);
            let (tensor, report) =
                linear_loss_with(&Loss::new(Dft), &hidden, &weight, &batch, budget, outputs)?;
            assert!((report.loss - expected.loss).abs() < 1e-6, "{dtype:?}");
            assert!(entropy[0] > 0.0 && entropy[3] == 0.0);
            let gradients = tensor.backward()?;
            for (var, wide) in [(&hidden, &wide[0]), (&weight, &wide[1])] {
                let gradient = gradients.get(var).unwrap();
                assert_eq!((gradient.dtype(), gradient.dims()), (dtype, var.dims()));
                assert_near(&numbers(gradient)?, &numbers(composed.get(wide).unwrap())?, within);
            }
        }
        // Frozen weights, told by their transpose; nothing to differentiate at all.
        let frozen = weight.detach().t()?.contiguous()?.t()?;
        let (tensor, _) = linear_loss(&Loss::new(Dft), &hidden, &frozen, &batch, None)?;
        let gradients = tensor.backward()?;
        assert!(gradients.get(&frozen).is_none());
        assert_near(
            &numbers(gradients.get(&hidden).unwrap())?,
            &numbers(composed.get(&wide[0]).unwrap())?,
            within,
        );
        let (tensor, report) =
            linear_loss(&Loss::new(Dft), &hidden.detach(), &frozen, &batch, None)?;
        assert!(!tensor.track_op() && (report.loss - expected.loss).abs() < 1e-6);
    }
    Ok(())
}

#[test]
fn the_drop_in() -> Result<()> {
    let logits = random(&[3, 4], 8)?;
    for targets in
        [Tensor::new(&[2_u32, 0, 3], &Device::Cpu)?, Tensor::new(&[2_i64, 0, 3], &Device::Cpu)?]
    {
        let (ours, own) =
            (cross_entropy(&logits, &targets)?, candle_nn::loss::cross_entropy(&logits, &targets)?);
        assert!((ours.to_scalar::<f32>()? - own.to_scalar::<f32>()?).abs() < 1e-6);
        assert_eq!(ids(&targets)?, [2, 0, 3]);
    }
    Ok(())
}

#[test]
fn what_is_refused_says_why() -> Result<()> {
    let batch = Batch::new(&[0, 1, 2]);
    let error = |result: Result<(Tensor, surprisal::LossReport)>| result.unwrap_err().to_string();
    let z = random(&[3, 4], 9)?;
    let wrong = error(loss(&Loss::new(Sft), &random(&[2, 4], 9)?, &batch));
    assert!(wrong.contains("targets"), "{wrong}");
    assert!(error(loss(&Loss::new(Sft), &z.narrow(1, 0, 2)?, &batch)).contains("target"));
    assert!(error(loss(&Loss::new(Sft), &z.to_dtype(DType::F64)?, &batch)).contains("F64"));
    let variable = Var::from_tensor(&z)?;
    let before = numbers(&variable)?;
    assert!(
        error(loss_in_place(&Loss::new(Sft), variable.as_tensor().clone(), &batch))
            .contains("variable")
    );
    let same = z.affine(1.0, 0.0)?;
    let targets = Batch::new(&[0, 1, 9]);
    assert!(error(loss_in_place(&Loss::new(Sft), same.clone(), &targets)).contains("target"));
    assert_eq!(numbers(&same)?, before);
    let mut short = [0.0; 2];
    assert!(loss_with(&Loss::new(Sft), &z, &batch, Outputs::new().nll(&mut short)).is_err());
    let weight = random(&[5, 4], 1)?;
    assert!(error(linear_loss(&Loss::new(Sft), &z, &weight, &batch, Some(3))).contains("budget"));
    assert!(linear_loss(&Loss::new(Sft), &random(&[3, 5], 1)?, &weight, &batch, None).is_err());
    assert!(
        error(loss(&Loss::new(Sft), &Tensor::new(1.0_f32, &Device::Cpu)?, &batch))
            .contains("dimension")
    );
    Ok(())
}
