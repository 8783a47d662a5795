//! Memory of a device.

use core::ffi::c_void;
use std::sync::Arc;

use ::surprisal_gpu::wgpu;

use super::context::{shared, surprisal_gpu};
use super::failure::finish;
use super::handle::{create, destroy, object};
#[cfg(not(target_os = "linux"))]
use super::no_vulkan::Exported;
#[cfg(target_os = "linux")]
use super::vulkan::Exported;
use crate::detail::surprisal_error_detail;
use crate::memory::Memory;
use crate::status::Failure;
use crate::status::surprisal_status::{self, SURPRISAL_ERROR_SHAPE};

/// Memory of a device: of the one whose context made it. Threads may share it if what one writes no other uses.
#[derive(Debug)]
pub struct surprisal_gpu_buffer {
    pub(super) buffer: wgpu::Buffer,
    /// As many as were asked for: the buffer is longer.
    pub(super) bytes: usize,
    /// That of the context.
    identity: Arc<()>,
    /// Its memory, if it can be exported.
    pub(super) exported: Option<Exported>,
}

const _: () = shared::<surprisal_gpu_buffer>();

impl surprisal_gpu_buffer {
    pub(super) fn new(
        gpu: &surprisal_gpu,
        buffer: wgpu::Buffer,
        bytes: usize,
        exported: Option<Exported>,
    ) -> Self {
        Self { buffer, bytes, identity: Arc::clone(&gpu.identity), exported }
    }

    /// Refuses a buffer of another context.
    pub(super) fn check_of(
        &self,
        gpu: &surprisal_gpu,
        argument: &'static str,
    ) -> Result<(), Failure> {
        if Arc::ptr_eq(&self.identity, &gpu.identity) {
            return Ok(());
        }
        Err(Failure::option(argument, "is a buffer of another context"))
    }

    /// The first byte of some of it.
    fn offset(&self, offset: usize, bytes: usize) -> Result<u64, Failure> {
        let inside = offset.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        let failure = Failure::new(SURPRISAL_ERROR_SHAPE, "bytes", "do not lie inside the buffer");
        if inside { Ok(offset as u64) } else { Err(failure.value(bytes as f64)) }
    }
}

/// Makes a buffer of so many bytes, all zero. `surprisal_gpu_buffer_destroy` destroys it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_buffer_create(
    gpu: *const surprisal_gpu,
    bytes: usize,
    out: *mut *mut surprisal_gpu_buffer,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let make = |gpu: &surprisal_gpu| {
        let buffer = gpu.gpu.checked(|| gpu.gpu.buffer(bytes as u64))?;
        Ok(surprisal_gpu_buffer::new(gpu, buffer, bytes, None))
    };
    // SAFETY: the C caller's context, pointer and struct.
    unsafe { create(gpu, out, detail, make) }
}

/// Destroys a buffer; NULL is fine, and so is a context that is closed already. No call may be using the buffer, and none may be given it
/// afterwards, a second destroy among them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn surprisal_gpu_buffer_destroy(buffer: *mut surprisal_gpu_buffer) {
    // SAFETY: made by `create`, and the C caller gives it up.
    unsafe { destroy(buffer) };
}

/// Copies `bytes` bytes to a buffer, from its byte `offset` on. Words of 4 bytes are fastest: one that is written in part is read first.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_upload(
    gpu: *const surprisal_gpu,
    buffer: *mut surprisal_gpu_buffer,
    offset: usize,
    data: *const c_void,
    bytes: usize,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's objects and array.
        let (gpu, buffer, data) = unsafe {
            let data = memory.input::<u8>("data", data.cast(), bytes)?;
            (object("gpu", gpu)?, object("buffer", buffer)?, data)
        };
        let checked = memory.check()?;
        buffer.check_of(gpu, "buffer")?;
        let offset = buffer.offset(offset, bytes)?;
        Ok(gpu.gpu.write(&buffer.buffer, offset, data.get(&checked))?)
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Waits for what the device is doing, and copies `bytes` bytes of a buffer, from its byte `offset` on, to `data`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_download(
    gpu: *const surprisal_gpu,
    buffer: *const surprisal_gpu_buffer,
    offset: usize,
    data: *mut c_void,
    bytes: usize,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's objects and array.
        let (gpu, buffer, data) = unsafe {
            let data = memory.output::<u8>("data", data.cast(), bytes)?;
            (object("gpu", gpu)?, object("buffer", buffer)?, data)
        };
        let checked = memory.check()?;
        buffer.check_of(gpu, "buffer")?;
        let offset = buffer.offset(offset, bytes)?;
        Ok(gpu.gpu.read(&buffer.buffer, offset, data.get(&checked))?)
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}
