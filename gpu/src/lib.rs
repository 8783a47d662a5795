//! `surprisal` on any GPU: the same math as wgpu compute shaders, for Vulkan, Metal and DX12.
//!
//! Objectives, batches and options are those of [`surprisal`]; an objective's shader is generated from its one definition in Rust, also that of
//! your own. There are two ways in.
//!
//! A wgpu program embeds [`Pipelines`]: they record into its encoder, read the logits in its buffer, and leave the gradient there or elsewhere.
//! Nothing waits until a loss is read.
//!
//! ```no_run
//! use surprisal::{Batch, Loss, objective::Dft};
//! use surprisal_gpu::{Dtype, Gradient, Matrix, Pipelines, wgpu};
//!
//! # fn step(
//! #     (device, queue): (wgpu::Device, wgpu::Queue), mut encoder: wgpu::CommandEncoder,
//! #     buffer: wgpu::Buffer, rows: usize, vocab: usize, targets: &[i64],
//! # ) -> Result<(), surprisal_gpu::Error> {
//! let pipelines = Pipelines::new(&device, Loss::new(Dft), Dtype::Bf16)?; // once
//! let logits = Matrix::new(&buffer, Dtype::Bf16, rows, vocab)?; // your buffer
//! let batch = Batch::new(targets).ignore_index(-100);
//! let call = pipelines.forward_backward(&mut encoder, logits, &batch, Gradient::InPlace)?;
//! // ... record what uses the gradient, which is now in `buffer` ...
//! queue.submit([encoder.finish()]);
//! let report = call.read(&device, &queue)?.report(&pipelines, &batch, vocab)?; // waits
//! # Ok(())
//! # }
//! ```
//!
//! Tests and tools without a device of their own open a [`Gpu`] and pass slices:
//!
//! ```no_run
//! use surprisal::{Batch, Loss, objective::Dft};
//! use surprisal_gpu::Gpu;
//!
//! let (logits, mut dlogits) = ([1.0_f32, 2.0, 3.0], [0.0_f32; 3]);
//! let (loss, batch) = (Loss::new(Dft), Batch::new(&[2]));
//! let gpu = Gpu::open()?;
//! let outcome = gpu.forward_backward(&loss, &logits, 1, 3, &batch, Some(&mut dlogits))?;
//! println!("{} on {}", outcome.report.loss, gpu.adapter().name);
//! # Ok::<(), surprisal_gpu::Error>(())
//! ```
//!
//! # Batches on the device
//! Targets and side inputs may lie in buffers of the device: a [`DeviceBatch`]. The device then checks every entry, counts what the reduction divides
//! by, and runs the plan of a group objective; where an entry is out of range it writes no gradient. Nothing is waited for, and a step like the one
//! before creates no buffer. The report is a few words that are read when they have come, or never.
//!
//! ```no_run
//! use surprisal::{Loss, objective::TalrAuto};
//! use surprisal_gpu::{Column, DeviceBatch, Dtype, Gradient, Matrix, Pipelines, Workspace, wgpu};
//!
//! # fn step(
//! #     (device, queue): (wgpu::Device, wgpu::Queue), mut encoder: wgpu::CommandEncoder, logits: Matrix<'_>,
//! #     [targets, cu_seqlens]: [&wgpu::Buffer; 2], rows: u32, sequences: u32,
//! # ) -> Result<(), surprisal_gpu::Error> {
//! let pipelines = Pipelines::new(&device, Loss::new(TalrAuto::default()), Dtype::Bf16)?; // once
//! let workspace = Workspace::new(&device, rows)?; // once
//!
//! let batch = DeviceBatch::new(Column::new(targets, 0), rows).ignore_index(-100);
//! let batch = batch.sequences(Column::new(cu_seqlens, 0), sequences);
//! let gradient = Gradient::InPlace;
//! let call = pipelines.forward_backward_with(&mut encoder, logits, &batch, gradient, &workspace)?;
//! let report = call.report(&device, &mut encoder); // where somebody wants to know
//! queue.submit([encoder.finish()]);
//! report.then(|report| println!("{report:?}")); // a later `poll` of the device calls it
//! # Ok(())
//! # }
//! ```
//!
//! A batch on the host takes the same way: it is checked there, and what the kernels need of each row is uploaded with the call. Vocabulary shards and
//! chunks of rows have the stages apart: [`Pipelines::row_stats`], then [`Loss::token_terms`](surprisal::Loss::token_terms) on the host, then
//! [`Pipelines::logits_grad`].
//!
//! # The output layer
//! [`LinearLoss`] takes hidden states and the weights of the output layer in place of logits, which are then never whole: chunks of rows go through a
//! [`Scratch`]. Ignored rows are left out before the first product.
//!
//! ```text
//! H [rows × d] ─► rows that count ─► z = H·Wᵀ + bias ─► loss ─► dz, in place ─► dW += dzᵀ·H, dH = dz·W
//!                                    └───────────── one chunk at a time ────────────┘
//! ```
//!
//! ```no_run
//! use surprisal::{Batch, Loss, objective::Dft};
//! use surprisal_gpu::{Gradients, LinearLoss, LinearPipelines, Matrix, Scratch, wgpu};
//!
//! # fn step(
//! #     (device, queue): (wgpu::Device, wgpu::Queue), mut encoder: wgpu::CommandEncoder,
//! #     [hidden, weight, dhidden, dweight]: [Matrix<'_>; 4], rows: usize, vocab: usize, targets: &[i64],
//! # ) -> Result<(), surprisal_gpu::Error> {
//! let pipelines = LinearPipelines::new(&device, Loss::new(Dft))?; // once
//! let layer = LinearLoss::new(&pipelines, weight); // views of your buffers, of any types
//! let memory = layer.memory(rows);
//! let scratch = Scratch::new(&device, memory.len(memory.chunk_rows(256 << 20)))?; // once
//!
//! let batch = Batch::new(targets).ignore_index(-100);
//! let gradients = Gradients::new().hidden(dhidden).weight(dweight); // without `weight`: frozen
//! let call = layer.forward_backward(&mut encoder, hidden, &batch, gradients, &scratch)?;
//! queue.submit([encoder.finish()]);
//! let report = call.read(&device, &queue)?.report(pipelines.loss(), &batch, vocab)?; // waits
//! # Ok(())
//! # }
//! ```
//!
//! The products are those of [`Tiled`], which any device can make, or those of your own [`Gemm`]. Group objectives take three steps here:
//! [`LinearLoss::row_stats`], the host's, [`LinearLoss::backward`].
//!
//! # Cost
//! One exponential for each logit and one more for its gradient. Loss and gradient of a per-token objective read each logit once where the registers
//! of a workgroup hold the row: up to 32768 logits of f32 or 65536 of 16 bits on a device that was opened with 512 invocations a workgroup (half of
//! it with WebGPU's default of 256), the gradient in f32 or 16 bits as the logits, without label smoothing or entropy; otherwise twice. Group
//! objectives, fewer than 16 rows and rows that begin within a packet of 16 bytes go through the stages, which read twice.
//!
//! # Accuracy
//! Devices compute in f32, with their own exp and log: −ln p and every entry of the gradient within 8 times the bounds of the CPU
//! ([`surprisal::Loss`]), also where 1 − p is 1e-12: the target is left out of the sums. Entropy and Σp², which some objectives weigh by, are
//! within 1e-5 of themselves. Ratios of probabilities are limited to e^88. Results of a device are the same from run to run, but not the same
//! bits as those of another device or of the CPU.
//!
//! # Special values
//! Shading languages may assume that there are neither NaN nor infinities, so both are told by their bits, and rows are as on the CPU: ignored ones
//! have a gradient of 0, those without a softmax are NaN, an impossible target costs +∞ or nothing. Besides: losses beyond 1e12 count as infinite,
//! logits below −3e38 as −∞, ties that a soft-cap makes in f32 count as correct, and ln p of an impossible token is −1e18, so that weights which
//! grow with it stay finite. Every NaN of a gradient is the quiet one without a payload (0x7fc00000, 0x7fc0, 0x7e00); coefficients beyond the range of
//! f32 are limited to ±3e38.
//!
//! # Limits
//! Matrices of any size: rows are bound in parts where the device binds less (2 GiB, or 128 MiB on software). A row must fit one binding.
#![forbid(unsafe_code)]

// Tests name the crate as everybody does.
#[cfg(test)]
extern crate self as surprisal_gpu;

mod batch;
mod binder;
mod call;
mod device;
mod dispatch;
mod error;
#[cfg(test)]
mod export;
mod host;
mod layout;
mod linear;
mod matrix;
mod pipelines;
mod record;
mod recorder;
mod results;
mod rows;
mod shader;
mod sym;
#[cfg(test)]
mod trace;

pub use batch::{Column, DeviceBatch, DeviceCall, PendingReport, Workspace};
pub use call::{Call, read_buffer};
pub use device::{AdapterName, Gpu};
pub use error::Error;
pub use host::{DeviceOutcome, HostElement, HostOutcome};
pub use linear::{
    Gemm, Gradients, LinearLoss, LinearPipelines, Memory, Operand, Scratch, ScratchLen, Tiled,
    linear_shader_sources,
};
pub use matrix::{Dtype, Matrix};
pub use pipelines::Pipelines;
pub use record::Gradient;
pub use results::RowResults;
pub use shader::{Destination, batch_shader_source, shader_literals, shader_source};
pub use wgpu;
