//! What the output layer and its loss in one cost on a device, beside its bare products: shares of one interleaved run, median of the rounds.
//!
//! ```text
//! cargo run --release -p surprisal-gpu --example layer_cost -- [ROWS D VOCAB [CHUNK...]]
//! ```

use std::error::Error;
use std::time::Instant;

use surprisal::{Batch, Loss, objective::Dft};
use surprisal_gpu::{
    Dtype, Gemm, Gpu, Gradients, LinearLoss, LinearPipelines, Matrix, Operand, Scratch, wgpu,
};

const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let numbers: Result<Vec<usize>, _> = std::env::args().skip(1).map(|n| n.parse()).collect();
    let numbers = numbers?;
    let of = |index: usize, default: usize| numbers.get(index).copied().unwrap_or(default);
    let (rows, d, vocab) = (of(0, 512), of(1, 256), of(2, 8000));
    let chunks = numbers.get(3..).filter(|chunks| !chunks.is_empty());
    let chunks = chunks.map_or_else(|| vec![rows / 4, rows], <[usize]>::to_vec);

    let gpu = Gpu::open()?;
    let noise = |len: usize| (0..len).map(|i| (i * 7919 % 101) as f32 / 101.0 - 0.5).collect();
    let noise = |len: usize| -> Vec<f32> { noise(len) };
    let (h, w) = (gpu.upload(&noise(rows * d))?, gpu.upload(&noise(vocab * d))?);
    let buffer = |len: usize| gpu.buffer(4 * len as u64);
    let (dh, dw, z) = (buffer(rows * d)?, buffer(vocab * d)?, buffer(rows * vocab)?);
    let hidden = Matrix::new(&h, Dtype::F32, rows, d)?;
    let weight = Matrix::new(&w, Dtype::F32, vocab, d)?;
    let of_hidden = Matrix::new(&dh, Dtype::F32, rows, d)?;
    let of_weight = Matrix::new(&dw, Dtype::F32, vocab, d)?;
    let logits = Matrix::new(&z, Dtype::F32, rows, vocab)?;
    let pipelines = LinearPipelines::new(gpu.device(), Loss::new(Dft))?;
    let layer = LinearLoss::new(&pipelines, weight);
    let class = |row: usize| (row * 31 % vocab) as i64;
    let all: Vec<i64> = (0..rows).map(class).collect();
    let few: Vec<i64> = (0..rows).map(|row| if row % 10 < 7 { -100 } else { class(row) }).collect();

    let timed = |record: &dyn Fn(&mut wgpu::CommandEncoder)| -> Result<f64, Box<dyn Error>> {
        let mut encoder =
            gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        record(&mut encoder);
        let start = Instant::now();
        gpu.queue().submit([encoder.finish()]);
        gpu.device().poll(wgpu::PollType::wait_indefinitely())?;
        Ok(start.elapsed().as_secs_f64())
    };
    let products = |encoder: &mut wgpu::CommandEncoder| {
        let [h, w, dh, dw, z] = [hidden, weight, of_hidden, of_weight, logits].map(Operand::of);
        let gemm = pipelines.tiled();
        gemm.product(encoder, h, w.transposed(), 0.0, z);
        gemm.product(encoder, z.transposed(), h, 1.0, dw);
        gemm.product(encoder, z, w, 0.0, dh);
    };
    println!("{} rows x {} wide, {} classes on {}", rows, d, vocab, gpu.adapter().name);
    for chunk in chunks {
        let scratch = Scratch::new(gpu.device(), layer.memory(rows).len(chunk))?;
        let call = |encoder: &mut wgpu::CommandEncoder, targets: &[i64], is_frozen: bool| {
            let mut gradients = Gradients::new().hidden(of_hidden);
            if !is_frozen {
                gradients = gradients.weight(of_weight);
            }
            let batch = Batch::new(targets).ignore_index(-100);
            let call = layer.forward_backward(encoder, hidden, &batch, gradients, &scratch);
            assert!(call.is_ok(), "the call is right");
        };
        let mut times = [(); 4].map(|()| Vec::new());
        for _ in 0..ROUNDS {
            times[0].push(timed(&products)?);
            times[1].push(timed(&|encoder| call(encoder, &all, false))?);
            times[2].push(timed(&|encoder| call(encoder, &few, false))?);
            times[3].push(timed(&|encoder| call(encoder, &all, true))?);
        }
        let [bare, whole, ignored, frozen] = times.map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[ROUNDS / 2]
        });
        let flops = 6.0 * (rows * d * vocab) as f64;
        println!(
            "chunks of {chunk}: bare products {:.3} s ({:.1} GFLOP/s); the layer {:.2} of them, {:.2} with 70 % of the rows ignored, {:.2} with \
             frozen weights",
            bare,
            flops / bare / 1e9,
            whole / bare,
            ignored / bare,
            frozen / bare
        );
    }
    Ok(())
}
