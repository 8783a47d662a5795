//! The model: a small decoder-only transformer over bytes.
//!
//! Pre-norm blocks with RMS normalisation, learned positions, and squared ReLU in the feed-forward
//! layer. It ends before the output layer, which belongs to the loss: logits are never whole.

use crate::attention::PackedSoftmax;
use crate::pack::Tokens;
use crate::rng::Rng;
use candle_core::{D, Device, Result, Tensor, Var};
use std::collections::HashMap;

/// One logit per byte.
pub(crate) const VOCAB: usize = 256;

/// The sizes of the model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Config {
    /// Transformer blocks.
    pub(crate) layers: usize,
    /// Attention heads.
    pub(crate) heads: usize,
    /// Length of a token's vector.
    pub(crate) width: usize,
    /// Tokens in a row.
    pub(crate) context: usize,
}

/// Normalises each vector to unit mean square and scales it.
#[derive(Debug, Clone)]
struct RmsNorm(Var);

impl RmsNorm {
    /// `x / sqrt(mean(x²)) · scale`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mean_square = x.sqr()?.mean_keepdim(D::Minus1)?;
        x.broadcast_div(&(mean_square + 1e-6)?.sqrt()?)?.broadcast_mul(&self.0)
    }
}

/// One pre-norm block.
#[derive(Debug, Clone)]
struct Block {
    norm_attention: RmsNorm,
    qkv: Var,
    out: Var,
    norm_feed: RmsNorm,
    up: Var,
    down: Var,
}

/// The model and its variables.
#[derive(Debug, Clone)]
pub(crate) struct Transformer {
    config: Config,
    embedding: Var,
    positions: Var,
    blocks: Vec<Block>,
    norm: RmsNorm,
    head: Var,
    named: Vec<(String, Var)>,
}

/// What a model remembers of texts that it reads a byte at a time: keys and values of each block, `[rows, heads, bytes, width / heads]`.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    blocks: Vec<(Tensor, Tensor)>,
    read: u32,
}

/// Where the variables come from: drawn, or copied from tensors of the same names.
enum Source<'a> {
    Drawn(Rng),
    Copied(&'a HashMap<String, Tensor>),
}

/// Collects the variables under their names while the model is put together.
struct Weights<'a> {
    source: Source<'a>,
    named: Vec<(String, Var)>,
}

impl Weights<'_> {
    /// A matrix, drawn with standard deviation `scale`.
    fn matrix(&mut self, name: String, rows: usize, columns: usize, scale: f32) -> Result<Var> {
        let fresh = match &mut self.source {
            Source::Drawn(rng) => {
                let values: Vec<f32> = (0..rows * columns).map(|_| scale * rng.normal()).collect();
                Tensor::from_vec(values, (rows, columns), &Device::Cpu)?
            }
            Source::Copied(tensors) => copy_of(tensors, &name, &[rows, columns])?,
        };
        self.keep(name, &fresh)
    }

    /// The scale of a normalisation, which begins at 1.
    fn scale(&mut self, name: String, width: usize) -> Result<RmsNorm> {
        let fresh = match &mut self.source {
            Source::Drawn(_) => Tensor::ones(width, candle_core::DType::F32, &Device::Cpu)?,
            Source::Copied(tensors) => copy_of(tensors, &name, &[width])?,
        };
        self.keep(name, &fresh).map(RmsNorm)
    }

    /// Makes a variable of a tensor that nobody else holds, and remembers its name.
    fn keep(&mut self, name: String, fresh: &Tensor) -> Result<Var> {
        let var = Var::from_tensor(fresh)?;
        self.named.push((name, var.clone()));
        Ok(var)
    }
}

/// A detached copy of the tensor called `name`, whose shape is checked.
fn copy_of(tensors: &HashMap<String, Tensor>, name: &str, shape: &[usize]) -> Result<Tensor> {
    match tensors.get(name) {
        Some(tensor) if tensor.dims() == shape => tensor.detach().copy(),
        Some(tensor) => candle_core::bail!("{name} has shape {:?}, not {shape:?}", tensor.dims()),
        None => candle_core::bail!("{name} is missing"),
    }
}

impl Transformer {
    /// A new model with random weights.
    pub(crate) fn random(config: Config, seed: u64) -> Result<Self> {
        Self::build(config, Source::Drawn(Rng::new(seed, "weights")))
    }

    /// A model with the weights given. They are copied: training it leaves the tensors as they were.
    pub(crate) fn from_tensors(config: Config, tensors: &HashMap<String, Tensor>) -> Result<Self> {
        Self::build(config, Source::Copied(tensors))
    }

    /// Puts the model together.
    fn build(config: Config, source: Source<'_>) -> Result<Self> {
        let mut weights = Weights { source, named: Vec::new() };
        let (width, inner) = (config.width, 4 * config.width);
        let scale = |fan_in: usize| (fan_in as f32).sqrt().recip();
        // Each block adds to the residual stream twice; smaller outputs keep its size in check.
        let residual = |fan_in: usize| scale(fan_in) / (2.0 * config.layers as f32).sqrt();
        let embedding = weights.matrix("embedding".into(), VOCAB, width, 0.1)?;
        let positions = weights.matrix("positions".into(), config.context, width, 0.1)?;
        let mut blocks = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            let name = |part: &str| format!("block.{layer}.{part}");
            blocks.push(Block {
                norm_attention: weights.scale(name("norm_attention"), width)?,
                qkv: weights.matrix(name("qkv"), width, 3 * width, scale(width))?,
                out: weights.matrix(name("out"), width, width, residual(width))?,
                norm_feed: weights.scale(name("norm_feed"), width)?,
                up: weights.matrix(name("up"), width, inner, scale(width))?,
                down: weights.matrix(name("down"), inner, width, residual(inner))?,
            });
        }
        let norm = weights.scale("norm".into(), width)?;
        let head = weights.matrix("head".into(), width, VOCAB, 0.5 * scale(width))?;
        Ok(Self { config, embedding, positions, blocks, norm, head, named: weights.named })
    }

    /// The variables, for the optimiser.
    pub(crate) fn variables(&self) -> Vec<Var> {
        self.named.iter().map(|(_, var)| var.clone()).collect()
    }

    /// The matrices of the blocks, for adapters.
    pub(crate) fn block_matrices(&self) -> Vec<Var> {
        let of = |block: &Block| {
            let Block { qkv, out, up, down, .. } = block;
            [qkv, out, up, down].map(Var::clone)
        };
        self.blocks.iter().flat_map(of).collect()
    }

    /// The weights by name, cut off from the graph.
    pub(crate) fn tensors(&self) -> HashMap<String, Tensor> {
        self.named.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect()
    }

    /// The weights of the output layer, `[width, VOCAB]`.
    pub(crate) fn head(&self) -> &Tensor {
        &self.head
    }

    /// The hidden state of every token, `[rows * context, width]`, which the output layer makes logits of.
    pub(crate) fn forward(&self, tokens: &Tokens) -> Result<Tensor> {
        let count = tokens.inputs.len();
        let inputs = Tensor::from_slice(&tokens.inputs, count, &Device::Cpu)?;
        let positions = Tensor::from_slice(&tokens.positions, count, &Device::Cpu)?;
        let mut x = (self.embedding.index_select(&inputs, 0)?
            + self.positions.index_select(&positions, 0)?)?;
        for block in &self.blocks {
            x = (&x + self.attend(block, &block.norm_attention.forward(&x)?, tokens)?)?;
            let up = block.norm_feed.forward(&x)?.matmul(&block.up)?.relu()?.sqr()?;
            x = (x + up.matmul(&block.down)?)?;
        }
        self.norm.forward(&x)
    }

    /// The hidden state of the next byte of several texts, `[rows, width]`, without a way back: what [`Transformer::forward`] gives there.
    pub(crate) fn read(&self, bytes: &[u8], memory: &mut Memory) -> Result<Tensor> {
        let rows = bytes.len();
        let inputs: Vec<u32> = bytes.iter().map(|&byte| u32::from(byte)).collect();
        let inputs = Tensor::from_slice(&inputs, rows, &Device::Cpu)?;
        let position = Tensor::from_slice(&[memory.read], 1, &Device::Cpu)?;
        let place = self.positions.detach().index_select(&position, 0)?;
        let mut x = self.embedding.detach().index_select(&inputs, 0)?.broadcast_add(&place)?;
        for (index, block) in self.blocks.iter().enumerate() {
            x = (&x + self.recall(block, &block.norm_attention.forward(&x)?, memory, index)?)?;
            let up = block.norm_feed.forward(&x)?.matmul(&block.up)?.relu()?.sqr()?;
            x = (x + up.matmul(&block.down)?)?.detach();
        }
        memory.read += 1;
        Ok(self.norm.forward(&x)?.detach())
    }

    /// Attention of one byte a row to what was read before, and to itself.
    fn recall(
        &self,
        block: &Block,
        x: &Tensor,
        memory: &mut Memory,
        index: usize,
    ) -> Result<Tensor> {
        let Config { heads, width, .. } = self.config;
        let rows = x.dim(0)?;
        let qkv = x.matmul(&block.qkv)?.detach().reshape((rows, 3, heads, 1, width / heads))?;
        let part = |index: usize| qkv.narrow(1, index, 1)?.squeeze(1)?.contiguous();
        let (query, mut key, mut value) = (part(0)?, part(1)?, part(2)?);
        if let Some((keys, values)) = memory.blocks.get(index) {
            (key, value) = (Tensor::cat(&[keys, &key], 2)?, Tensor::cat(&[values, &value], 2)?);
        }
        let query = (query * ((width / heads) as f64).sqrt().recip())?;
        let scores = query.matmul(&key.transpose(2, 3)?)?;
        let weights = candle_nn::ops::softmax_last_dim(&scores)?;
        let seen = weights.matmul(&value)?.reshape((rows, width))?.matmul(&block.out);
        if index < memory.blocks.len() {
            memory.blocks[index] = (key, value);
        } else {
            memory.blocks.push((key, value));
        }
        seen
    }

    /// Causal self-attention within each packed sequence.
    fn attend(&self, block: &Block, x: &Tensor, tokens: &Tokens) -> Result<Tensor> {
        let Config { heads, width, .. } = self.config;
        let (rows, context) = (tokens.rows, tokens.context);
        let qkv = x.matmul(&block.qkv)?.reshape((rows, context, 3, heads, width / heads))?;
        let part =
            |index: usize| qkv.narrow(2, index, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous();
        let (query, key, value) = (part(0)?, part(1)?, part(2)?);
        let query = (query * ((width / heads) as f64).sqrt().recip())?;
        let softmax = PackedSoftmax { positions: tokens.positions.clone(), heads, context };
        let weights = query.matmul(&key.transpose(2, 3)?)?.apply_op1(softmax)?;
        weights
            .matmul(&value)?
            .transpose(1, 2)?
            .reshape((rows * context, width))?
            .matmul(&block.out)
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Memory, Transformer};
    use crate::data::{Sample, sequences};
    use crate::pack::in_order;
    use candle_core::Result;

    const SMALL: Config = Config { layers: 2, heads: 2, width: 16, context: 24 };

    #[test]
    fn a_packed_sequence_has_the_hidden_states_it_has_alone() -> Result<()> {
        let model = Transformer::random(SMALL, 1)?;
        let first = sequences(&Sample::text("abcdef".into()), 24);
        let second = sequences(&Sample::text("xyz".into()), 24);
        let alone = model.forward(&in_order(&second, 1, 24, 1)[0])?.narrow(0, 0, 4)?;
        let both = [first, second].concat();
        let packed = model.forward(&in_order(&both, 1, 24, 1)[0])?.narrow(0, 7, 4)?;
        let gap = (alone - packed)?.abs()?.max_all()?.to_scalar::<f32>()?;
        assert!(gap < 1e-5, "{gap}");
        Ok(())
    }

    #[test]
    fn a_text_read_byte_by_byte_has_the_hidden_states_it_has_as_a_whole() -> Result<()> {
        let model = Transformer::random(SMALL, 1)?;
        let texts = ["abcdef", "uvwxyz"].map(|text| Sample::text(text.into()));
        let cut: Vec<_> = texts.iter().flat_map(|text| sequences(text, 7)).collect();
        let whole = model.forward(&in_order(&cut, 2, 7, 1)[0])?.reshape((2, 7, 16))?;
        let mut memory = Memory::default();
        for place in 0..7 {
            let bytes: Vec<u8> = cut.iter().map(|text| text.inputs[place]).collect();
            let read = model.read(&bytes, &mut memory)?;
            let expected = whole.narrow(1, place, 1)?.squeeze(1)?;
            let gap = (read - expected)?.abs()?.max_all()?.to_scalar::<f32>()?;
            assert!(gap < 1e-5, "byte {place}: {gap}");
        }
        Ok(())
    }

    #[test]
    fn a_copy_is_equal_and_independent() -> Result<()> {
        let model = Transformer::random(SMALL, 1)?;
        let copy = Transformer::from_tensors(SMALL, &model.tensors())?;
        let batch = &in_order(&sequences(&Sample::text("abc".into()), 24), 1, 24, 1)[0];
        let before = model.forward(batch)?.sum_all()?.to_scalar::<f32>()?;
        assert_eq!(before.to_bits(), copy.forward(batch)?.sum_all()?.to_scalar::<f32>()?.to_bits());
        copy.norm.0.set(&copy.norm.0.zeros_like()?)?;
        assert_eq!(
            before.to_bits(),
            model.forward(batch)?.sum_all()?.to_scalar::<f32>()?.to_bits()
        );
        Ok(())
    }
}
