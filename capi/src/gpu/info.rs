//! What devices there are.

use core::ffi::c_char;

use ::surprisal_gpu::{AdapterName, Gpu};

use super::context::surprisal_gpu;
use super::failure::{catch, finish, object};
use crate::detail::{surprisal_error_detail, write_text};
use crate::memory::Memory;
use crate::status::Failure;
use crate::status::surprisal_status::{self, SURPRISAL_ERROR_NO_DEVICE};
use crate::versioned::{Versioned, versioned};

/// What a device is. An output: begin with `SURPRISAL_GPU_INFO_INIT`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_gpu_info {
    /// `sizeof(surprisal_gpu_info)`.
    pub struct_size: usize,
    /// Its name, as the driver has it, cut where it is longer. Ends with NUL.
    pub name: [c_char; 128],
    /// The interface to it: `"vulkan"`, `"metal"`, `"dx12"`. Ends with NUL.
    pub backend: [c_char; 16],
    /// 1 where it computes on the CPU, else 0.
    pub is_software: i32,
    /// Zero.
    pub reserved: i32,
}

versioned!(surprisal_gpu_info: "info", surprisal_gpu_info {
    struct_size: size_of::<surprisal_gpu_info>(),
    name: [0; 128],
    backend: [0; 16],
    is_software: 0,
    reserved: 0,
});

impl From<&AdapterName> for surprisal_gpu_info {
    fn from(adapter: &AdapterName) -> Self {
        let mut info = Self { is_software: i32::from(adapter.is_software), ..Self::INIT };
        write_text(&mut info.name, &[&adapter.name]);
        write_text(&mut info.backend, &[&adapter.backend]);
        info
    }
}

/// Fills an info with its initial values, as `SURPRISAL_GPU_INFO_INIT` does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_info_init(
    info: *mut surprisal_gpu_info,
    struct_size: usize,
) -> surprisal_status {
    // SAFETY: the C caller passes `struct_size` bytes of its own.
    unsafe { surprisal_gpu_info::init(info, struct_size) }
}

/// Number of devices. GPUs come first, then what computes on the CPU. Asks the drivers anew each time.
#[unsafe(no_mangle)]
#[must_use]
pub extern "C" fn surprisal_gpu_count() -> usize {
    catch(|| Gpu::list().len()).unwrap_or(0)
}

/// What the device of an index is, which is below `surprisal_gpu_count()`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_describe(
    index: usize,
    info: *mut surprisal_gpu_info,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's struct.
        let info = unsafe { memory.write_struct(info) }?;
        memory.check()?;
        let list = Gpu::list();
        let missing = Failure::new(SURPRISAL_ERROR_NO_DEVICE, "index", "is not that of a device");
        let adapter = list.get(index).ok_or(missing.value(index as f64))?;
        info.write(adapter.into());
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// What the device of a context is.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_describe_context(
    gpu: *const surprisal_gpu,
    info: *mut surprisal_gpu_info,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's context and struct.
        let (gpu, info) = unsafe { (object("gpu", gpu)?, memory.write_struct(info)?) };
        memory.check()?;
        info.write(gpu.gpu.adapter().into());
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}
