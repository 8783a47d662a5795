//! candle as a worker.

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};
use candle_nn::{loss, ops};
use surprisal_peers::{Logits, Result, Task, Worker, read_setup, serve};

fn main() -> Result<()> {
    serve(|arguments| {
        let (setup, logits) = read_setup(arguments)?;
        let (shape, device) = ((setup.rows, setup.vocab), Device::Cpu);
        let logits = match logits {
            Logits::F32(values) => Tensor::from_vec(values, shape, &device)?,
            Logits::Bf16(values) => Tensor::from_vec(values, shape, &device)?,
        };
        let targets = Tensor::from_vec(setup.targets, setup.rows, &device)?;
        // Without a variable there is no graph.
        let logits = match setup.task {
            Task::Forward => logits,
            _ => Var::from_tensor(&logits)?.into_inner(),
        };
        Ok(Box::new(Candle { task: setup.task, logits, targets, gradients: None }))
    })
}

struct Candle {
    task: Task,
    logits: Tensor,
    targets: Tensor,
    gradients: Option<GradStore>,
}

impl Candle {
    fn loss(&self) -> candle_core::Result<Tensor> {
        if self.task != Task::Dft {
            return loss::cross_entropy(&self.logits, &self.targets);
        }
        let log_p = ops::log_softmax(&self.logits, 1)?.gather(&self.targets.unsqueeze(1)?, 1)?;
        (log_p.exp()?.detach() * log_p)?.mean_all()?.neg()
    }
}

impl Worker for Candle {
    fn prepare(&mut self, _what: &str) -> Result<()> {
        self.gradients = None;
        Ok(())
    }

    fn call(&mut self, _what: &str) -> Result<f64> {
        let loss = self.loss()?;
        if self.task != Task::Forward {
            let gradients = loss.backward()?;
            gradients.get(&self.logits).ok_or("no gradient")?;
            self.gradients = Some(gradients);
        }
        Ok(loss.to_dtype(DType::F64)?.to_scalar()?)
    }
}
