//! Hidden states, weights and their gradients: matrices with a stride for each direction.

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr;

use surprisal::{bf16, f16};
use surprisal_linear::{AnyMatrix, AnyMatrixMut};

use crate::logits::{dtype_value, surprisal_dtype};
use crate::matrix::{Any, BF16, F16, F32};
use crate::memory::{Checked, Input, Memory, Output};
use crate::status::Failure;
use crate::status::surprisal_status::{self, SURPRISAL_ERROR_SHAPE};
use crate::versioned::{Versioned, versioned};

/// A matrix `[rows x cols]` to read: entry `(i, j)` lies at `i row_stride + j col_stride`. Hidden states, whose rows are those of a batch, or weights,
/// whose rows are the classes of a vocabulary; either may be a part of it. Begin with `surprisal_matrix_f32(data, rows, cols)` or one of its
/// siblings, or with `SURPRISAL_MATRIX_INIT`; cut with `surprisal_matrix_rows`. What lies between its entries belongs to it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_matrix {
    /// `sizeof(surprisal_matrix)`.
    pub struct_size: usize,
    /// Entry (0, 0).
    pub data: *const c_void,
    /// Rows of this matrix.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Elements from a row to the next; 0 for `cols`.
    pub row_stride: usize,
    /// Elements from a column to the next; 0 for 1. Transposed weights `[cols x rows]` have a row stride of 1 and a column stride of `rows`.
    pub col_stride: usize,
    /// Row of the batch, or class of the vocabulary, that this matrix begins with.
    pub row_start: usize,
    /// Rows of the whole batch, or classes of the whole vocabulary; 0 for `rows`.
    pub rows_total: usize,
    /// Element type.
    pub dtype: dtype_value,
    /// Zero.
    pub reserved: i32,
}

versioned!(surprisal_matrix: "matrix", {
    struct_size: size_of::<surprisal_matrix>(),
    data: ptr::null(),
    rows: 0,
    cols: 0,
    row_stride: 0,
    col_stride: 0,
    row_start: 0,
    rows_total: 0,
    dtype: surprisal_dtype::SURPRISAL_DTYPE_F32 as i32,
    reserved: 0,
});

/// A matrix to write; the fields are those of `surprisal_matrix`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_matrix_mut {
    /// `sizeof(surprisal_matrix_mut)`.
    pub struct_size: usize,
    /// Entry (0, 0).
    pub data: *mut c_void,
    /// Rows of this matrix.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Elements from a row to the next; 0 for `cols`.
    pub row_stride: usize,
    /// Elements from a column to the next; 0 for 1.
    pub col_stride: usize,
    /// Row of the batch, or class of the vocabulary, that this matrix begins with.
    pub row_start: usize,
    /// Rows of the whole batch, or classes of the whole vocabulary; 0 for `rows`.
    pub rows_total: usize,
    /// Element type.
    pub dtype: dtype_value,
    /// Zero.
    pub reserved: i32,
}

versioned!(surprisal_matrix_mut: "matrix", {
    struct_size: size_of::<surprisal_matrix_mut>(),
    data: ptr::null_mut(),
    rows: 0,
    cols: 0,
    row_stride: 0,
    col_stride: 0,
    row_start: 0,
    rows_total: 0,
    dtype: surprisal_dtype::SURPRISAL_DTYPE_F32 as i32,
    reserved: 0,
});

// One reader serves both: they differ in the constness of `data`.
const _: () = assert!(
    size_of::<surprisal_matrix>() == size_of::<surprisal_matrix_mut>()
        && offset_of!(surprisal_matrix, reserved) == offset_of!(surprisal_matrix_mut, reserved)
);

/// Fills a matrix with its initial values, as `SURPRISAL_MATRIX_INIT` does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_matrix_init(
    matrix: *mut surprisal_matrix,
    struct_size: usize,
) -> surprisal_status {
    // SAFETY: the C caller passes `struct_size` bytes of its own.
    unsafe { surprisal_matrix::init(matrix, struct_size) }
}

/// Fills a matrix with its initial values, as `SURPRISAL_MATRIX_MUT_INIT` does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_matrix_mut_init(
    matrix: *mut surprisal_matrix_mut,
    struct_size: usize,
) -> surprisal_status {
    // SAFETY: the C caller passes `struct_size` bytes of its own.
    unsafe { surprisal_matrix_mut::init(matrix, struct_size) }
}

/// A caller's matrix of either struct, with the defaults filled in.
#[derive(Clone, Copy)]
pub(crate) struct Operand {
    argument: &'static str,
    data: *const c_void,
    dtype: i32,
    strides: (usize, usize),
    pub(crate) shape: (usize, usize),
    pub(crate) row_start: usize,
    pub(crate) rows_total: usize,
}

impl Operand {
    /// Reads a caller's matrix.
    ///
    /// # Safety
    /// As [`Memory::read_struct`].
    pub(crate) unsafe fn read(
        matrix: *const surprisal_matrix,
        argument: &'static str,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on.
        let m = unsafe { memory.read_struct(argument, matrix) }?;
        let or = |value: usize, default: usize| if value == 0 { default } else { value };
        if ![F32, BF16, F16].contains(&m.dtype) {
            let failure = Failure::option("dtype", "is not a surprisal_dtype");
            return Err(failure.value(f64::from(m.dtype)));
        }
        if m.reserved != 0 {
            return Err(Failure::option(argument, "reserved is not 0"));
        }
        let rows_total = or(m.rows_total, m.rows);
        if m.row_start.checked_add(m.rows).is_none_or(|end| end > rows_total) {
            let message = "row_start + rows is beyond rows_total";
            return Err(Failure::new(SURPRISAL_ERROR_SHAPE, argument, message));
        }
        Ok(Self {
            argument,
            data: m.data,
            dtype: m.dtype,
            strides: (or(m.row_stride, m.cols), or(m.col_stride, 1)),
            shape: (m.rows, m.cols),
            row_start: m.row_start,
            rows_total,
        })
    }

    /// Reads a caller's matrix to write; NULL where it is not wanted. It may name its place, which is then that of `like`.
    ///
    /// # Safety
    /// As [`Memory::read_struct`].
    pub(crate) unsafe fn read_result(
        matrix: *const surprisal_matrix_mut,
        argument: &'static str,
        like: &Self,
        memory: &mut Memory,
    ) -> Result<Option<Self>, Failure> {
        if matrix.is_null() {
            return Ok(None);
        }
        // SAFETY: passed on; the structs have the same layout (asserted above).
        let result = unsafe { Self::read(matrix.cast(), argument, memory) }?;
        let place = |m: &Self| (m.row_start, m.rows_total);
        if result.shape.0 != result.rows_total && place(&result) != place(like) {
            return Err(Failure::other_place(argument, "rows").value(result.row_start as f64));
        }
        Ok(Some(result))
    }

    pub(crate) fn is_16_bit(&self) -> bool {
        self.dtype != F32
    }

    /// Elements from the first to past the end of the last.
    fn len(&self) -> Result<usize, Failure> {
        let ((rows, cols), (down, across)) = (self.shape, self.strides);
        let extent = surprisal_linear::extent(rows, cols, down, across);
        extent.map_err(|error| Failure { argument: self.argument, ..error.into() })
    }

    /// Declares the matrix as one to read.
    ///
    /// # Safety
    /// As [`Memory::input`], with the type that `dtype` stands for.
    pub(crate) unsafe fn input<'call>(
        self,
        memory: &mut Memory,
    ) -> Result<OperandInput<'call>, Failure> {
        let (name, data, len) = (self.argument, self.data, self.len()?);
        // SAFETY: passed on.
        let data = unsafe {
            match self.dtype {
                BF16 => Any::Bf16(memory.input(name, data.cast(), len)?),
                F16 => Any::F16(memory.input(name, data.cast(), len)?),
                _ => Any::F32(memory.input(name, data.cast(), len)?),
            }
        };
        Ok(OperandInput { data, operand: self })
    }

    /// Declares the matrix as one to write.
    ///
    /// # Safety
    /// As [`Memory::output`], with the type that `dtype` stands for; `data` came from a mutable pointer.
    pub(crate) unsafe fn output<'call>(
        self,
        memory: &mut Memory,
    ) -> Result<OperandOutput<'call>, Failure> {
        let (name, data, len) = (self.argument, self.data.cast_mut(), self.len()?);
        // SAFETY: passed on.
        let data = unsafe {
            match self.dtype {
                BF16 => Any::Bf16(memory.output(name, data.cast(), len)?),
                F16 => Any::F16(memory.output(name, data.cast(), len)?),
                _ => Any::F32(memory.output(name, data.cast(), len)?),
            }
        };
        Ok(OperandOutput { data, operand: self })
    }
}

/// A declared matrix to read.
pub(crate) struct OperandInput<'call> {
    data: Any<Input<'call, f32>, Input<'call, bf16>, Input<'call, f16>>,
    operand: Operand,
}

/// A declared matrix to write.
pub(crate) struct OperandOutput<'call> {
    data: Any<Output<'call, f32>, Output<'call, bf16>, Output<'call, f16>>,
    operand: Operand,
}

/// Makes a view of a declared array of any type.
macro_rules! view {
    ($matrix:ident, $data:expr, $operand:expr, $checked:expr) => {{
        let ((rows, cols), (down, across)) = ($operand.shape, $operand.strides);
        Ok(match $data {
            Any::F32(data) => {
                $matrix::strided(data.get($checked), rows, cols, down, across)?.into()
            }
            Any::Bf16(data) => {
                $matrix::strided(data.get($checked), rows, cols, down, across)?.into()
            }
            Any::F16(data) => {
                $matrix::strided(data.get($checked), rows, cols, down, across)?.into()
            }
        })
    }};
}

impl<'call> OperandInput<'call> {
    pub(crate) fn view(&self, checked: &Checked) -> Result<AnyMatrix<'call>, Failure> {
        use surprisal_linear::Matrix;
        view!(Matrix, &self.data, self.operand, checked)
    }
}

impl<'call> OperandOutput<'call> {
    pub(crate) fn view(self, checked: &Checked) -> Result<AnyMatrixMut<'call>, Failure> {
        use surprisal_linear::MatrixMut;
        view!(MatrixMut, self.data, self.operand, checked)
    }
}
