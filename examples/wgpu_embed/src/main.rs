//! How a wgpu program embeds the loss layer: its own matmul makes the logits, `surprisal_gpu` turns them into their gradient where they lie, its
//! own shader updates the weights. Logits, targets and gradient stay on the device for all steps; a step is one command buffer that creates no buffer
//! and waits for nothing. The host sees a report every tenth step, when it comes.
//!
//! ```text
//! cargo run --release -p surprisal-wgpu-embed                 # sft, then talr-auto, whose temperature the device finds in each batch
//! cargo run --release -p surprisal-wgpu-embed -- dft-sequence # any objective that asks for targets and sequences alone
//! ```
//!
//! The toy: a student of one linear layer learns which of 1003 classes a random linear teacher prefers, in sequences of 32 tokens.
//! Without a GPU (or a software driver like Mesa's lavapipe) there is nothing to do, which is a failure only with `SURPRISAL_REQUIRE_GPU=1`.

mod layer;

use std::error::Error;
use std::process::ExitCode;

use std::sync::{Arc, Mutex};

use crate::layer::{Layer, ROWS, VOCAB, WIDTH, buffer};
use surprisal::objective::Builtin;
use surprisal::{Batch, Logits, LogitsMut, Loss, LossReport, Outputs, OwnedWorkspace};
// The same wgpu as the library's, whatever version that is.
use surprisal_gpu::wgpu::util::DeviceExt;
use surprisal_gpu::{
    Column, DeviceBatch, Dtype, Error as GpuError, Gradient, Matrix, Pipelines, Workspace,
    read_buffer, wgpu,
};

const BATCHES: usize = 4;
const STEPS: usize = 100;
/// Steps between two reports.
const REPORT_EVERY: usize = 10;
/// Tokens of a sequence, the first of which is a prompt's and ignored.
const SEQUENCE: usize = 32;
const IGNORED: i64 = -100;

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

    let named: Vec<String> = std::env::args().skip(1).collect();
    let named =
        if named.is_empty() { ["sft", "talr-auto"].map(String::from).into() } else { named };
    let data = Data::new(&device)?;
    for name in named {
        let objective = Builtin::from_name(&name).ok_or_else(|| format!("no objective {name}"))?;
        // Compiles the shaders of this loss: once, not once a step.
        let pipelines = Pipelines::new(&device, Loss::new(objective), Dtype::F32)?;
        train(&device, &queue, &pipelines, &data)?;
    }
    Ok(())
}

/// Trains a layer from nothing, and compares with the CPU.
fn train(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    pipelines: &Pipelines<'_, Builtin>,
    data: &Data,
) -> Result<(), Box<dyn Error>> {
    let layer = Layer::new(device, &data.hidden);
    let workspace = Workspace::new(device, u32::try_from(ROWS)?)?;
    // A view of the program's own buffer.
    let logits = Matrix::new(&layer.logits, Dtype::F32, ROWS, VOCAB)?;
    let name = pipelines.loss().objective().name();
    let reports: Reports = Arc::default();
    for index in 0..=STEPS {
        let which = index % BATCHES;
        let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        layer.project(&mut encoder, which);
        let (batch, gradient) = (data.batch(which), Gradient::InPlace);
        let call =
            pipelines.forward_backward_with(&mut encoder, logits, &batch, gradient, &workspace)?;
        layer.descend(&mut encoder, which);
        let report = (index % REPORT_EVERY == 0).then(|| call.report(device, &mut encoder));
        queue.submit([encoder.finish()]);
        if let Some(report) = report {
            let reports = Arc::clone(&reports);
            report.then(move |report| show(&reports, name, index, report));
        }
        // Hands out what has come so far; does not wait.
        device.poll(wgpu::PollType::Poll)?;
    }
    device.poll(wgpu::PollType::wait_indefinitely())?;
    let reports = reports.lock().map_err(|_| "a report could not be shown")?;
    let nll: Vec<f64> = reports.iter().map(LossReport::mean_nll).collect();
    let learned = nll.first().zip(nll.last()).is_some_and(|(first, last)| last < first);
    if nll.len() != STEPS / REPORT_EVERY + 1 || !learned {
        return Err(format!("nothing was learned: {nll:?}").into());
    }
    check(device, queue, &layer, pipelines, data)
}

type Reports = Arc<Mutex<Vec<LossReport>>>;

/// A report that has come.
fn show(reports: &Reports, name: &str, step: usize, report: Result<LossReport, GpuError>) {
    match report {
        Ok(report) => {
            let tau = report.tau.map_or_else(String::new, |tau| format!("  tau {tau:.3}"));
            println!("step {step:4}  {name} {:.4}  nll {:.4}{tau}", report.loss, report.mean_nll());
            if let Ok(mut reports) = reports.lock() {
                reports.push(report);
            }
        }
        Err(error) => eprintln!("step {step}: {error}"),
    }
}

/// Compares loss and gradient of one more forward pass with the CPU library's, on the same logits.
fn check(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    layer: &Layer,
    pipelines: &Pipelines<'_, Builtin>,
    data: &Data,
) -> Result<(), Box<dyn Error>> {
    let logits = Matrix::new(&layer.logits, Dtype::F32, ROWS, VOCAB)?;
    let copy = buffer(device, "copy", &vec![0.0; ROWS * VOCAB]);
    let workspace = Workspace::new(device, u32::try_from(ROWS)?)?;
    let mut encoder = device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    layer.project(&mut encoder, 0);
    encoder.copy_buffer_to_buffer(&layer.logits, 0, &copy, 0, copy.size());
    let (batch, gradient) = (data.batch(0), Gradient::InPlace);
    let call =
        pipelines.forward_backward_with(&mut encoder, logits, &batch, gradient, &workspace)?;
    let report = call.report(device, &mut encoder);
    queue.submit([encoder.finish()]);

    let report = report.read(device)?;
    let floats = |buffer: &wgpu::Buffer| -> Result<Vec<f32>, surprisal_gpu::Error> {
        let bytes = read_buffer(device, queue, buffer, 0, (ROWS * VOCAB * 4) as u64)?;
        Ok(bytemuck::pod_collect_to_vec(&bytes))
    };
    let (logits, dlogits) = (floats(&copy)?, floats(&layer.logits)?);

    let mut expected = vec![0.0; ROWS * VOCAB];
    let batch = Batch::new(&data.targets[0]).ignore_index(IGNORED).sequences(&data.offsets);
    let on_cpu = pipelines.loss().forward_backward_with(
        Logits::new(&logits, ROWS, VOCAB)?,
        &batch,
        LogitsMut::new(&mut expected, ROWS, VOCAB)?,
        Outputs::new(),
        OwnedWorkspace::new().lend(ROWS, VOCAB),
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

/// Hidden states and what a teacher makes of them, batch by batch; what the loss needs of it is on the device.
struct Data {
    rows: u32,
    sequences: u32,
    hidden: Vec<Vec<f32>>,
    targets: Vec<Vec<i64>>,
    offsets: Vec<u32>,
    targets_on_device: Vec<wgpu::Buffer>,
    offsets_on_device: wgpu::Buffer,
}

impl Data {
    fn new(device: &wgpu::Device) -> Result<Self, Box<dyn Error>> {
        let mut state = 1_u64;
        // Uniform in [-1, 1), from the high bits of a linear congruential generator.
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1_u32 << 23) as f32 - 1.0
        };
        let teacher: Vec<f32> = (0..WIDTH * VOCAB).map(|_| random()).collect();
        let hidden: Vec<Vec<f32>> =
            (0..BATCHES).map(|_| (0..ROWS * WIDTH).map(|_| random()).collect()).collect();
        let targets_of = |hidden: &Vec<f32>| -> Vec<i64> {
            let target = |(row, hidden)| {
                if row % SEQUENCE == 0 { IGNORED } else { preferred(hidden, &teacher) }
            };
            hidden.chunks(WIDTH).enumerate().map(target).collect()
        };
        let targets: Vec<Vec<i64>> = hidden.iter().map(targets_of).collect();
        let offsets =
            (0..=ROWS).step_by(SEQUENCE).map(u32::try_from).collect::<Result<Vec<_>, _>>()?;
        let upload = |bytes: &[u8]| {
            device.create_buffer_init(&wgpu::util::BufferInitDescriptor {
                label: Some("batch"),
                contents: bytes,
                usage: wgpu::BufferUsages::STORAGE,
            })
        };
        Ok(Self {
            rows: u32::try_from(ROWS)?,
            sequences: u32::try_from(ROWS / SEQUENCE)?,
            targets_on_device: targets
                .iter()
                .map(|ids| upload(bytemuck::cast_slice(ids)))
                .collect(),
            offsets_on_device: upload(bytemuck::cast_slice(&offsets)),
            hidden,
            targets,
            offsets,
        })
    }

    fn batch(&self, which: usize) -> DeviceBatch<'_> {
        let targets = Column::of_i64(&self.targets_on_device[which], 0);
        DeviceBatch::new(targets, self.rows)
            .ignore_index(IGNORED)
            .sequences(Column::new(&self.offsets_on_device, 0), self.sequences)
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
