//! The loss on a device that the library opens. `include/surprisal_gpu.h` is generated from this module and documents it.
//!
//! A call goes the way of those on the CPU: options are copied, addresses declared and checked, and the core checks the values before anything
//! reaches the device. Then wgpu works, which may panic: no call lets that through.

// The order of the header.
mod info;

mod context;

mod buffer;

mod matrix;

mod forward;

mod batch;

mod workspace;

mod submit;

mod pending;

mod shared;

mod compiled;
mod failure;
mod handle;
#[cfg(not(target_os = "linux"))]
mod no_vulkan;
mod rows;
#[cfg(target_os = "linux")]
mod vulkan;

pub use batch::*;
pub use buffer::*;
pub use context::*;
pub use forward::*;
pub use info::*;
pub use matrix::*;
pub use pending::*;
pub use shared::*;
pub use submit::*;
pub use workspace::*;
