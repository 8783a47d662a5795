//! What is wrong with a call, in the form that C sees: the end of every call.

use core::ffi::c_char;

use crate::memory::Memory;
use crate::status::Failure;
use crate::status::surprisal_status::{self, SURPRISAL_OK};
use crate::versioned::{Out, Versioned, versioned};

/// What is wrong with a call, if something is. An output: begin with `SURPRISAL_ERROR_DETAIL_INIT`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_error_detail {
    /// `sizeof(surprisal_error_detail)`.
    pub struct_size: usize,
    /// Row, entry or pair that is wrong; -1 where there is none.
    pub index: i64,
    /// What was found there: the target, the entry, the option; NaN where an error has none.
    pub value: f64,
    /// The status that the function returned.
    pub status: i32,
    /// Zero.
    pub reserved: i32,
    /// The argument or option, by its name in the header: `"targets"`, `"label_smoothing"`. Ends with NUL.
    pub argument: [c_char; 32],
    /// What is wrong with it, in English: `"targets: outside the vocabulary"`. Ends with NUL.
    pub message: [c_char; 128],
}

versioned!(surprisal_error_detail: "detail", surprisal_error_detail {
    struct_size: size_of::<surprisal_error_detail>(),
    index: -1,
    value: 0.0,
    status: 0,
    reserved: 0,
    argument: [0; 32],
    message: [0; 128],
});

/// Fills a detail with its initial values, as `SURPRISAL_ERROR_DETAIL_INIT` does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_error_detail_init(
    detail: *mut surprisal_error_detail,
    struct_size: usize,
) -> surprisal_status {
    // SAFETY: the C caller passes `struct_size` bytes of its own.
    unsafe { surprisal_error_detail::init(detail, struct_size) }
}

/// Runs a call, with a memory that knows of the detail, and gives its outcome the C form.
///
/// # Safety
/// `detail` is NULL, or a struct of the caller's whose `struct_size` says how long it is.
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
    // SAFETY: passed on.
    let detail = match unsafe { Out::optional(detail) } {
        Ok(detail) => detail,
        Err(failure) => return failure.status,
    };
    let mut memory = Memory::new();
    let declared = detail.as_ref().map_or(Ok(()), |detail| memory.declare_out(detail));
    let (status, text) = match declared.map_err(F::from).and_then(|()| call(memory)) {
        Ok(()) => (SURPRISAL_OK, surprisal_error_detail::INIT),
        Err(failure) => (failure.as_ref().status, failure.into()),
    };
    if let Some(detail) = detail {
        detail.write(text);
    }
    status
}

impl From<Failure> for surprisal_error_detail {
    fn from(failure: Failure) -> Self {
        let Failure { status, argument, index, value, message: [what, expected] } = failure;
        let mut detail = Self { index, value, status: status as i32, ..Self::INIT };
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
