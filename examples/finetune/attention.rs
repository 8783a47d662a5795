//! The softmax of packed causal attention, as a custom op of its own.
//!
//! A token may look at itself and at what came before it in its own sequence: at the `position + 1`
//! keys that end with itself. Reading only those skips more than half of the work of masking with
//! −∞, and a mask tensor is never built.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use std::ops::Range;
use std::sync::Arc;

/// Softmax over the visible keys of each query; the weight of every other key is 0.
#[derive(Debug, Clone)]
pub(crate) struct PackedSoftmax {
    /// The place of each token within its sequence, `rows * context` of them.
    pub(crate) positions: Arc<Vec<u32>>,
    /// Attention heads: the scores are `[rows, heads, context, context]`.
    pub(crate) heads: usize,
    /// Tokens in a row.
    pub(crate) context: usize,
}

impl PackedSoftmax {
    /// The keys that query number `query` may look at, queries counted over rows, heads and tokens.
    fn visible(&self, query: usize) -> Range<usize> {
        let token = query % self.context;
        let row = query / (self.context * self.heads);
        let position = self.positions[row * self.context + token] as usize;
        token - position..token + 1
    }

    /// The gradient of the scores from that of the weights: `w · (g − Σ w g)` over the visible keys.
    fn gradient(&self, weights: &[f32], upstream: &[f32]) -> Vec<f32> {
        let mut gradient = vec![0.0; weights.len()];
        let rows = weights.chunks_exact(self.context).zip(upstream.chunks_exact(self.context));
        for (query, ((weights, upstream), out)) in
            rows.zip(gradient.chunks_exact_mut(self.context)).enumerate()
        {
            let keys = self.visible(query);
            let (weights, upstream, out) =
                (&weights[keys.clone()], &upstream[keys.clone()], &mut out[keys]);
            let inner: f32 = weights.iter().zip(upstream).map(|(w, g)| w * g).sum();
            for ((out, w), g) in out.iter_mut().zip(weights).zip(upstream) {
                *out = w * (g - inner);
            }
        }
        gradient
    }
}

impl CustomOp1 for PackedSoftmax {
    fn name(&self) -> &'static str {
        "packed-softmax"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let scores = contiguous(storage, layout)?;
        let mut weights = vec![0.0; scores.len()];
        let rows = scores.chunks_exact(self.context).zip(weights.chunks_exact_mut(self.context));
        for (query, (scores, weights)) in rows.enumerate() {
            let keys = self.visible(query);
            softmax(&scores[keys.clone()], &mut weights[keys]);
        }
        Ok((CpuStorage::F32(weights), layout.shape().clone()))
    }

    fn bwd(&self, _scores: &Tensor, weights: &Tensor, upstream: &Tensor) -> Result<Option<Tensor>> {
        let upstream = upstream.flatten_all()?.to_vec1::<f32>()?;
        let gradient = self.gradient(&weights.flatten_all()?.to_vec1::<f32>()?, &upstream);
        Tensor::from_vec(gradient, weights.shape(), weights.device()).map(Some)
    }
}

/// The numbers of a contiguous f32 tensor on the CPU.
fn contiguous<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&values[from..to]),
        _ => bail!("expected a contiguous f32 tensor"),
    }
}

/// Softmax of one slice into another.
fn softmax(scores: &[f32], weights: &mut [f32]) {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (weight, score) in weights.iter_mut().zip(scores) {
        *weight = (score - max).exp();
        sum += *weight;
    }
    weights.iter_mut().for_each(|weight| *weight /= sum);
}

#[cfg(test)]
mod tests {
    use super::PackedSoftmax;
    use candle_core::{Device, Result, Tensor, Var};
    use std::sync::Arc;

    /// Two sequences of two and three tokens in a row, one head.
    fn op() -> PackedSoftmax {
        PackedSoftmax { positions: Arc::new(vec![0, 1, 0, 1, 2]), heads: 1, context: 5 }
    }

    #[test]
    fn no_token_sees_the_future_or_another_sequence() -> Result<()> {
        let weights =
            Tensor::zeros((1, 1, 5, 5), candle_core::DType::F32, &Device::Cpu)?.apply_op1(op())?;
        let weights = weights.flatten_all()?.to_vec1::<f32>()?;
        let third = 1.0 / 3.0;
        let expected = [
            [1.0, 0.0, 0.0, 0.0, 0.0],
            [0.5, 0.5, 0.0, 0.0, 0.0],
            [0.0, 0.0, 1.0, 0.0, 0.0],
            [0.0, 0.0, 0.5, 0.5, 0.0],
            [0.0, 0.0, third, third, third],
        ];
        assert_eq!(weights, expected.concat());
        Ok(())
    }

    #[test]
    fn the_gradient_is_that_of_a_masked_softmax() -> Result<()> {
        let scores: Vec<f32> = (0u8..25).map(|n| (f32::from(n) * 0.7).sin()).collect();
        let scores = Var::from_vec(scores, (1, 1, 5, 5), &Device::Cpu)?;
        let probe = Tensor::from_vec(
            (0u8..25).map(|n| f32::from(n).cos()).collect(),
            (1, 1, 5, 5),
            &Device::Cpu,
        )?;
        let ours = (scores.apply_op1(op())? * &probe)?.sum_all()?.backward()?;
        let visible = op().cpu_mask()?;
        let masked = scores.broadcast_add(&visible)?;
        let theirs = (candle_nn::ops::softmax(&masked, 3)? * &probe)?.sum_all()?.backward()?;
        let (ours, theirs) =
            (ours.get(&scores).expect("ours"), theirs.get(&scores).expect("theirs"));
        let gap = (ours - theirs)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(gap < 1e-6, "{gap}");
        Ok(())
    }

    impl PackedSoftmax {
        /// The mask that the op stands for, to compare with: 0 where visible, very negative elsewhere.
        fn cpu_mask(&self) -> Result<Tensor> {
            let cell = |query: usize, key: usize| {
                if self.visible(query).contains(&key) { 0.0f32 } else { -1e9 }
            };
            let mask: Vec<f32> =
                (0..5).flat_map(|query| (0..5).map(move |key| cell(query, key))).collect();
            Tensor::from_vec(mask, (1, 1, 5, 5), &Device::Cpu)
        }
    }
}
