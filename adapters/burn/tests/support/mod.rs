//! What the tests on every device share.

#![allow(dead_code, reason = "not every program of tests uses all of it")]

use burn::tensor::{Tensor, TensorData};
use surprisal::{Batch, Pair};

pub(crate) const ROWS: usize = 12;
pub(crate) const VOCAB: usize = 37;

/// Numbers between −2 and 2.
pub(crate) fn data<const D: usize>(shape: [usize; D], seed: u64) -> TensorData {
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

pub(crate) fn targets() -> Vec<i64> {
    (0..ROWS as i64).map(|row| if row % 5 == 3 { -100 } else { row * 11 % VOCAB as i64 }).collect()
}

/// A batch that has something for every objective.
pub(crate) struct Inputs {
    pub(crate) targets: Vec<i64>,
    pub(crate) offsets: Vec<i64>,
    pub(crate) token_weights: Vec<f32>,
    pub(crate) ref_log_probs: Vec<f32>,
    pub(crate) old_log_probs: Vec<f32>,
    pub(crate) advantages: Vec<f32>,
    pub(crate) groups: Vec<u32>,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) keep: Vec<bool>,
}

impl Inputs {
    pub(crate) fn new() -> Self {
        let rows = |of: fn(f32) -> f32| (0..ROWS).map(|row| of(row as f32)).collect();
        let pair = |(chosen, rejected)| Pair { chosen, rejected };
        Self {
            targets: targets(),
            offsets: vec![0, 5, 9, ROWS as i64],
            token_weights: rows(|row| 0.5 + row % 3.0),
            ref_log_probs: rows(|row| -2.0 - 0.1 * row),
            old_log_probs: rows(|row| -4.0 + 0.2 * row),
            advantages: rows(|row| 1.5 - 0.25 * row),
            groups: (0..ROWS as u32).map(|row| row % 3).collect(),
            pairs: [(0, 1), (2, 1)].map(pair).into(),
            keep: vec![true, false, true],
        }
    }

    pub(crate) fn batch(&self) -> Batch<'_> {
        Batch::new(&self.targets)
            .ignore_index(-100)
            .sequences(&self.offsets)
            .token_weights(&self.token_weights)
            .ref_log_probs(&self.ref_log_probs)
            .old_log_probs(&self.old_log_probs)
            .advantages(&self.advantages)
            .groups(&self.groups)
            .pairs(&self.pairs)
            .keep(&self.keep)
    }
}

pub(crate) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().convert::<f64>().try_into_vec().unwrap()
}

#[track_caller]
pub(crate) fn assert_near(actual: &[f64], expected: &[f64], within: f64) {
    assert_eq!(actual.len(), expected.len());
    let size = expected.iter().fold(0.0, |size: f64, value| size.max(value.abs()));
    for (index, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        assert!((actual - expected).abs() <= within * size, "{index}: {actual}, not {expected}");
    }
}
