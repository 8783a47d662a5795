//! How a call on a device ends: with a failure that quotes the device, and never with a panic.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::surprisal_gpu::Error;
use surprisal::Argument;

use crate::detail::{finish_as, surprisal_error_detail, write_text};
use crate::memory::Memory;
use crate::status::Failure;
use crate::status::surprisal_status::{
    self, SURPRISAL_ERROR_DEVICE, SURPRISAL_ERROR_DEVICE_LIMIT, SURPRISAL_ERROR_NO_DEVICE,
    SURPRISAL_ERROR_SHAPE, SURPRISAL_ERROR_UNKNOWN,
};

/// Why a call on a device fails.
pub(super) struct DeviceFailure {
    failure: Failure,
    /// What the device says, in place of the failure's message.
    text: Option<String>,
}

impl DeviceFailure {
    pub(super) fn new(status: surprisal_status, text: &str) -> Self {
        // The texts of wgpu have many lines.
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Self { failure: Failure::new(status, "gpu", ""), text: Some(text) }
    }

    fn of_panic(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or_default();
        Self::new(SURPRISAL_ERROR_DEVICE, &format!("internal error: {text}"))
    }
}

impl AsRef<Failure> for DeviceFailure {
    fn as_ref(&self) -> &Failure {
        &self.failure
    }
}

impl From<Failure> for DeviceFailure {
    fn from(failure: Failure) -> Self {
        Self { failure, text: None }
    }
}

impl From<surprisal::Error> for DeviceFailure {
    fn from(error: surprisal::Error) -> Self {
        Failure::from(error).into()
    }
}

impl From<Error> for DeviceFailure {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Loss(error) => error.into(),
            Error::NoAdapter(_) => Self::new(SURPRISAL_ERROR_NO_DEVICE, &text),
            Error::Device(why) => Self::new(SURPRISAL_ERROR_DEVICE, &why),
            Error::Readback(_) => Self::new(SURPRISAL_ERROR_DEVICE, &text),
            Error::Limit { needed, .. } => {
                let Self { failure, text } = Self::new(SURPRISAL_ERROR_DEVICE_LIMIT, &text);
                Self { failure: failure.value(needed as f64), text }
            }
            Error::Buffer { name, message } => {
                Failure::new(SURPRISAL_ERROR_SHAPE, name, message).into()
            }
            Error::Refused { argument, index } => refused(argument).index(index).into(),
            _ => Self::new(SURPRISAL_ERROR_UNKNOWN, &text),
        }
    }
}

/// What is wrong with an entry that the device refused: what the core would say of it.
fn refused(argument: Argument) -> Failure {
    let error = match argument {
        Argument::Targets => surprisal::Error::Target { row: 0, target: 0 },
        Argument::Sequences => surprisal::Error::Sequences { index: 0, offset: 0 },
        Argument::Pairs => surprisal::Error::Pair { index: 0 },
        _ => surprisal::Error::Value { argument, index: 0, value: f64::NAN },
    };
    Failure::from(error).value(f64::NAN)
}

impl From<DeviceFailure> for surprisal_error_detail {
    fn from(failure: DeviceFailure) -> Self {
        let mut detail = Self::from(failure.failure);
        if let Some(text) = failure.text {
            write_text(&mut detail.message, &[failure.failure.argument, ": ", &text]);
        }
        detail
    }
}

/// Runs what may panic.
pub(super) fn catch<R>(call: impl FnOnce() -> R) -> Result<R, DeviceFailure> {
    // What a panic leaves half done is wgpu's, which goes on with it, or behind a lock.
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| DeviceFailure::of_panic(&*panic))
}

/// As [`crate::detail::finish`], for a call that may panic.
///
/// # Safety
/// As [`crate::detail::finish`].
pub(super) unsafe fn finish(
    detail: *mut surprisal_error_detail,
    call: impl FnOnce(Memory) -> Result<(), DeviceFailure>,
) -> surprisal_status {
    // SAFETY: passed on.
    unsafe { finish_as(detail, |memory| catch(|| call(memory))?) }
}
