//! Matrix products are a library's business: the trait by which a program brings its own.

use core::fmt::Debug;
use core::ops::Range;

use crate::matrix::{Dtype, Matrix};

/// A matrix of a product, in a buffer with usage `STORAGE`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Operand<'a> {
    /// The buffer.
    pub buffer: &'a wgpu::Buffer,
    /// The type of the elements.
    pub dtype: Dtype,
    /// Bytes before the first element.
    pub offset: u64,
    /// Rows, at least one.
    pub rows: u32,
    /// Columns, at least one.
    pub cols: u32,
    /// Elements from a row to the next. One of the strides is 1.
    pub row_stride: u32,
    /// Elements from a column to the next.
    pub col_stride: u32,
}

/// A matrix product in the caller's own kernels: tuned for a device, with cooperative matrices, or a framework's.
///
/// A product that it has no kernel for, it can leave to [`LinearPipelines::tiled`](crate::LinearPipelines::tiled).
///
/// ```
/// use surprisal_gpu::{Dtype, Gemm, Operand, Tiled, wgpu};
///
/// #[derive(Debug)]
/// struct Mine {
///     otherwise: Tiled,
/// }
///
/// impl Gemm for Mine {
///     fn product(&self, encoder: &mut wgpu::CommandEncoder, a: Operand<'_>, b: Operand<'_>, beta: f32, c: Operand<'_>) {
///         match (a.dtype, b.dtype) {
///             (Dtype::Bf16, Dtype::Bf16) => { /* begin a compute pass of `encoder`, bind, dispatch */ }
///             _ => self.otherwise.product(encoder, a, b, beta, c),
///         }
///     }
/// }
/// ```
pub trait Gemm: Debug {
    /// Records `c = a·b + beta·c` with `a` `[m × k]`, `b` `[k × n]`, `c` `[m × n]`. Any of them may be transposed, by its strides.
    ///
    /// `beta` is 0 or 1. With 0, `c` may hold NaN and is not read (as in BLAS). Shapes agree, and none is empty. `a` and `b` are of any type, `c` is of
    /// f32, and so are the sums, or better. `c` lies in another buffer than `a` and `b`.
    ///
    /// The products of a layer are `z = H·Wᵀ`, `dW = dzᵀ·H + dW` and `dH = dz·W`, where z, dz and dH are of f32, and rows of z, dz, dH and H begin at
    /// multiples of 16 bytes.
    fn product(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        a: Operand<'_>,
        b: Operand<'_>,
        beta: f32,
        c: Operand<'_>,
    );
}

impl<'a> Operand<'a> {
    /// A matrix as it lies.
    #[must_use]
    pub fn of(matrix: Matrix<'a>) -> Self {
        Self {
            buffer: matrix.buffer,
            dtype: matrix.dtype,
            offset: matrix.offset,
            rows: matrix.rows,
            cols: matrix.vocab,
            row_stride: matrix.row_stride,
            col_stride: 1,
        }
    }

    /// The same elements, with rows for columns.
    #[must_use]
    pub fn transposed(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Some of its rows.
    #[must_use]
    pub fn row_range(self, rows: Range<u32>) -> Self {
        let before = u64::from(rows.start) * u64::from(self.row_stride) * self.dtype.size();
        Self { offset: self.offset + before, rows: rows.end - rows.start, ..self }
    }

    /// Some of its columns.
    #[must_use]
    pub fn col_range(self, cols: Range<u32>) -> Self {
        self.transposed().row_range(cols).transposed()
    }

    /// Elements from the first row to the last, and from the first column to the last.
    pub(crate) fn extent(&self) -> (u64, u64) {
        let along = |count: u32, stride: u32| u64::from(count.max(1) - 1) * u64::from(stride);
        (along(self.rows, self.row_stride), along(self.cols, self.col_stride))
    }

    /// Bytes from its first element to the end of its last.
    pub(crate) fn bytes(&self) -> u64 {
        let (down, across) = self.extent();
        (down + across + 1) * self.dtype.size()
    }
}
