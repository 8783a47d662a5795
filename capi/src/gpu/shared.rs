//! Buffers whose memory others open: another Vulkan device, CUDA, another process.

use super::buffer::surprisal_gpu_buffer;
use super::context::surprisal_gpu;
use super::failure::{DeviceFailure, finish};
use super::handle::{create, hand_over, object};
#[cfg(not(target_os = "linux"))]
use super::no_vulkan as vulkan;
#[cfg(target_os = "linux")]
use super::vulkan;
use crate::detail::surprisal_error_detail;
use crate::memory::Memory;
use crate::status::Failure;
use crate::status::surprisal_status::{self, SURPRISAL_ERROR_DEVICE_LIMIT, SURPRISAL_ERROR_EXTENT};

/// Memory of a device, as Vulkan and CUDA open it elsewhere. An output that needs no initial value; where it is an input, all
/// of it counts.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_gpu_memory {
    /// Bytes of the allocation: `VkMemoryAllocateInfo::allocationSize`, `cudaExternalMemoryHandleDesc::size`. It is not dedicated to a buffer or image.
    pub bytes: u64,
    /// `VkMemoryAllocateInfo::memoryTypeIndex`.
    pub memory_type: u32,
    /// The opaque file descriptor: `VK_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD_BIT`, `cudaExternalMemoryHandleTypeOpaqueFd`.
    pub fd: i32,
    /// `VkPhysicalDeviceIDProperties::deviceUUID`, `cudaDeviceProp::uuid`.
    pub device_uuid: [u8; 16],
    /// `VkPhysicalDeviceIDProperties::driverUUID`.
    pub driver_uuid: [u8; 16],
    /// Zero.
    pub reserved: [u64; 4],
}

/// Bytes that buffers are multiples of.
const PACKET: u64 = 16;

/// A size that the device has buffers of.
fn check_size(gpu: &surprisal_gpu, bytes: u64) -> Result<u64, Failure> {
    if bytes <= gpu.gpu.device().limits().max_buffer_size {
        return Ok(bytes);
    }
    let limit = Failure::new(SURPRISAL_ERROR_DEVICE_LIMIT, "bytes", "are beyond max_buffer_size");
    Err(limit.value(bytes as f64))
}

/// As `surprisal_gpu_buffer_create`, of memory that `surprisal_gpu_buffer_export` can export. On Linux with Vulkan, where the driver has
/// `VK_KHR_external_memory_fd`; elsewhere SURPRISAL_ERROR_DEVICE.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_buffer_create_shared(
    gpu: *const surprisal_gpu,
    bytes: usize,
    out: *mut *mut surprisal_gpu_buffer,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let make = |gpu: &surprisal_gpu| {
        let size = (bytes as u64).checked_next_multiple_of(PACKET).unwrap_or(u64::MAX);
        let size = check_size(gpu, size.max(PACKET))?;
        let (buffer, exported) = vulkan::create(&gpu.gpu, size)?;
        Ok(surprisal_gpu_buffer::new(gpu, buffer, bytes, Some(exported)))
    };
    // SAFETY: the C caller's context, pointer and struct.
    unsafe { create(gpu, out, detail, make) }
}

/// Says how others open the memory of a buffer of `surprisal_gpu_buffer_create_shared`; its first byte is that of the buffer.
///
/// Every call makes a descriptor, which belongs to the caller: who imports it takes it over, or the caller closes it. The memory lives as long as the
/// buffer or an import of it. Nobody orders the work of two devices: each side waits for its own work (`surprisal_gpu_pending_wait`, a fence,
/// `cudaStreamSynchronize`) before the other one begins.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_buffer_export(
    gpu: *const surprisal_gpu,
    buffer: *const surprisal_gpu_buffer,
    out: *mut surprisal_gpu_memory,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's objects and struct.
        let (gpu, buffer, out) = unsafe {
            let out = memory.output("out", out, 1)?;
            (object("gpu", gpu)?, object("buffer", buffer)?, out)
        };
        let checked = memory.check()?;
        buffer.check_of(gpu, "buffer")?;
        let message = "is not one of surprisal_gpu_buffer_create_shared";
        let exported = buffer.exported.as_ref().ok_or(Failure::option("buffer", message))?;
        out.get(&checked).fill(vulkan::export(&gpu.gpu, exported)?);
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Makes a buffer of memory that another context or Vulkan device has exported, from its first byte on. `surprisal_gpu_buffer_destroy` destroys it.
///
/// The descriptor must be that of an allocation with these `bytes` and this `memory_type`, on the device and driver of the UUIDs: no driver can check
/// that. When the call succeeds, it has taken the descriptor over; else that is still the caller's. Order as in `surprisal_gpu_buffer_export`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_buffer_import(
    gpu: *const surprisal_gpu,
    from: *const surprisal_gpu_memory,
    out: *mut *mut surprisal_gpu_buffer,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's context, struct and pointer.
        let (gpu, from, out) = unsafe {
            let from = memory.input_struct("from", from)?;
            (object("gpu", gpu)?, from, memory.output("out", out, 1)?)
        };
        let checked = memory.check()?;
        let size = check_import(gpu, &from)?;
        // SAFETY: the caller's promise.
        let buffer = unsafe { vulkan::import(&gpu.gpu, &from, size) }?;
        let bytes = usize::try_from(size).unwrap_or(usize::MAX);
        hand_over(out, &checked, surprisal_gpu_buffer::new(gpu, buffer, bytes, None));
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// The bytes that a buffer of this memory has.
fn check_import(gpu: &surprisal_gpu, from: &surprisal_gpu_memory) -> Result<u64, DeviceFailure> {
    if from.reserved != [0; 4] {
        return Err(Failure::option("from", "reserved is not 0").into());
    }
    if from.fd < 0 {
        return Err(Failure::option("fd", "is no file descriptor").value(from.fd.into()).into());
    }
    let size = from.bytes / PACKET * PACKET;
    if size == 0 {
        return Err(Failure::new(SURPRISAL_ERROR_EXTENT, "bytes", "are too few").into());
    }
    let device = vulkan::device_of(&gpu.gpu)?;
    if (from.device_uuid, from.driver_uuid) != device {
        return Err(Failure::option("from", "is memory of another device or driver").into());
    }
    Ok(check_size(gpu, size)?)
}
