//! Objects of the library that the caller holds by a handle, which is their address.

use super::context::surprisal_gpu;
use super::failure::{DeviceFailure, catch, finish};
use crate::detail::surprisal_error_detail;
use crate::memory::{Checked, Memory, Output};
use crate::status::Failure;
use crate::status::surprisal_status::{self, SURPRISAL_ERROR_MISALIGNED};

/// The object of a handle.
///
/// # Safety
/// `handle` is NULL, or came from the library and is not destroyed before the end of `'call`.
pub(super) unsafe fn object<'call, T>(
    argument: &'static str,
    handle: *const T,
) -> Result<&'call T, Failure> {
    if !handle.is_aligned() {
        let message = "is no handle of this library";
        return Err(Failure::new(SURPRISAL_ERROR_MISALIGNED, argument, message));
    }
    // SAFETY: passed on.
    unsafe { handle.as_ref() }.ok_or_else(|| Failure::missing(argument))
}

/// Hands an object over.
pub(super) fn hand_over<T>(out: Output<'_, *mut T>, checked: &Checked, object: T) {
    out.get(checked).fill(Box::into_raw(Box::new(object)));
}

/// A call that makes an object of a context.
///
/// # Safety
/// `gpu` as [`object`], `out` as [`Memory::output`] for one element, `detail` as [`finish`].
pub(super) unsafe fn create<T>(
    gpu: *const surprisal_gpu,
    out: *mut *mut T,
    detail: *mut surprisal_error_detail,
    make: impl FnOnce(&surprisal_gpu) -> Result<T, DeviceFailure>,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: passed on.
        let (gpu, out) = unsafe { (object("gpu", gpu)?, memory.output("out", out, 1)?) };
        let checked = memory.check()?;
        hand_over(out, &checked, make(gpu)?);
        Ok(())
    };
    // SAFETY: passed on.
    unsafe { finish(detail, call) }
}

/// Destroys an object; NULL is fine.
///
/// # Safety
/// `handle` is NULL or came from [`hand_over`], and the caller gives it up.
pub(super) unsafe fn destroy<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: not NULL, and passed on. A panic of a driver that says goodbye has nobody to be told to.
        let _ = catch(|| drop(unsafe { Box::from_raw(handle) }));
    }
}
