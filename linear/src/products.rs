//! The three products of a chunk, over panels of the weights where those are converted: logits, dW and dH.

use core::ops::Range;

use crate::gemm::Gemm;
use crate::matrix::{Matrix, MatrixMut};
use crate::parallel::each_chunk;
use crate::scalar::{Scalar, widened};

/// Columns of which a bias gradient is summed together.
const COLUMNS: usize = 64;

/// The weights and who multiplies by them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Products<'a, W, M> {
    pub(crate) weight: Matrix<'a, W>,
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) gemm: M,
}

impl<W: Scalar, M: Gemm> Products<'_, W, M> {
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
            each_chunk(logits, stride, |_, row| row[..bias.len()].copy_from_slice(bias));
            beta = 1.0;
        }
        self.each_panel(panel, |classes, weight| {
            let z = columns_mut(logits, stride, classes);
            self.gemm.product(hidden, weight.transposed(), beta, z);
        });
    }

    /// `dW += dzᵀ·H` of a chunk.
    pub(crate) fn dweight(
        &self,
        hidden: Matrix<'_, f32>,
        dlogits: &[f32],
        stride: usize,
        dweight: MatrixMut<'_, f32>,
    ) {
        let dz = columns(dlogits, stride, 0..self.weight.rows());
        self.gemm.product(dz.transposed(), hidden, 1.0, dweight);
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
        each_chunk(blocks, COLUMNS, |block, dbias| sum(block * COLUMNS, dbias));
        sum(whole, rest);
    }

    /// The weights in f32: as they are, or panel by panel.
    fn each_panel(&self, panel: &mut [f32], mut visit: impl FnMut(Range<usize>, Matrix<'_, f32>)) {
        let (vocab, d) = self.weight.shape();
        if let Some(weight) = self.weight.as_f32() {
            return visit(0..vocab, weight);
        }
        let most = panel.len() / d;
        for start in (0..vocab).step_by(most) {
            let classes = start..vocab.min(start + most);
            let room = &mut panel[..classes.len() * d];
            visit(classes.clone(), widened(self.weight.row_range(classes), room));
        }
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
