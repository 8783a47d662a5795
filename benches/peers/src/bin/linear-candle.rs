//! candle's output layer and cross-entropy as a worker.

use candle_core::backprop::GradStore;
use candle_core::{D, DType, Device, Tensor, Var};
use candle_nn::ops;
use half::bf16;
use surprisal_peers::linear::{IGNORED, Operands, Setup};
use surprisal_peers::{Result, Worker, serve};

fn main() -> Result<()> {
    serve(|arguments| {
        let (setup, operands) = Setup::read(arguments)?;
        let (rows, d, vocab, device) = (setup.rows, setup.d, setup.vocab, Device::Cpu);
        let (hidden, weight) = match operands {
            Operands::F32(hidden, weight) => (
                Tensor::from_vec(hidden, (rows, d), &device)?,
                Tensor::from_vec(weight, (vocab, d), &device)?,
            ),
            Operands::Bf16(hidden, weight) => (
                Tensor::from_vec(hidden, (rows, d), &device)?,
                Tensor::from_vec(weight, (vocab, d), &device)?,
            ),
        };
        let hidden = Var::from_tensor(&hidden)?.into_inner();
        let weight =
            if setup.with_weight { Var::from_tensor(&weight)?.into_inner() } else { weight };
        // It has no index to ignore: such rows get a weight of 0.
        let kept = |&target: &i64| if target == IGNORED { 0.0_f32 } else { 1.0 };
        let count = setup.targets.iter().map(kept).sum::<f32>();
        let weights = setup.targets.iter().map(|target| kept(target) / count).collect();
        let weights = Tensor::from_vec(weights, rows, &device)?;
        let targets = setup.targets.iter().map(|&target| target.max(0)).collect();
        let targets = Tensor::from_vec::<_, i64>(targets, (rows, 1), &device)?;
        Ok(Box::new(Candle { setup, hidden, weight, targets, weights, gradients: None }))
    })
}

struct Candle {
    setup: Setup,
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    weights: Tensor,
    gradients: Option<GradStore>,
}

impl Candle {
    fn loss(&self) -> candle_core::Result<Tensor> {
        let logits = self.hidden.matmul(&self.weight.t()?)?;
        let log_p = ops::log_softmax(&logits, D::Minus1)?.gather(&self.targets, 1)?.squeeze(1)?;
        (log_p.to_dtype(DType::F32)? * &self.weights)?.sum_all()?.neg()
    }

    fn save(&self, name: &str, tensor: &Tensor) -> Result<()> {
        let gradient = self.gradients.as_ref().and_then(|gradients| gradients.get(tensor));
        let gradient = gradient.ok_or("no gradient")?.flatten_all()?;
        match gradient.dtype() {
            DType::BF16 => self.setup.save(name, &gradient.to_vec1::<bf16>()?),
            _ => self.setup.save(name, &gradient.to_vec1::<f32>()?),
        }
    }
}

impl Worker for Candle {
    fn prepare(&mut self, _what: &str) -> Result<()> {
        self.gradients = None;
        Ok(())
    }

    fn call(&mut self, _what: &str) -> Result<f64> {
        let loss = self.loss()?;
        self.gradients = Some(loss.backward()?);
        Ok(loss.to_dtype(DType::F64)?.to_scalar()?)
    }

    fn save(&self) -> Result<()> {
        self.save("dhidden", &self.hidden)?;
        if self.setup.with_weight { self.save("dweight", &self.weight) } else { Ok(()) }
    }
}
