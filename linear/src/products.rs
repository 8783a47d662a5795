//! The three products of a chunk, over panels of the weights where those are converted: logits, dW and dH.

use core::ops::Range;

use crate::any::{AnyMatrix, AnyMatrixMut};
use crate::error::Error;
use crate::matrix::{Matrix, MatrixMut};
use crate::parallel::{Machine, each_chunk};
use crate::slices::next_mut;

/// Columns of which a bias gradient is summed together.
const COLUMNS: usize = 64;

/// The weights and who multiplies by them.
#[derive(Clone, Copy)]
pub(crate) struct Products<'a> {
    pub(crate) weight: AnyMatrix<'a>,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) machine: Machine<'a>,
}

impl Products<'_> {
    /// `z = H·Wᵀ + bias` of a chunk.
    pub(crate) fn logits(
        &self,
        hidden: Matrix<'_, f32>,
        logits: &mut [f32],
        stride: usize,
        panel: &mut [f32],
    ) -> Result<(), Error> {
        let mut beta = 0.0;
        if let Some(bias) = self.bias {
            each_chunk(self.machine.gemm, logits, stride, |_, row| {
                row.iter_mut().zip(bias).for_each(|(z, &bias)| *z = bias);
            });
            beta = 1.0;
        }
        self.each_panel(panel, |classes, weight| {
            let z = columns_mut(logits, stride, classes)?;
            self.machine.gemm.product(hidden, weight.transposed(), beta, z);
            Ok(())
        })
    }

    /// `dW += dzᵀ·H` of a chunk; into 16 bits by way of the panel.
    pub(crate) fn dweight(
        &self,
        hidden: Matrix<'_, f32>,
        dlogits: &[f32],
        stride: usize,
        panel: &mut [f32],
        dweight: &mut AnyMatrixMut<'_>,
    ) -> Result<(), Error> {
        let add = |classes, dweight: MatrixMut<'_, f32>| {
            let dz = columns(dlogits, stride, classes)?;
            self.machine.gemm.product(dz.transposed(), hidden, 1.0, dweight);
            Ok(())
        };
        if let Some(dweight) = dweight.as_f32() {
            return add(0..dweight.rows(), dweight);
        }
        for classes in self.panels(panel.len()) {
            let mut part = dweight.rows_mut(classes.clone());
            let mut sum = part.as_any().widened(self.machine, panel)?;
            add(classes, sum.reborrow())?;
            part.narrow(self.machine.level, sum.as_matrix());
        }
        Ok(())
    }

    /// `dH = dz·W` of a chunk.
    pub(crate) fn dhidden(
        &self,
        dlogits: &[f32],
        stride: usize,
        panel: &mut [f32],
        mut dhidden: MatrixMut<'_, f32>,
    ) -> Result<(), Error> {
        let mut beta = 0.0;
        self.each_panel(panel, |classes, weight| {
            let dz = columns(dlogits, stride, classes)?;
            self.machine.gemm.product(dz, weight, beta, dhidden.reborrow());
            beta = 1.0;
            Ok(())
        })
    }

    /// `dbias += Σ dz` of a chunk; its sums are of f64.
    pub(crate) fn dbias(&self, dlogits: &[f32], stride: usize, dbias: &mut [f32]) {
        let sum = |first: usize, dbias: &mut [f32]| {
            let mut sums = [0.0_f64; COLUMNS];
            for row in dlogits.chunks_exact(stride.max(1)) {
                let entries = row.get(first..first + dbias.len()).unwrap_or_default();
                sums.iter_mut().zip(entries).for_each(|(sum, &dz)| *sum += f64::from(dz));
            }
            for (dbias, sum) in dbias.iter_mut().zip(sums) {
                #[expect(clippy::cast_possible_truncation, reason = "rounds to nearest")]
                let total = (f64::from(*dbias) + sum) as f32;
                *dbias = total;
            }
        };
        let whole = dbias.len() / COLUMNS * COLUMNS;
        let mut rest = dbias;
        let blocks = next_mut(&mut rest, whole);
        each_chunk(self.machine.gemm, blocks, COLUMNS, |block, dbias| sum(block * COLUMNS, dbias));
        sum(whole, rest);
    }

    /// The weights in f32: as they are, or panel by panel.
    fn each_panel(
        &self,
        panel: &mut [f32],
        mut visit: impl FnMut(Range<usize>, Matrix<'_, f32>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if let Some(weight) = self.weight.as_f32() {
            return visit(0..weight.rows(), weight);
        }
        for classes in self.panels(panel.len()) {
            let weight = self.weight.row_range(classes.clone()).widened(self.machine, panel)?;
            visit(classes, weight.as_matrix())?;
        }
        Ok(())
    }

    /// The classes of each panel of so many entries.
    fn panels(&self, len: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (vocab, d) = self.weight.shape();
        let most = len.checked_div(d).unwrap_or(0).max(1);
        (0..vocab).step_by(most).map(move |start| start..vocab.min(start + most))
    }
}

/// Some columns of rows that start every `stride` entries.
fn columns(values: &[f32], stride: usize, columns: Range<usize>) -> Result<Matrix<'_, f32>, Error> {
    let rows = values.len().checked_div(stride).unwrap_or(0);
    let values = values.get(columns.start..).unwrap_or_default();
    Matrix::strided(values, rows, columns.len(), stride, 1)
}

/// As [`columns`].
fn columns_mut(
    values: &mut [f32],
    stride: usize,
    columns: Range<usize>,
) -> Result<MatrixMut<'_, f32>, Error> {
    let rows = values.len().checked_div(stride).unwrap_or(0);
    let values = values.get_mut(columns.start..).unwrap_or_default();
    MatrixMut::strided(values, rows, columns.len(), stride, 1)
}
