//! The three products of a chunk, over panels of the weights where those are converted: logits, dW and dH.

use core::ops::Range;

use crate::any::{AnyMatrix, AnyMatrixMut};
use crate::gemm::Gemm;
use crate::matrix::{Matrix, MatrixMut};
use crate::parallel::each_chunk;

/// Columns of which a bias gradient is summed together.
const COLUMNS: usize = 64;

/// The weights and who multiplies by them.
#[derive(Clone, Copy)]
pub(crate) struct Products<'a> {
    pub(crate) weight: AnyMatrix<'a>,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) gemm: &'a dyn Gemm,
}

impl Products<'_> {
    /// `z = H·Wᵀ + bias` of a chunk.
    pub(crate) fn logits(
        &self,
        hidden: Matrix<'_, f32>,
        logits: &mut [f32],
        stride: usize,
        panel: &mut [f32],
    ) {
        let mut beta = 0.0;
        if let Some(bias) = self.bias {
            each_chunk(self.gemm, logits, stride, |_, row| row[..bias.len()].copy_from_slice(bias));
            beta = 1.0;
        }
        self.each_panel(panel, |classes, weight| {
            let z = columns_mut(logits, stride, classes);
            self.gemm.product(hidden, weight.transposed(), beta, z);
        });
    }

    /// `dW += dzᵀ·H` of a chunk; into 16 bits by way of the panel.
    pub(crate) fn dweight(
        &self,
        hidden: Matrix<'_, f32>,
        dlogits: &[f32],
        stride: usize,
        panel: &mut [f32],
        dweight: &mut AnyMatrixMut<'_>,
    ) {
        let add = |classes, dweight: MatrixMut<'_, f32>| {
            let dz = columns(dlogits, stride, classes);
            self.gemm.product(dz.transposed(), hidden, 1.0, dweight);
        };
        if let Some(dweight) = dweight.as_f32() {
            return add(0..dweight.rows(), dweight);
        }
        for classes in self.panels(panel.len()) {
            let mut part = dweight.rows_mut(classes.clone());
            let mut sum = part.as_any().widened(self.gemm, panel);
            add(classes, sum.reborrow());
            part.narrow(sum.as_matrix());
        }
    }

    /// `dH = dz·W` of a chunk.
    pub(crate) fn dhidden(
        &self,
        dlogits: &[f32],
        stride: usize,
        panel: &mut [f32],
        mut dhidden: MatrixMut<'_, f32>,
    ) {
        let mut beta = 0.0;
        self.each_panel(panel, |classes, weight| {
            let dz = columns(dlogits, stride, classes);
            self.gemm.product(dz, weight, beta, dhidden.reborrow());
            beta = 1.0;
        });
    }

    /// `dbias += Σ dz` of a chunk; its sums are of f64.
    pub(crate) fn dbias(&self, dlogits: &[f32], stride: usize, dbias: &mut [f32]) {
        let sum = |first: usize, dbias: &mut [f32]| {
            let mut sums = [0.0_f64; COLUMNS];
            for row in dlogits.chunks_exact(stride) {
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
        let (blocks, rest) = dbias.split_at_mut(whole);
        each_chunk(self.gemm, blocks, COLUMNS, |block, dbias| sum(block * COLUMNS, dbias));
        sum(whole, rest);
    }

    /// The weights in f32: as they are, or panel by panel.
    fn each_panel(&self, panel: &mut [f32], mut visit: impl FnMut(Range<usize>, Matrix<'_, f32>)) {
        if let Some(weight) = self.weight.as_f32() {
            return visit(0..weight.rows(), weight);
        }
        for classes in self.panels(panel.len()) {
            let weight = self.weight.row_range(classes.clone()).widened(self.gemm, panel);
            visit(classes, weight.as_matrix());
        }
    }

    /// The classes of each panel of so many entries.
    fn panels(&self, len: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let (vocab, d) = self.weight.shape();
        let most = (len / d).max(1);
        (0..vocab).step_by(most).map(move |start| start..vocab.min(start + most))
    }
}

/// Some columns of rows that start every `stride` entries.
fn columns(values: &[f32], stride: usize, columns: Range<usize>) -> Matrix<'_, f32> {
    let (rows, values) = (values.len() / stride, values.get(columns.start..).unwrap_or_default());
    Matrix::strided(values, rows, columns.len(), stride, 1).expect("columns lie inside the rows")
}

fn columns_mut(values: &mut [f32], stride: usize, columns: Range<usize>) -> MatrixMut<'_, f32> {
    let (rows, values) =
        (values.len() / stride, values.get_mut(columns.start..).unwrap_or_default());
    MatrixMut::strided(values, rows, columns.len(), stride, 1).expect("columns lie inside the rows")
}
