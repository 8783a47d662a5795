//! What a step costs the host: the median of many calls on an idle device. Most commands are dropped when they are finished; of some the submission
//! is timed too.
//!
//! ```text
//! cargo run --release -p surprisal-gpu --example host_time -- 4096 1024
//! ```

use std::error::Error;
use std::time::Instant;

use surprisal::objective::{Builtin, Dft, TalrAuto};
use surprisal::{Batch, Loss};
use surprisal_gpu::{
    Column, DeviceBatch, Dtype, Gpu, Gradient, Matrix, Pipelines, Workspace, wgpu,
};

const CALLS: usize = 301;

fn main() -> Result<(), Box<dyn Error>> {
    let mut sizes = std::env::args().skip(1).map(|size| size.parse::<u32>());
    let rows = sizes.next().unwrap_or(Ok(4096))?;
    let vocab = sizes.next().unwrap_or(Ok(1024))? as usize;
    let gpu = Gpu::open()?;
    let (device, n) = (gpu.device(), rows as usize);
    let logits = gpu.buffer((n * vocab * 4) as u64)?;
    let targets = vec![1_i64; n];
    let (on_device, offsets) = (gpu.upload(&targets)?, gpu.upload(&[0, rows / 2, rows])?);
    let matrix = Matrix::new(&logits, Dtype::F32, n, vocab)?;
    let workspace = Workspace::new(device, rows)?;
    println!("{}: {rows} rows of {vocab}", gpu.adapter().name);
    for objective in [Builtin::from(Dft), TalrAuto::default().into()] {
        let pipelines = Pipelines::new(device, Loss::new(objective), Dtype::F32)?;
        let batch = DeviceBatch::new(Column::of_i64(&on_device, 0), rows);
        let batch = batch.sequences(Column::new(&offsets, 0), 2);
        let [record, finish, submit] = median(&gpu, |encoder| {
            let gradient = Gradient::InPlace;
            pipelines.forward_backward_with(encoder, matrix, &batch, gradient, &workspace).map(drop)
        })?;
        println!(
            "{:12} batch on the device: {record:.1} us, to finish {finish:.1}, to submit {submit:.1}",
            objective.name()
        );
        let start = Instant::now();
        for _ in 0..CALLS {
            pipelines.with_loss(Loss::new(objective))?;
        }
        let other = 1e6 * start.elapsed().as_secs_f64() / CALLS as f64;
        println!("{:12} another loss:        {other:.1} us", objective.name());
        let offsets = [0, rows / 2, rows];
        let batch = Batch::new(&targets).sequences(&offsets);
        let on_host = |encoder: &mut wgpu::CommandEncoder| {
            pipelines.forward_backward(encoder, matrix, &batch, Gradient::InPlace).map(drop)
        };
        match median(&gpu, on_host) {
            Ok([record, finish, submit]) => {
                println!(
                    "{:12} batch on the host:   {record:.1} us, to finish {finish:.1}, to submit {submit:.1}",
                    objective.name()
                );
            }
            Err(error) => println!("{:12} batch on the host:   {error}", objective.name()),
        }
    }
    Ok(())
}

/// Microseconds of recording, of finishing the encoder, and of submitting.
fn median(
    gpu: &Gpu,
    record: impl Fn(&mut wgpu::CommandEncoder) -> Result<(), surprisal_gpu::Error>,
) -> Result<[f64; 3], Box<dyn Error>> {
    let (mut recording, mut finishing, mut submitting) = (Vec::new(), Vec::new(), Vec::new());
    for call in 0..CALLS {
        let mut encoder =
            gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let start = Instant::now();
        record(&mut encoder)?;
        recording.push(start.elapsed());
        let start = Instant::now();
        let commands = encoder.finish();
        finishing.push(start.elapsed());
        if call % 20 == 0 {
            let start = Instant::now();
            gpu.queue().submit([commands]);
            submitting.push(start.elapsed());
            gpu.device().poll(wgpu::PollType::wait_indefinitely())?;
        }
    }
    let middle = |mut times: Vec<std::time::Duration>| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e6
    };
    Ok([recording, finishing, submitting].map(middle))
}
