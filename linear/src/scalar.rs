//! The storage types of operands, and their conversion to and from the f32 in which products are made.

use surprisal::{Element, Level, bf16, f16};

use crate::any::{AnyMatrix, AnyMatrixMut};
use crate::error::Error;
use crate::matrix::{Matrix, MatrixMut};
use crate::parallel::{Machine, each_chunk};
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

    /// Matrices as those of any type.
    pub trait Convert: Sized {
        fn any(matrix: Matrix<'_, Self>) -> AnyMatrix<'_>;
        fn any_mut(matrix: MatrixMut<'_, Self>) -> AnyMatrixMut<'_>;
    }
}

macro_rules! convert {
    ($($type:ty => $name:ident),*) => {$(
        impl sealed::Convert for $type {
            fn any(matrix: Matrix<'_, Self>) -> AnyMatrix<'_> {
                AnyMatrix::$name(matrix)
            }

            fn any_mut(matrix: MatrixMut<'_, Self>) -> AnyMatrixMut<'_> {
                AnyMatrixMut::$name(matrix)
            }
        }
    )*};
}
convert!(f32 => F32, bf16 => Bf16, f16 => F16);

/// Copies a matrix into f32 of the same order, by columns if it is so stored; `to` has at least `rows * cols` entries.
pub(crate) fn widened<'t, T: Scalar>(
    machine: Machine<'_>,
    from: Matrix<'_, T>,
    to: &'t mut [f32],
) -> Result<MatrixMut<'t, f32>, Error> {
    let (rows, cols) = from.shape();
    let to = first_mut(to, rows * cols);
    let by_columns = from.col_stride() != 1 && from.row_stride() == 1;
    let (row_stride, col_stride) = if by_columns { (1, rows) } else { (cols, 1) };
    widen_rows(machine, if by_columns { from.transposed() } else { from }, to);
    MatrixMut::strided(to, rows, cols, row_stride, col_stride)
}

/// Copies a matrix into f32, row after row; `to` has `rows * cols` entries.
pub(crate) fn widen_rows<T: Scalar>(machine: Machine<'_>, from: Matrix<'_, T>, to: &mut [f32]) {
    each_chunk(machine.gemm, to, from.cols(), |row, to| match from.row(row) {
        Some(values) => T::to_f32s(values, to, machine.level),
        None => {
            for (col, to) in to.iter_mut().enumerate() {
                *to = from.get(row, col).map_or(0.0, Element::to_f32);
            }
        }
    });
}

/// Rounds f32 entries into a matrix of the same shape.
pub(crate) fn narrow<T: Scalar>(level: Level, from: Matrix<'_, f32>, to: &mut MatrixMut<'_, T>) {
    for row in 0..from.rows() {
        match (from.row(row), to.row(row)) {
            (Some(from), Some(to)) => T::from_f32s(from, to, level),
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
