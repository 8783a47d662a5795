//! The storage types of operands, and their conversion to and from the f32 in which products are made.

use half::slice::HalfFloatSliceExt;
use surprisal::{Element, bf16, f16};

use crate::any::{AnyMatrix, AnyMatrixMut};
use crate::error::Error;
use crate::gemm::Gemm;
use crate::matrix::{Matrix, MatrixMut};
use crate::parallel::each_chunk;
use crate::slices::first_mut;

/// A storage type of hidden states, weights and their gradients: `f32`, `bf16` or `f16`.
///
/// Widened exactly, rounded once, to nearest, ties to even. Sealed: the library owns the list.
pub trait Scalar: Element + sealed::Convert {}

impl Scalar for f32 {}
impl Scalar for bf16 {}
impl Scalar for f16 {}

mod sealed {
    use super::{AnyMatrix, AnyMatrixMut, Matrix, MatrixMut};

    /// Conversion of slices of one length, and of matrices into those of any type.
    pub trait Convert: Sized {
        fn any(matrix: Matrix<'_, Self>) -> AnyMatrix<'_>;
        fn any_mut(matrix: MatrixMut<'_, Self>) -> AnyMatrixMut<'_>;
        fn widen(from: &[Self], to: &mut [f32]);
        fn narrow(from: &[f32], to: &mut [Self]);
    }
}

macro_rules! convert {
    ($type:ty, $name:ident, $widen:expr, $narrow:expr) => {
        impl sealed::Convert for $type {
            fn any(matrix: Matrix<'_, Self>) -> AnyMatrix<'_> {
                AnyMatrix::$name(matrix)
            }

            fn any_mut(matrix: MatrixMut<'_, Self>) -> AnyMatrixMut<'_> {
                AnyMatrixMut::$name(matrix)
            }

            fn widen(from: &[Self], to: &mut [f32]) {
                $widen(from, to);
            }

            fn narrow(from: &[f32], to: &mut [Self]) {
                $narrow(to, from);
            }
        }
    };
}
convert!(f32, F32, |from, to: &mut [f32]| to.copy_from_slice(from), <[f32]>::copy_from_slice);
convert!(bf16, Bf16, <[bf16]>::convert_to_f32_slice, <[bf16]>::convert_from_f32_slice);
convert!(f16, F16, <[f16]>::convert_to_f32_slice, <[f16]>::convert_from_f32_slice);

/// Copies a matrix into f32 of the same order, by columns if it is so stored; `to` has at least `rows * cols` entries.
pub(crate) fn widened<'t, T: Scalar>(
    threads: &dyn Gemm,
    from: Matrix<'_, T>,
    to: &'t mut [f32],
) -> Result<MatrixMut<'t, f32>, Error> {
    let (rows, cols) = from.shape();
    let to = first_mut(to, rows * cols);
    let by_columns = from.col_stride() != 1 && from.row_stride() == 1;
    let (row_stride, col_stride) = if by_columns { (1, rows) } else { (cols, 1) };
    widen_rows(threads, if by_columns { from.transposed() } else { from }, to);
    MatrixMut::strided(to, rows, cols, row_stride, col_stride)
}

/// Copies a matrix into f32, row after row; `to` has `rows * cols` entries.
pub(crate) fn widen_rows<T: Scalar>(threads: &dyn Gemm, from: Matrix<'_, T>, to: &mut [f32]) {
    each_chunk(threads, to, from.cols(), |row, to| match from.row(row) {
        Some(values) => T::widen(values, to),
        None => {
            for (col, to) in to.iter_mut().enumerate() {
                *to = from.get(row, col).map_or(0.0, Element::to_f32);
            }
        }
    });
}

/// Rounds f32 entries into a matrix of the same shape.
pub(crate) fn narrow<T: Scalar>(from: Matrix<'_, f32>, to: &mut MatrixMut<'_, T>) {
    for row in 0..from.rows() {
        match (from.row(row), to.row(row)) {
            (Some(from), Some(to)) => T::narrow(from, to),
            _ => to.each_of_row(row, |col, to| {
                *to = T::from_f32(from.get(row, col).unwrap_or_default());
            }),
        }
    }
}

/// Fills a matrix with zeros.
pub(crate) fn clear<T: Scalar>(matrix: &mut MatrixMut<'_, T>) {
    for row in 0..matrix.rows() {
        matrix.each_of_row(row, |_, entry| *entry = T::from_f32(0.0));
    }
}
