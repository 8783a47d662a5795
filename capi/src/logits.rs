//! Matrices as C sees them: logits to read, and logits or gradients to write.

use core::ffi::c_void;
use core::ptr;

use crate::status::surprisal_status;
use crate::versioned::{Versioned, versioned};

/// Any number that C may hold for a `surprisal_dtype`.
pub type dtype_value = i32;
/// Any number that C may hold for a `surprisal_padding`.
pub type padding_value = i32;

/// Element types of a matrix. The numbers are those of `ggml_type`.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum surprisal_dtype {
    /// `float`.
    SURPRISAL_DTYPE_F32 = 0,
    /// IEEE binary16 as `uint16_t`.
    SURPRISAL_DTYPE_F16 = 1,
    /// bfloat16 as `uint16_t`: the upper half of a `float`.
    SURPRISAL_DTYPE_BF16 = 30,
}

/// What a call does with the columns past the end of a row that it writes (`row_stride` above `vocab`).
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum surprisal_padding {
    /// They keep their values; the padding past the last row may be missing.
    SURPRISAL_PADDING_KEEP = 0,
    /// They become zero, past every row: for a vocabulary that is padded for speed, whose padding a matrix product reads.
    SURPRISAL_PADDING_ZERO = 1,
}

/// Logits `[rows x vocab]` to read, row-major: rows `row_start .. row_start + rows` of a batch, classes `vocab_start .. vocab_start + vocab` of
/// a vocabulary. Begin with `surprisal_logits_f32(data, rows, vocab)` or one of its siblings, or with `SURPRISAL_LOGITS_INIT`; cut with
/// `surprisal_logits_rows` and `surprisal_logits_shard`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_logits {
    /// `sizeof(surprisal_logits)`.
    pub struct_size: usize,
    /// First element of the first row. The padding past the last row is not touched and may be missing.
    pub data: *const c_void,
    /// Rows of this matrix.
    pub rows: usize,
    /// Columns that are read.
    pub vocab: usize,
    /// Elements from a row to the next, at least `vocab`; 0 for `vocab`.
    pub row_stride: usize,
    /// Row of the batch that this matrix begins with.
    pub row_start: usize,
    /// Rows of the whole batch; 0 for `rows`.
    pub rows_total: usize,
    /// Class of the vocabulary that the first column is.
    pub vocab_start: usize,
    /// Classes of the whole vocabulary; 0 for `vocab`.
    pub vocab_total: usize,
    /// Element type.
    pub dtype: dtype_value,
    /// Zero.
    pub reserved: i32,
}

versioned!(surprisal_logits: "logits", {
    struct_size: size_of::<surprisal_logits>(),
    data: ptr::null(),
    rows: 0,
    vocab: 0,
    row_stride: 0,
    row_start: 0,
    rows_total: 0,
    vocab_start: 0,
    vocab_total: 0,
    dtype: surprisal_dtype::SURPRISAL_DTYPE_F32 as i32,
    reserved: 0,
});

/// A matrix to write: the gradient of logits, or log-probabilities, in any element type. Most fields are those of `surprisal_logits`. It has
/// as many rows and columns as the logits, and their place in the batch and the vocabulary: named again, or not at all. With the logits' own
/// `data`, `row_stride` and `dtype` it is written in place.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_logits_mut {
    /// `sizeof(surprisal_logits_mut)`.
    pub struct_size: usize,
    /// First element of the first row.
    pub data: *mut c_void,
    /// Rows of this matrix.
    pub rows: usize,
    /// Columns that are written.
    pub vocab: usize,
    /// Elements from a row to the next, at least `vocab`; 0 for `vocab`.
    pub row_stride: usize,
    /// Row of the batch that this matrix begins with.
    pub row_start: usize,
    /// Rows of the whole batch; 0 for `rows`.
    pub rows_total: usize,
    /// Class of the vocabulary that the first column is.
    pub vocab_start: usize,
    /// Classes of the whole vocabulary; 0 for `vocab`.
    pub vocab_total: usize,
    /// Element type.
    pub dtype: dtype_value,
    /// What becomes of the columns past `vocab`.
    pub padding: padding_value,
}

versioned!(surprisal_logits_mut: "dlogits", {
    struct_size: size_of::<surprisal_logits_mut>(),
    data: ptr::null_mut(),
    rows: 0,
    vocab: 0,
    row_stride: 0,
    row_start: 0,
    rows_total: 0,
    vocab_start: 0,
    vocab_total: 0,
    dtype: surprisal_dtype::SURPRISAL_DTYPE_F32 as i32,
    padding: surprisal_padding::SURPRISAL_PADDING_KEEP as i32,
});

/// Fills a matrix with its initial values, as `SURPRISAL_LOGITS_INIT` does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_logits_init(
    logits: *mut surprisal_logits,
    struct_size: usize,
) -> surprisal_status {
    // SAFETY: the C caller passes `struct_size` bytes of its own.
    unsafe { surprisal_logits::init(logits, struct_size) }
}

/// Fills a matrix with its initial values, as `SURPRISAL_LOGITS_MUT_INIT` does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_logits_mut_init(
    logits: *mut surprisal_logits_mut,
    struct_size: usize,
) -> surprisal_status {
    // SAFETY: the C caller passes `struct_size` bytes of its own.
    unsafe { surprisal_logits_mut::init(logits, struct_size) }
}
