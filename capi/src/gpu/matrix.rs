//! Matrices in memory of a device.

use core::ptr;

use ::surprisal_gpu::{Dtype, Gradient, Matrix};

use super::buffer::surprisal_gpu_buffer;
use super::context::surprisal_gpu;
use super::failure::DeviceFailure;
use super::handle::object;
use crate::logits::{dtype_value, surprisal_dtype};
use crate::matrix::{BF16, F16, F32};
use crate::memory::Memory;
use crate::place::Place;
use crate::status::Failure;
use crate::status::surprisal_status::{
    self, SURPRISAL_ERROR_EXTENT, SURPRISAL_ERROR_MISALIGNED, SURPRISAL_ERROR_OVERLAP,
    SURPRISAL_ERROR_SHAPE,
};
use crate::versioned::{Versioned, versioned};

/// A matrix `[rows x vocab]` in a buffer, row-major: logits or their gradient. Begin with `SURPRISAL_GPU_MATRIX_INIT` or with
/// `surprisal_gpu_matrix_of(buffer, dtype, rows, vocab)`.
///
/// A gradient has the rows and columns of the logits, in any element type. With their `buffer`, `offset`, `row_stride` and `dtype` it is written in
/// place; otherwise it needs a buffer of its own. The columns past `vocab` keep their values.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_gpu_matrix {
    /// `sizeof(surprisal_gpu_matrix)`.
    pub struct_size: usize,
    /// Where it lies.
    pub buffer: *mut surprisal_gpu_buffer,
    /// First byte of the first row, at a whole element.
    pub offset: usize,
    /// Rows, those of the batch.
    pub rows: usize,
    /// Columns, the whole vocabulary.
    pub vocab: usize,
    /// Elements from a row to the next, at least `vocab`; 0 for `vocab`.
    pub row_stride: usize,
    /// Element type.
    pub dtype: dtype_value,
    /// Zero.
    pub reserved: i32,
}

versioned!(surprisal_gpu_matrix: "logits", {
    struct_size: size_of::<surprisal_gpu_matrix>(),
    buffer: ptr::null_mut(),
    offset: 0,
    rows: 0,
    vocab: 0,
    row_stride: 0,
    dtype: surprisal_dtype::SURPRISAL_DTYPE_F32 as i32,
    reserved: 0,
});

/// Fills a matrix with its initial values, as `SURPRISAL_GPU_MATRIX_INIT` does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_gpu_matrix_init(
    matrix: *mut surprisal_gpu_matrix,
    struct_size: usize,
) -> surprisal_status {
    // SAFETY: the C caller passes `struct_size` bytes of its own.
    unsafe { surprisal_gpu_matrix::init(matrix, struct_size) }
}

/// A caller's matrix that lies inside its buffer.
pub(super) struct MatrixInput<'call> {
    buffer: &'call surprisal_gpu_buffer,
    pub(super) dtype: Dtype,
    offset: usize,
    rows: usize,
    pub(super) vocab: usize,
    row_stride: usize,
    /// The byte past the last row.
    end: usize,
}

impl<'call> MatrixInput<'call> {
    /// Reads a caller's struct.
    ///
    /// # Safety
    /// As [`Memory::read_struct`], and the buffer as [`object`].
    pub(super) unsafe fn read(
        matrix: *const surprisal_gpu_matrix,
        argument: &'static str,
        gpu: &surprisal_gpu,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on.
        let m = unsafe { memory.read_struct(argument, matrix) }?;
        let shape = |message| Failure::new(SURPRISAL_ERROR_SHAPE, argument, message);
        if m.reserved != 0 {
            return Err(Failure::option(argument, "reserved is not 0"));
        }
        let dtype = match m.dtype {
            F32 => Dtype::F32,
            BF16 => Dtype::Bf16,
            F16 => Dtype::F16,
            other => {
                let failure = Failure::option("dtype", "is not a surprisal_dtype");
                return Err(failure.value(f64::from(other)));
            }
        };
        if m.vocab == 0 {
            return Err(Failure::new(SURPRISAL_ERROR_SHAPE, "vocab", "is 0"));
        }
        let row_stride = if m.row_stride == 0 { m.vocab } else { m.row_stride };
        if row_stride < m.vocab {
            return Err(shape("row_stride is below vocab"));
        }
        // SAFETY: passed on.
        let buffer = unsafe { object("buffer", m.buffer) }?;
        buffer.check_of(gpu, argument)?;
        let element = if dtype == Dtype::F32 { 4 } else { 2 };
        if !m.offset.is_multiple_of(element) {
            let message = "offset is not at a whole element";
            return Err(Failure::new(SURPRISAL_ERROR_MISALIGNED, argument, message));
        }
        let elements = match m.rows.checked_sub(1) {
            None => Some(0),
            Some(before) => before.checked_mul(row_stride).and_then(|n| n.checked_add(m.vocab)),
        };
        let bytes = elements.and_then(|n| n.checked_mul(element));
        let end = bytes.and_then(|bytes| bytes.checked_add(m.offset));
        match end {
            None => Err(Failure::new(SURPRISAL_ERROR_EXTENT, argument, "its size overflows")),
            Some(end) if end > buffer.bytes => Err(shape("does not lie inside its buffer")),
            Some(end) => Ok(Self {
                buffer,
                dtype,
                offset: m.offset,
                rows: m.rows,
                vocab: m.vocab,
                row_stride,
                end,
            }),
        }
    }

    /// Where its rows lie: it has all.
    pub(super) fn place(&self) -> Place {
        Place {
            argument: "logits",
            rows: self.rows,
            vocab: self.vocab,
            row_start: 0,
            rows_total: self.rows,
            vocab_start: 0,
            vocab_total: self.vocab,
        }
    }

    /// The matrix.
    pub(super) fn view(&self) -> Result<Matrix<'call>, DeviceFailure> {
        let Self { buffer, dtype, offset, rows, vocab, row_stride, .. } = *self;
        Ok(Matrix::strided(&buffer.buffer, dtype, offset as u64, rows, vocab, row_stride)?)
    }

    /// Whether some bytes of a buffer lie among its rows.
    pub(super) fn meets(&self, buffer: &surprisal_gpu_buffer, start: usize, end: usize) -> bool {
        ptr::eq(self.buffer, buffer) && start < self.end && self.offset < end
    }

    /// This matrix as the place for a gradient of logits.
    pub(super) fn gradient_of(&self, logits: &Self) -> Result<Gradient<'call>, DeviceFailure> {
        if (self.rows, self.vocab) != (logits.rows, logits.vocab) {
            let message = "differs from logits in rows or vocab";
            return Err(Failure::new(SURPRISAL_ERROR_SHAPE, "dlogits", message).into());
        }
        if !ptr::eq(self.buffer, logits.buffer) {
            return Ok(Gradient::To(self.view()?));
        }
        let layout = |m: &Self| (m.offset, m.row_stride, m.dtype);
        if layout(self) == layout(logits) {
            return Ok(Gradient::InPlace);
        }
        let message = "is in the logits' buffer with another offset, row_stride or dtype";
        Err(Failure::new(SURPRISAL_ERROR_OVERLAP, "dlogits", message).into())
    }
}
