//! The output layer and its loss in one: chunks of rows go through a scratch, and the logits are never whole.

mod chunks;
mod gemm;
mod gradients;
mod kernels;
mod layer;
mod pass;
mod pipelines;
mod scratch;
mod tiled;

pub use gemm::{Gemm, Operand};
pub use gradients::Gradients;
pub use layer::LinearLoss;
pub use pipelines::{LinearPipelines, linear_shader_sources};
pub use scratch::{Memory, Scratch, ScratchLen};
pub use tiled::Tiled;
