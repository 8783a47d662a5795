//! What is wrong with a call, in the form that C sees: the end of every call.

use core::ffi::c_char;

use crate::memory::Memory;
use crate::status::Failure;
use crate::status::status_value;
use crate::status::surprisal_status::{self, SURPRISAL_ERROR_MISALIGNED, SURPRISAL_OK};

/// What is wrong with a call, if something is. An output that needs no initial value: every call writes it whole.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_error_detail {
    /// The status that the function returned.
    pub status: status_value,
    /// Zero.
    pub reserved: i32,
    /// Row, entry or pair that is wrong; -1 where there is none.
    pub index: i64,
    /// What was found there: the target, the entry, the option; NaN where an error has none.
    pub value: f64,
    /// The argument or option, by its name in the header: `"targets"`, `"label_smoothing"`. Ends with NUL.
    pub argument: [c_char; 32],
    /// What is wrong with it, in English: `"targets: outside the vocabulary"`. Ends with NUL.
    pub message: [c_char; 160],
}

impl surprisal_error_detail {
    /// Nothing is wrong.
    pub(crate) const NONE: Self = Self {
        status: SURPRISAL_OK as i32,
        reserved: 0,
        index: -1,
        value: 0.0,
        argument: [0; 32],
        message: [0; 160],
    };
}

/// Runs a call, with a memory that knows of the detail, and gives its outcome the C form.
///
/// # Safety
/// `detail` is NULL, or a struct of the caller's that nobody else uses during the call.
pub(crate) unsafe fn finish(
    detail: *mut surprisal_error_detail,
    call: impl FnOnce(Memory) -> Result<(), Failure>,
) -> surprisal_status {
    // SAFETY: passed on.
    unsafe { finish_as(detail, call) }
}

/// As [`finish`], for a failure that may know more.
///
/// # Safety
/// As [`finish`].
pub(crate) unsafe fn finish_as<F: AsRef<Failure> + From<Failure> + Into<surprisal_error_detail>>(
    detail: *mut surprisal_error_detail,
    call: impl FnOnce(Memory) -> Result<(), F>,
) -> surprisal_status {
    if !detail.is_aligned() {
        return SURPRISAL_ERROR_MISALIGNED;
    }
    let mut memory = Memory::new();
    let (status, text) =
        match memory.declare_out("detail", detail).map_err(F::from).and_then(|()| call(memory)) {
            Ok(()) => (SURPRISAL_OK, surprisal_error_detail::NONE),
            Err(failure) => (failure.as_ref().status, failure.into()),
        };
    // SAFETY: NULL, or aligned and the caller's alone (its promise); the call, and with it every reference to other memory, has ended.
    if let Some(detail) = unsafe { detail.as_mut() } {
        *detail = text;
    }
    status
}

impl From<Failure> for surprisal_error_detail {
    fn from(failure: Failure) -> Self {
        let Failure { status, argument, index, value, message: [what, expected] } = failure;
        let mut detail = Self { index, value, status: status as i32, ..Self::NONE };
        write_text(&mut detail.argument, &[argument]);
        write_text(&mut detail.message, &[argument, ": ", what, expected]);
        detail
    }
}

/// Copies texts one after the other, as far as there is room, and a NUL.
pub(crate) fn write_text(to: &mut [c_char], texts: &[&str]) {
    let Some((end, room)) = to.split_last_mut() else { return };
    *end = 0;
    let bytes = texts.iter().flat_map(|text| text.bytes());
    for (to, byte) in room.iter_mut().zip(bytes.chain(core::iter::repeat(0))) {
        *to = c_char::from_ne_bytes([byte]);
    }
}
