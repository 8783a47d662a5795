//! LoRA over the model's variables: `W = W₀ + s·B·A`, by `surprisal::params`.

use crate::model::Transformer;
use crate::rng::Rng;
use candle_core::backprop::GradStore;
use candle_core::{Device, Error, Result, Tensor, Var};
use surprisal::params::Lora;

/// The adapters of a model.
#[derive(Debug)]
pub(crate) struct Adapters(Vec<Adapter>);

#[derive(Debug)]
struct Adapter {
    shape: Lora,
    weight: Var,
    initial: Vec<f32>,
    a: Var,
    b: Var,
}

impl Adapters {
    /// One for each matrix of the blocks: A is drawn, B is 0.
    pub(crate) fn new(model: &Transformer, rank: usize, alpha: f64, seed: u64) -> Result<Self> {
        let rng = &mut Rng::new(seed, "lora");
        let mut adapters = Vec::new();
        for weight in model.block_matrices() {
            let (rows, columns) = weight.dims2()?;
            let shape = Lora { rows, columns, rank, scale: alpha / rank as f64 };
            let scale = (rank as f32).sqrt().recip();
            let a: Vec<f32> = (0..rank * columns).map(|_| scale * rng.normal()).collect();
            adapters.push(Adapter {
                shape,
                initial: numbers(&weight)?,
                weight,
                a: Var::from_vec(a, (rank, columns), &Device::Cpu)?,
                b: Var::zeros((rows, rank), candle_core::DType::F32, &Device::Cpu)?,
            });
        }
        Ok(Self(adapters))
    }

    /// What is trained in place of the model's variables.
    pub(crate) fn variables(&self) -> Vec<Var> {
        self.0.iter().flat_map(|adapter| [adapter.a.clone(), adapter.b.clone()]).collect()
    }

    /// Puts the gradients of the adapters beside those of the weights.
    pub(crate) fn differentiate(&self, gradients: &mut GradStore) -> Result<()> {
        for Adapter { shape, weight, a, b, .. } in &self.0 {
            let Some(of_weight) = gradients.get(weight) else { continue };
            let of_weight = numbers(of_weight)?;
            let (a_now, b_now) = (numbers(a)?, numbers(b)?);
            let (mut da, mut db) = (vec![0.0; a_now.len()], vec![0.0; b_now.len()]);
            shape
                .gradients(&of_weight, (&a_now, &mut da), (&b_now, &mut db))
                .map_err(Error::wrap)?;
            gradients.insert(a, Tensor::from_vec(da, a.shape(), &Device::Cpu)?);
            gradients.insert(b, Tensor::from_vec(db, b.shape(), &Device::Cpu)?);
        }
        Ok(())
    }

    /// Sets the model's weights to what the adapters make of them.
    pub(crate) fn merge(&self) -> Result<()> {
        for Adapter { shape, weight, initial, a, b } in &self.0 {
            let mut merged = initial.clone();
            shape.merge(&numbers(a)?, &numbers(b)?, &mut merged).map_err(Error::wrap)?;
            weight.set(&Tensor::from_vec(merged, weight.shape(), &Device::Cpu)?)?;
        }
        Ok(())
    }
}

/// The numbers of a tensor in its own order.
pub(crate) fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    tensor.flatten_all()?.to_vec1()
}

#[cfg(test)]
mod tests {
    use super::{Adapters, numbers};
    use crate::model::{Config, Transformer};
    use candle_core::Result;

    #[test]
    fn adapters_begin_where_the_model_is_and_move_it() -> Result<()> {
        let config = Config { layers: 1, heads: 2, width: 16, context: 16 };
        let model = Transformer::random(config, 1)?;
        let before: Vec<Vec<f32>> =
            model.block_matrices().iter().map(|weight| numbers(weight)).collect::<Result<_>>()?;
        let adapters = Adapters::new(&model, 2, 4.0, 1)?;
        adapters.merge()?;
        let weights = model.block_matrices();
        assert_eq!(weights.len(), 4);
        for (weight, before) in weights.iter().zip(&before) {
            assert_eq!(&numbers(weight)?, before, "B is 0");
        }
        adapters.0[0].b.set(&adapters.0[0].b.ones_like()?)?;
        adapters.merge()?;
        assert_ne!(numbers(&weights[0])?, before[0]);
        assert_eq!(numbers(&weights[1])?, before[1]);
        Ok(())
    }
}
