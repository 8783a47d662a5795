//! Loss and backward pass beside candle's own: `cargo bench`.

#[path = "../../bench.rs"]
mod bench;

use bench::{Contestant, ROWS, VOCAB};
use candle_core::{Device, Result, Tensor, Var};
use surprisal::{Batch, Loss, objective::Dft};

type Function = fn(Tensor, &Tensor) -> Result<Tensor>;

fn dft(logits: Tensor, targets: &Tensor) -> Result<Tensor> {
    let ids = surprisal_candle::ids(targets)?;
    surprisal_candle::loss(&Loss::new(Dft), &logits, &Batch::new(&ids)).map(|(loss, _)| loss)
}

fn in_place(logits: Tensor, targets: &Tensor) -> Result<Tensor> {
    let ids = surprisal_candle::ids(targets)?;
    surprisal_candle::loss_in_place(&Loss::new(Dft), logits, &Batch::new(&ids))
        .map(|(loss, _)| loss)
}

fn drop_in(logits: Tensor, targets: &Tensor) -> Result<Tensor> {
    surprisal_candle::cross_entropy(&logits, targets)
}

fn own(logits: Tensor, targets: &Tensor) -> Result<Tensor> {
    candle_nn::loss::cross_entropy(&logits, targets)
}

fn contestants(dtype: &str) -> Vec<Contestant> {
    let shape = (ROWS, VOCAB);
    let logits = match dtype {
        "f32" => Tensor::from_vec(bench::logits().collect::<Vec<_>>(), shape, &Device::Cpu),
        _ => {
            let z = bench::logits().map(surprisal::bf16::from_f32);
            Tensor::from_vec(z.collect::<Vec<_>>(), shape, &Device::Cpu)
        }
    };
    // A model's output, not a variable, that needs a gradient: candle adds it up in a matrix of zeros.
    let logits = Var::from_tensor(&logits.unwrap()).unwrap();
    let targets: Vec<u32> = bench::targets().into_iter().map(|id| id as u32).collect();
    let targets = Tensor::new(targets, &Device::Cpu).unwrap();
    let contestants: [(_, Function); 4] = [
        ("surprisal dft", dft),
        ("surprisal dft in place", in_place),
        ("surprisal cross_entropy", drop_in),
        ("candle's own cross-entropy", own),
    ];
    let prepared = contestants.map(|(name, function)| -> Contestant {
        let (logits, targets) = (logits.clone(), targets.clone());
        let prepare = move || -> Box<dyn FnOnce()> {
            let z = match name {
                "surprisal dft in place" => logits.affine(1.0, 0.0).unwrap(),
                _ => logits.as_tensor().clone(),
            };
            let targets = targets.clone();
            Box::new(move || drop(function(z, &targets).unwrap().backward().unwrap()))
        };
        (name, Box::new(prepare))
    });
    prepared.into()
}

fn main() {
    bench::main("candle", contestants);
}
