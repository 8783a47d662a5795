//! What devices there are.

use core::ffi::c_char;

use ::surprisal_gpu::{AdapterName, Gpu};

use super::context::surprisal_gpu;
use super::failure::{catch, finish};
use super::handle::object;
use crate::detail::{surprisal_error_detail, write_text};
use crate::memory::Memory;
use crate::status::Failure;
use crate::status::surprisal_status::{self, SURPRISAL_ERROR_NO_DEVICE};

/// What a device is. An output that needs no initial value.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_gpu_info {
    /// Its name, as the driver has it, cut where it is longer. Ends with NUL.
    pub name: [c_char; 128],
    /// The interface to it: `"vulkan"`, `"metal"`, `"dx12"`. Ends with NUL.
    pub backend: [c_char; 16],
    /// 1 where it computes on the CPU, else 0.
    pub is_software: i32,
    /// Zero.
    pub reserved: [i32; 15],
}

impl From<&AdapterName> for surprisal_gpu_info {
    fn from(adapter: &AdapterName) -> Self {
        let is_software = i32::from(adapter.is_software);
        let mut info = Self { name: [0; 128], backend: [0; 16], is_software, reserved: [0; 15] };
        write_text(&mut info.name, &[&adapter.name]);
        write_text(&mut info.backend, &[&adapter.backend]);
        info
    }
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
        let info = unsafe { memory.output("info", info, 1) }?;
        let checked = memory.check()?;
        let list = Gpu::list();
        let missing = Failure::new(SURPRISAL_ERROR_NO_DEVICE, "index", "is not that of a device");
        let adapter = list.get(index).ok_or(missing.value(index as f64))?;
        info.get(&checked).fill(adapter.into());
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
        let (gpu, info) = unsafe { (object("gpu", gpu)?, memory.output("info", info, 1)?) };
        let checked = memory.check()?;
        info.get(&checked).fill(gpu.gpu.adapter().into());
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}
