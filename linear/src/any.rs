//! Matrices of any storage type: what calls take, so that the crate is compiled once for all types.

use core::ops::Range;

use surprisal::{Level, bf16, f16};

use crate::error::Error;
use crate::matrix::{Matrix, MatrixMut};
use crate::parallel::Machine;
use crate::scalar::{self, Scalar};

/// A [`Matrix`] of any [`Scalar`]; `matrix.into()` makes it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "named by their type")]
pub enum AnyMatrix<'a> {
    F32(Matrix<'a, f32>),
    Bf16(Matrix<'a, bf16>),
    F16(Matrix<'a, f16>),
}

/// A [`MatrixMut`] of any [`Scalar`]; `matrix.into()` makes it.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "named by their type")]
pub enum AnyMatrixMut<'a> {
    F32(MatrixMut<'a, f32>),
    Bf16(MatrixMut<'a, bf16>),
    F16(MatrixMut<'a, f16>),
}

impl<'a, T: Scalar> From<Matrix<'a, T>> for AnyMatrix<'a> {
    fn from(matrix: Matrix<'a, T>) -> Self {
        T::any(matrix)
    }
}

impl<'a, T: Scalar> From<MatrixMut<'a, T>> for AnyMatrixMut<'a> {
    fn from(matrix: MatrixMut<'a, T>) -> Self {
        T::any_mut(matrix)
    }
}

/// Evaluates an expression with the matrix, whatever its type.
macro_rules! with {
    ($any:expr, $enum:ident, $matrix:ident => $value:expr) => {
        match $any {
            $enum::F32($matrix) => $value,
            $enum::Bf16($matrix) => $value,
            $enum::F16($matrix) => $value,
        }
    };
}

impl<'a> AnyMatrix<'a> {
    /// Rows and columns.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        with!(self, Self, matrix => matrix.shape())
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape().0
    }

    /// Number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.shape().1
    }

    /// Some of the rows.
    #[must_use]
    pub fn row_range(self, rows: Range<usize>) -> Self {
        with!(self, Self, matrix => matrix.row_range(rows).into())
    }

    /// The matrix, where it is of f32.
    pub(crate) fn as_f32(self) -> Option<Matrix<'a, f32>> {
        if let Self::F32(matrix) = self { Some(matrix) } else { None }
    }

    /// As [`scalar::widened`].
    pub(crate) fn widened<'t>(
        self,
        machine: Machine<'_>,
        to: &'t mut [f32],
    ) -> Result<MatrixMut<'t, f32>, Error> {
        with!(self, Self, matrix => scalar::widened(machine, matrix, to))
    }

    /// As [`scalar::widen_rows`].
    pub(crate) fn widen_rows(self, machine: Machine<'_>, to: &mut [f32]) {
        with!(self, Self, matrix => scalar::widen_rows(machine, matrix, to));
    }
}

impl AnyMatrixMut<'_> {
    /// Rows and columns.
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        with!(self, Self, matrix => matrix.shape())
    }

    /// The matrix, where it is of f32.
    pub(crate) fn as_f32(&mut self) -> Option<MatrixMut<'_, f32>> {
        if let Self::F32(matrix) = self { Some(matrix.reborrow()) } else { None }
    }

    /// Some of the rows, borrowed.
    pub(crate) fn rows_mut(&mut self, rows: Range<usize>) -> AnyMatrixMut<'_> {
        with!(self, Self, matrix => matrix.reborrow().row_range(rows).into())
    }

    /// To read.
    pub(crate) fn as_any(&self) -> AnyMatrix<'_> {
        with!(self, Self, matrix => matrix.as_matrix().into())
    }

    /// As [`scalar::narrow`].
    pub(crate) fn narrow(&mut self, level: Level, from: Matrix<'_, f32>) {
        with!(self, Self, matrix => scalar::narrow(level, from, matrix));
    }

    /// Fills it with zeros.
    pub(crate) fn clear(&mut self) {
        with!(self, Self, matrix => scalar::clear(matrix));
    }
}
