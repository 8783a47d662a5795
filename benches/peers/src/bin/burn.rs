//! burn with its own CPU backend (Flex) as a worker.

use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig};
use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use surprisal_peers::{Logits, Result, Task, Worker, read_setup, serve};

fn main() -> Result<()> {
    serve(|arguments| {
        let (setup, logits) = read_setup(arguments)?;
        let shape = [setup.rows, setup.vocab];
        let (data, dtype) = match logits {
            Logits::F32(values) => (TensorData::new(values, shape), DType::F32),
            Logits::Bf16(values) => (TensorData::new(values, shape), DType::BF16),
        };
        let gradient = setup.task != Task::Forward;
        let device = if gradient { Device::flex().autodiff() } else { Device::flex() };
        let logits = Tensor::<2>::from_data(data, (&device, dtype));
        let targets: Vec<i32> = setup.targets.iter().map(|&target| target.cast_signed()).collect();
        let targets = TensorData::new(targets, [setup.rows]);
        Ok(Box::new(Burn {
            task: setup.task,
            loss: CrossEntropyLossConfig::new().init(&device),
            logits: if gradient { logits.require_grad() } else { logits },
            targets: Tensor::from_data(targets, (&device, DType::I32)),
            gradient: None,
        }))
    })
}

struct Burn {
    task: Task,
    loss: CrossEntropyLoss,
    logits: Tensor<2>,
    targets: Tensor<1, Int>,
    gradient: Option<Tensor<2>>,
}

impl Burn {
    fn loss(&self) -> Tensor<1> {
        let (logits, targets) = (self.logits.clone(), self.targets.clone());
        if self.task != Task::Dft {
            return self.loss.forward(logits, targets);
        }
        let log_p = log_softmax(logits, 1).gather(1, targets.unsqueeze_dim(1));
        (log_p.clone().detach().exp() * log_p).mean().neg()
    }
}

impl Worker for Burn {
    fn prepare(&mut self, _what: &str) -> Result<()> {
        self.gradient = None;
        Ok(())
    }

    fn call(&mut self, _what: &str) -> Result<f64> {
        let loss = self.loss();
        if self.task != Task::Forward {
            let mut gradients = loss.backward();
            self.gradient = Some(self.logits.grad_remove(&mut gradients).ok_or("no gradient")?);
        }
        Ok(loss.into_scalar::<f32>().into())
    }
}
