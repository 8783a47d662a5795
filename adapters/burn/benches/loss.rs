//! Loss and backward pass beside burn's own: `cargo bench`.

#[path = "../../bench.rs"]
mod bench;

use bench::{Contestant, ROWS, VOCAB};
use burn::nn::loss::CrossEntropyLossConfig;
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use surprisal::{Batch, Loss, objective::Dft};

type Function = fn(Tensor<2>, Tensor<1, Int>) -> Tensor<1>;

fn dft(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let ids = surprisal_burn::ids(targets).unwrap();
    surprisal_burn::loss(&Loss::new(Dft), logits, &Batch::new(&ids)).unwrap().0
}

fn own(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    CrossEntropyLossConfig::new().init(&logits.device()).forward(logits, targets)
}

fn contestants(dtype: &str) -> Vec<Contestant> {
    let device = Device::flex().autodiff();
    let shape = [ROWS, VOCAB];
    let (data, dtype) = match dtype {
        "f32" => (TensorData::new(bench::logits().collect::<Vec<f32>>(), shape), DType::F32),
        _ => {
            let z = bench::logits().map(surprisal::bf16::from_f32);
            (TensorData::new(z.collect::<Vec<_>>(), shape), DType::BF16)
        }
    };
    let logits = Tensor::<2>::from_data(data, (&device, dtype));
    let targets = Tensor::<1, Int>::from_data(&bench::targets()[..], &device);
    let contestants: [(_, Function, _); 4] = [
        ("surprisal dft", dft, true),
        ("surprisal dft in place", dft, false),
        ("surprisal cross_entropy", surprisal_burn::cross_entropy, true),
        ("burn's own cross-entropy", own, true),
    ];
    let prepared = contestants.map(|(name, function, is_kept)| -> Contestant {
        let (logits, targets) = (logits.clone(), targets.clone());
        let prepare = move || -> Box<dyn FnOnce()> {
            // Kept by others, or a copy that is moved.
            let mut z = logits.clone().detach();
            if !is_kept {
                z = z.mul_scalar(1.0);
            }
            let (z, targets) = (z.require_grad(), targets.clone());
            Box::new(move || drop(function(z, targets).backward()))
        };
        (name, Box::new(prepare))
    });
    prepared.into()
}

fn main() {
    bench::main("burn", contestants);
}
