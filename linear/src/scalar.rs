//! The storage types of operands, and their conversion to and from the f32 in which products are made.

use half::slice::HalfFloatSliceExt;
use surprisal::{Element, bf16, f16};

use crate::matrix::{Matrix, MatrixMut};
use crate::parallel::each_chunk;

/// A storage type of hidden states, weights and the gradient of hidden states: `f32`, `bf16` or `f16`, in any combination.
///
/// Widened exactly, rounded once, to nearest, ties to even. Sealed: the library owns the list.
pub trait Scalar: Element + sealed::Convert {}

impl Scalar for f32 {}
impl Scalar for bf16 {}
impl Scalar for f16 {}

mod sealed {
    /// Conversion of slices of one length.
    pub trait Convert: Sized {
        fn f32s(values: &[Self]) -> Option<&[f32]>;
        fn f32s_mut(values: &mut [Self]) -> Option<&mut [f32]>;
        fn widen(from: &[Self], to: &mut [f32]);
        fn narrow(from: &[f32], to: &mut [Self]);
    }
}

impl sealed::Convert for f32 {
    fn f32s(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }

    fn f32s_mut(values: &mut [Self]) -> Option<&mut [f32]> {
        Some(values)
    }

    fn widen(from: &[Self], to: &mut [f32]) {
        to.copy_from_slice(from);
    }

    fn narrow(from: &[f32], to: &mut [Self]) {
        to.copy_from_slice(from);
    }
}

macro_rules! convert_16_bit {
    ($($type:ty),*) => {$(
        impl sealed::Convert for $type {
            fn f32s(_: &[Self]) -> Option<&[f32]> {
                None
            }

            fn f32s_mut(_: &mut [Self]) -> Option<&mut [f32]> {
                None
            }

            fn widen(from: &[Self], to: &mut [f32]) {
                from.convert_to_f32_slice(to);
            }

            fn narrow(from: &[f32], to: &mut [Self]) {
                to.convert_from_f32_slice(from);
            }
        }
    )*};
}
convert_16_bit!(bf16, f16);

/// Copies a matrix into f32 of the same order, by columns if it is so stored; `to` has `rows * cols` entries.
pub(crate) fn widened<'t, T: Scalar>(from: Matrix<'_, T>, to: &'t mut [f32]) -> Matrix<'t, f32> {
    if from.col_stride() != 1 && from.row_stride() == 1 {
        return widened(from.transposed(), to).transposed();
    }
    widen_rows(from, to);
    Matrix::new(to, from.rows(), from.cols()).expect("has the matrix's shape")
}

/// Copies a matrix into f32, row after row; `to` has `rows * cols` entries.
pub(crate) fn widen_rows<T: Scalar>(from: Matrix<'_, T>, to: &mut [f32]) {
    each_chunk(to, from.cols(), |row, to| match from.row(row) {
        Some(values) => T::widen(values, to),
        None => {
            for (col, to) in to.iter_mut().enumerate() {
                *to = from.get(row, col).map_or(0.0, Element::to_f32);
            }
        }
    });
}

/// Rounds the rows of a row-major `from` into those of a matrix.
pub(crate) fn narrow<T: Scalar>(from: &[f32], to: &mut MatrixMut<'_, T>) {
    for (row, values) in from.chunks_exact(to.cols().max(1)).enumerate() {
        match to.row(row) {
            Some(to) => T::narrow(values, to),
            None => to.each_of_row(row, |col, to| {
                *to = values.get(col).map_or(T::from_f32(0.0), |&value| T::from_f32(value));
            }),
        }
    }
}
