//! How a wgpu program embeds the loss layer: its own matmul makes the logits, `surprisal_gpu` turns them into their gradient where they lie, its
//! own shader updates the weights. All of a step is one command buffer; the host sees nothing but a loss every few steps.
//!
//! ```text
//! cargo run --release -p surprisal-wgpu-embed            # sft
//! cargo run --release -p surprisal-wgpu-embed -- talr    # any per-token objective
//! ```
//!
//! The toy: a student of one linear layer learns which of 1003 classes a random linear teacher prefers.
//! Without a GPU (or a software driver like Mesa's lavapipe) there is nothing to do, which is a failure only with `SURPRISAL_REQUIRE_GPU=1`.

mod layer;

use std::error::Error;
use std::process::ExitCode;

use crate::layer::{Layer, ROWS, VOCAB, WIDTH, buffer};
use surprisal::objective::Builtin;
use surprisal::{Batch, Logits, LogitsMut, Loss};
// The same wgpu as the library's, whatever version that is.
use surprisal_gpu::{Call, Dtype, Gradient, Matrix, Pipelines, read_buffer, wgpu};

const BATCHES: usize = 4;
const STEPS: usize = 100;
/// Steps between two reads, which wait for the device.
const REPORT_EVERY: usize = 20;

fn main() -> ExitCode {
    let Some(adapter) = pollster::block_on(adapter()) else {
        let required = std::env::var_os("SURPRISAL_REQUIRE_GPU").is_some_and(|value| value == "1");
        println!("wgpu_embed: no adapter, nothing was run");
        return if required { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    };
    match run(&adapter) {
        Ok(()) => {
            println!("wgpu_embed: ok on {}", adapter.get_info().name);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("wgpu_embed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The best adapter. A program with a window asks for one that can draw to it.
async fn adapter() -> Option<wgpu::Adapter> {
    let descriptor = wgpu::InstanceDescriptor::new_without_display_handle_from_env();
    let options = wgpu::RequestAdapterOptions {
        power_preference: wgpu::PowerPreference::HighPerformance,
        ..wgpu::RequestAdapterOptions::default()
    };
    wgpu::Instance::new(descriptor).request_adapter(&options).await.ok()
}

fn run(adapter: &wgpu::Adapter) -> Result<(), Box<dyn Error>> {
    // The default limits do. Those of the adapter let larger matrices be bound at once, which the library else does in chunks of rows.
    let descriptor = wgpu::DeviceDescriptor {
        required_limits: adapter.limits(),
        ..wgpu::DeviceDescriptor::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor))?;

    let data = Data::new();
    let layer = Layer::new(&device, &data.hidden);

    // Compiles the shaders of this loss: once, not once a step.
    let name = std::env::args().nth(1).unwrap_or_else(|| "sft".to_owned());
    let objective = Builtin::from_name(&name).ok_or_else(|| format!("no objective {name}"))?;
    let pipelines = Pipelines::new(&device, Loss::new(objective), Dtype::F32)?;
    // A view of the program's own buffer.
    let logits = Matrix::new(&layer.logits, Dtype::F32, ROWS, VOCAB)?;

    let step = |index: usize| -> Result<Call, Box<dyn Error>> {
        let which = index % BATCHES;
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        layer.project(&mut encoder, which);
        // Targets are on the host, like everything of a few words a row; they are uploaded here.
        let batch = Batch::new(&data.targets[which]);
        let call = pipelines.forward_backward(&mut encoder, logits, &batch, Gradient::InPlace)?;
        layer.descend(&mut encoder, which);
        queue.submit([encoder.finish()]);
        Ok(call)
    };

    let (mut first, mut last) = (None, f64::NAN);
    for index in 0..=STEPS {
        let call = step(index)?;
        if index % REPORT_EVERY == 0 {
            // Losses of the rows stay on the device until they are asked for: only this waits.
            let results = call.read(&device, &queue)?;
            let batch = Batch::new(&data.targets[index % BATCHES]);
            let report = results.report(&pipelines, &batch, VOCAB)?;
            last = report.mean_nll();
            first.get_or_insert(last);
            println!("step {index:4}  {name} {:.4}  nll {last:.4}", report.loss);
        }
    }
    if first.is_none_or(|first| last.is_nan() || last >= first) {
        return Err("nothing was learned".into());
    }
    check(&device, &queue, &layer, &pipelines, &data)
}

/// Compares loss and gradient of one more forward pass with the CPU library's, on the same logits.
fn check(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    layer: &Layer,
    pipelines: &Pipelines<'_, Builtin>,
    data: &Data,
) -> Result<(), Box<dyn Error>> {
    let batch = Batch::new(&data.targets[0]);
    let logits = Matrix::new(&layer.logits, Dtype::F32, ROWS, VOCAB)?;
    let copy = buffer(device, "copy", &vec![0.0; ROWS * VOCAB]);
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    layer.project(&mut encoder, 0);
    encoder.copy_buffer_to_buffer(&layer.logits, 0, &copy, 0, copy.size());
    let call = pipelines.forward_backward(&mut encoder, logits, &batch, Gradient::InPlace)?;
    queue.submit([encoder.finish()]);

    let report = call.read(device, queue)?.report(pipelines, &batch, VOCAB)?;
    let floats = |buffer: &wgpu::Buffer| -> Result<Vec<f32>, surprisal_gpu::Error> {
        let bytes = read_buffer(device, queue, buffer, 0, (ROWS * VOCAB * 4) as u64)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    };
    let (logits, dlogits) = (floats(&copy)?, floats(&layer.logits)?);

    let mut expected = vec![0.0; ROWS * VOCAB];
    let on_cpu = pipelines.loss().forward_backward(
        Logits::new(&logits, ROWS, VOCAB)?,
        &batch,
        LogitsMut::new(&mut expected, ROWS, VOCAB)?,
    )?;
    let difference = (report.loss - on_cpu.loss).abs();
    if difference.is_nan() || difference > 1e-5 * (1.0 + on_cpu.loss.abs()) {
        return Err(format!("loss {} instead of {}", report.loss, on_cpu.loss).into());
    }
    // Every entry relative to itself, the target's too: WGSL allows exp an error of 3 + 2|x| ULP.
    for (index, (&actual, &expected)) in dlogits.iter().zip(&expected).enumerate() {
        let difference = (actual - expected).abs();
        if difference.is_nan() || difference > 4e-5 * expected.abs() + f32::MIN_POSITIVE {
            return Err(format!("dlogits[{index}] {actual} instead of {expected}").into());
        }
    }
    println!(
        "loss {:.6} as on the CPU, and so are {} entries of dlogits",
        report.loss,
        dlogits.len()
    );
    Ok(())
}

/// Hidden states and what a teacher makes of them, batch by batch.
struct Data {
    hidden: Vec<Vec<f32>>,
    targets: Vec<Vec<i64>>,
}

impl Data {
    fn new() -> Self {
        let mut state = 1_u64;
        // Uniform in [-1, 1), from the high bits of a linear congruential generator.
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
        };
        let teacher: Vec<f32> = (0..WIDTH * VOCAB).map(|_| random()).collect();
        let mut data = Self { hidden: Vec::new(), targets: Vec::new() };
        for _ in 0..BATCHES {
            let hidden: Vec<f32> = (0..ROWS * WIDTH).map(|_| random()).collect();
            data.targets.push(hidden.chunks(WIDTH).map(|row| preferred(row, &teacher)).collect());
            data.hidden.push(hidden);
        }
        data
    }
}

/// The class with the largest logit under the teacher.
fn preferred(hidden: &[f32], teacher: &[f32]) -> i64 {
    let logit = |class: usize| -> f32 {
        hidden.iter().enumerate().map(|(k, h)| h * teacher[k * VOCAB + class]).sum()
    };
    let best = (0..VOCAB).max_by(|&a, &b| logit(a).total_cmp(&logit(b)));
    best.and_then(|class| i64::try_from(class).ok()).unwrap_or_default()
}
