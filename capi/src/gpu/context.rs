//! A device that has been opened.

use core::ffi::{CStr, c_char};
use std::sync::Arc;

use ::surprisal_gpu::{Error, Gpu};

use super::compiled::Compiled;
use super::failure::{DeviceFailure, finish};
use super::handle::{destroy, hand_over};
use crate::detail::surprisal_error_detail;
use crate::memory::Memory;
use crate::status::{Failure, surprisal_status};

/// A device that has been opened, and what was compiled for it. Threads may share it.
#[derive(Debug)]
pub struct surprisal_gpu {
    pub(super) gpu: Gpu,
    pub(super) compiled: Compiled,
    /// Tells contexts apart: wgpu numbers devices per instance, and each context has its own.
    pub(super) identity: Arc<()>,
}

/// Opens a device and hands its context over.
///
/// # Safety
/// As [`Memory::output`], for one element.
unsafe fn open(
    out: *mut *mut surprisal_gpu,
    mut memory: Memory,
    open: impl FnOnce() -> Result<Gpu, Error>,
) -> Result<(), DeviceFailure> {
    // SAFETY: passed on.
    let out = unsafe { memory.output("out", out, 1) }?;
    let checked = memory.check()?;
    let (compiled, identity) = (Compiled::default(), Arc::default());
    let context = surprisal_gpu { gpu: open()?, compiled, identity };
    hand_over(out, &checked, context);
    Ok(())
}

/// Opens the device of an index, which is below `surprisal_gpu_count()`; 0 is the first GPU. `surprisal_gpu_close` closes it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_open(
    index: usize,
    out: *mut *mut surprisal_gpu,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    // SAFETY: the C caller's pointer.
    let call = |memory| unsafe { open(out, memory, || Gpu::open_index(index)) };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Opens the first device whose name contains a text, whatever its case. `surprisal_gpu_close` closes it.
///
/// `name` ends with NUL.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_open_named(
    name: *const c_char,
    out: *mut *mut surprisal_gpu,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |memory| {
        if name.is_null() {
            return Err(Failure::missing("name").into());
        }
        // SAFETY: not NULL, and the caller's text ends with NUL.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        // SAFETY: the C caller's pointer.
        unsafe { open(out, memory, || Gpu::open_named(&name)) }
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Closes a device; NULL is fine. No call may be running on the context, and none may be made with it afterwards, a second close among them.
/// Its buffers remain to be destroyed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn surprisal_gpu_close(gpu: *mut surprisal_gpu) {
    // SAFETY: made by `open`, and the C caller gives it up.
    unsafe { destroy(gpu) };
}

/// Threads share a context, and its buffers.
pub(super) const fn shared<T: Send + Sync>() {}
const _: () = shared::<surprisal_gpu>();
