//! `surprisal` on any GPU: the same math as wgpu compute shaders, for Vulkan, Metal and DX12.
#![forbid(unsafe_code)]

mod call;
mod error;
mod host;
mod layout;
mod matrix;
mod pipelines;
mod shader;
mod sym;

pub use call::{Call, RowResults, read_buffer};
pub use error::Error;
pub use host::{AdapterName, Gpu, HostElement, HostOutcome};
pub use matrix::{Dtype, Matrix};
pub use pipelines::{Gradient, Pipelines};
pub use wgpu;
