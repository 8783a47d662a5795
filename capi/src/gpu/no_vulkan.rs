//! Where memory cannot be shared by file descriptor.

use core::convert::Infallible;

use ::surprisal_gpu::Gpu;
use ::surprisal_gpu::wgpu::Buffer;

use super::failure::DeviceFailure;
use super::shared::surprisal_gpu_memory;
use crate::status::surprisal_status::SURPRISAL_ERROR_DEVICE;

/// There is none.
pub(super) type Exported = Infallible;

fn impossible<R>() -> Result<R, DeviceFailure> {
    let why = "memory is shared by file descriptors of Vulkan on Linux alone";
    Err(DeviceFailure::new(SURPRISAL_ERROR_DEVICE, why))
}

pub(super) fn device_of(_: &Gpu) -> Result<([u8; 16], [u8; 16]), DeviceFailure> {
    impossible()
}

pub(super) fn create(_: &Gpu, _: u64) -> Result<(Buffer, Exported), DeviceFailure> {
    impossible()
}

pub(super) fn export(_: &Gpu, exported: &Exported) -> Result<surprisal_gpu_memory, DeviceFailure> {
    match *exported {}
}

/// # Safety
/// None.
pub(super) unsafe fn import(
    _: &Gpu,
    _: &surprisal_gpu_memory,
    _: u64,
) -> Result<Buffer, DeviceFailure> {
    impossible()
}
