//! What shading languages leave open: bits of NaN, subnormals, rounding, the hyperbolic tangent, infinity times nothing.

use half::{bf16, f16};
use surprisal::objective::{Builtin, Sft, TokenTerm};
use surprisal::{Batch, Loss};
use surprisal_gpu::{Dtype, Gradient, HostElement, Matrix, Pipelines};
use surprisal_tests::cases::{Content, problem};
use surprisal_tests::problem::Problem;
use surprisal_tests::storage::Storage;
use surprisal_tests::tolerance::F16;

use crate::oracle::check;
use crate::ways::{Layout, WAYS, gpu, run, submit};

/// The bits of an element.
fn bits<T: HostElement>(value: T) -> u32 {
    bytemuck::bytes_of(&value).iter().rev().fold(0, |bits, &byte| bits << 8 | u32::from(byte))
}

/// The NaN of a type that everybody takes for one.
fn canonical(dtype: Dtype) -> u32 {
    match dtype {
        Dtype::F32 => 0x7fc0_0000,
        Dtype::Bf16 => 0x7fc0,
        Dtype::F16 => 0x7e00,
    }
}

/// The gradient by one call, as it lies in memory.
fn gradient<T: HostElement + Storage, G: HostElement + Storage>(problem: &Problem) -> Vec<G> {
    let logits: Vec<T> = problem.logits.iter().map(|&z| T::round(z)).collect();
    let mut dlogits = vec![G::round(9.0); logits.len()];
    let (rows, vocab, batch) = (problem.rows, problem.vocab, problem.batch());
    gpu()
        .forward_backward(&problem.loss(), &logits, rows, vocab, &batch, Some(&mut dlogits))
        .unwrap();
    dlogits
}

/// A coefficient that is NaN, with every bit of it set: cut to 16 bits it would be −0, or infinity.
fn of_nan_terms<T: HostElement + Storage>() {
    let (rows, vocab) = (3, 9);
    let logits: Vec<T> = (0..rows * vocab).map(|i| T::round(0.25 * (i % 7) as f32)).collect();
    let loss = Loss::new(Builtin::from(Sft));
    let (batch, pipelines) =
        (Batch::new(&[0, 4, 8]), Pipelines::new(gpu().device(), loss, T::DTYPE).unwrap());
    let (buffer, result) = (gpu().upload(&logits).unwrap(), gpu().upload(&logits).unwrap());
    let matrix = Matrix::new(&buffer, T::DTYPE, rows, vocab).unwrap();
    let outcome = gpu().forward_on(&pipelines, matrix, &batch).unwrap();
    let mut terms = vec![TokenTerm::default(); rows];
    terms[1].coef = f64::from_bits(i64::MAX.cast_unsigned());
    let to = Gradient::To(Matrix::new(&result, T::DTYPE, rows, vocab).unwrap());
    submit(|encoder| {
        pipelines.logits_grad(encoder, matrix, &batch, &outcome.stats, &terms, to).unwrap();
    });
    let mut dlogits = vec![T::round(9.0); rows * vocab];
    gpu().download(&result, &mut dlogits).unwrap();
    for (index, d) in dlogits.into_iter().enumerate() {
        let expected = if index / vocab == 1 { canonical(T::DTYPE) } else { 0 };
        assert_eq!(bits(d), expected, "{:?}: dlogits[{index}]", T::DTYPE);
    }
}

/// Logits that are NaN, with every bit set.
fn of_nan_logits<T: HostElement + Storage, G: HostElement + Storage>() {
    let mut logits = vec![0.5; 18];
    logits[10] = f32::from_bits(0x7fff_ffff);
    let problem = Problem::new(2, 9, logits, vec![3, 3]).objective(Sft.into());
    for (index, d) in gradient::<T, G>(&problem).into_iter().enumerate() {
        let (bits, is_invalid) = (bits(d), index >= 9);
        assert_eq!(bits == canonical(G::DTYPE), is_invalid, "dlogits[{index}] = {bits:#x}");
    }
}

pub(crate) fn nan_has_one_pattern() {
    of_nan_terms::<f32>();
    of_nan_terms::<bf16>();
    of_nan_terms::<f16>();
    of_nan_logits::<f32, f32>();
    of_nan_logits::<bf16, bf16>();
    of_nan_logits::<f16, f16>();
    of_nan_logits::<f32, bf16>();
    of_nan_logits::<f32, f16>();
}

/// Logits below the smallest normal number of f16, where only a scale makes them count. Devices may take subnormals of f32 for 0.
pub(crate) fn subnormal_logits_of_f16() {
    let mut problem = problem(4, 131, Content::Normal, 11).objective(Sft.into());
    problem.logits.iter_mut().for_each(|z| *z *= 1e-5);
    problem.extras.logit_scale = 3e5;
    check::<f16>(&problem, F16, Layout::PLAIN);
}

/// A gradient of 16 bits is the one of 32, rounded once to nearest: subnormal, normal and infinite.
pub(crate) fn results_are_rounded_to_nearest() {
    for grad_scale in [1.0, 1e-3, 1e-6, 3e5] {
        let mut problem = problem(40, 203, Content::Normal, 12).objective(Sft.into());
        problem.extras.grad_scale = grad_scale;
        let whole = gradient::<f32, f32>(&problem);
        let (upper, half) = (gradient::<f32, bf16>(&problem), gradient::<f32, f16>(&problem));
        for (index, d) in whole.into_iter().enumerate() {
            let found = (upper[index].to_bits(), half[index].to_bits());
            let expected = (bf16::from_f32(d).to_bits(), f16::from_f32(d).to_bits());
            assert_eq!(found, expected, "{d:e} at scale {grad_scale}");
        }
    }
}

/// A soft-cap far above the logits leaves them as they are: it must not add an error of its own size.
pub(crate) fn a_soft_cap_costs_no_digits() {
    for cap in [3.0, 30.0, 3000.0] {
        let mut problem = problem(20, 131, Content::Normal, 13).objective(Sft.into());
        problem.extras.softcap = Some(cap);
        let oracle = problem.oracle();
        for way in WAYS {
            let outcome = run::<f32>(&problem, way, Layout::PLAIN);
            for (actual, expected) in outcome.nll.iter().zip(&oracle.nll) {
                let near = (actual - expected).abs() <= 4e-6 * (1.0 + expected.abs());
                assert!(near, "{way:?}, cap {cap}: {actual} instead of {expected}");
            }
            for (actual, expected) in outcome.dlogits.iter().zip(&oracle.dlogits) {
                let near = (actual - expected).abs() <= 1e-5 * expected.abs() + 1e-30;
                assert!(near, "{way:?}, cap {cap}: {actual:e} instead of {expected:e}");
            }
        }
    }
}

/// Weights whose product leaves the range of f32: what has no probability gets nothing, not NaN.
pub(crate) fn infinity_times_nothing_is_nothing() {
    let logits = vec![0.0, -2000.0, 1.0, f32::NEG_INFINITY, 0.5];
    let mut problem = Problem::new(1, 5, logits, vec![0]).objective(Sft.into());
    problem.token_weights = Some(vec![1e30]);
    problem.extras.grad_scale = 1e30;
    for softcap in [None, Some(4.0)] {
        problem.extras.softcap = softcap;
        for way in WAYS {
            let dlogits = run::<f32>(&problem, way, Layout::PLAIN).dlogits;
            assert!(dlogits.iter().all(|d| !d.is_nan()), "{way:?}: {dlogits:?}");
            assert_eq!((dlogits[1], dlogits[3]), (0.0, 0.0), "{way:?}");
            assert!(dlogits[0] < -1e30 && dlogits[2] > 1e30, "{way:?}: {dlogits:?}");
        }
    }
}
