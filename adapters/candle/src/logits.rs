//! The library's calls over the logits of a storage, block by block.

use candle_core::{Error, Result};
use surprisal::objective::Objective;
use surprisal::{
    Batch, Element, Logits, LogitsMut, Loss, LossReport, Outputs, OwnedWorkspace, bf16, f16,
};

use crate::rows::Rows;

/// A storage type, and candle's name for it.
pub(crate) trait Stored: Element + candle_core::WithDType {}
impl Stored for f32 {}
impl Stored for bf16 {}
impl Stored for f16 {}

/// Evaluates an expression with the elements of a storage, whatever their type.
macro_rules! with_elements {
    ($storage:expr, $enum:ident, $elements:ident => $value:expr) => {
        match $storage {
            candle_core::$enum::F32($elements) => $value,
            candle_core::$enum::BF16($elements) => $value,
            candle_core::$enum::F16($elements) => $value,
            other => candle_core::bail!(
                "surprisal computes in f32, bf16 and f16, not in {:?}",
                candle_core::backend::BackendStorage::dtype(other)
            ),
        }
    };
}
pub(crate) use with_elements;

/// One call, whose logits are told block by block.
pub(crate) struct Call<'c, 'a, O> {
    pub(crate) loss: &'c Loss<'a, O>,
    pub(crate) batch: &'c Batch<'c>,
    pub(crate) outputs: Outputs<'c>,
}

impl<O: Objective> Call<'_, '_, O> {
    /// Whether the rows can be told in so many blocks: an objective that must see the whole batch takes one.
    pub(crate) fn takes(&self, blocks: usize) -> bool {
        blocks == 1 || self.loss.objective().group_plan().is_none()
    }

    /// The loss alone.
    pub(crate) fn forward<T: Stored>(self, z: &[T], rows: &Rows) -> Result<LossReport> {
        let loss = self.loss;
        let mut workspace = OwnedWorkspace::new();
        self.each(rows, |_, elements, batch, outputs| {
            let z = Logits::strided(&z[elements], rows.of_block, rows.vocab, rows.stride)?;
            loss.forward_with(z, batch, outputs, workspace.lend(rows.of_block, rows.vocab))
        })
    }

    /// Loss and gradient, which is written row after row.
    pub(crate) fn forward_backward<T: Stored>(
        self,
        z: &[T],
        rows: &Rows,
        dz: &mut [T],
    ) -> Result<LossReport> {
        let loss = self.loss;
        let mut workspace = OwnedWorkspace::new();
        self.each(rows, |range, elements, batch, outputs| {
            let z = Logits::strided(&z[elements], rows.of_block, rows.vocab, rows.stride)?;
            let dz = &mut dz[range.start * rows.vocab..range.end * rows.vocab];
            let dz = LogitsMut::new(dz, rows.of_block, rows.vocab)?;
            loss.forward_backward_with(
                z,
                batch,
                dz,
                outputs,
                workspace.lend(rows.of_block, rows.vocab),
            )
        })
    }

    /// Loss, and the gradient where the logits are.
    pub(crate) fn in_place<T: Stored>(self, z: &mut [T], rows: &Rows) -> Result<LossReport> {
        let loss = self.loss;
        let mut workspace = OwnedWorkspace::new();
        self.each(rows, |_, elements, batch, outputs| {
            let z = LogitsMut::strided(&mut z[elements], rows.of_block, rows.vocab, rows.stride)?;
            let workspace = workspace.lend(rows.of_block, rows.vocab);
            loss.forward_backward_in_place_with(z, batch, outputs, workspace)
        })
    }

    /// Calls `block` for every block, with its rows, its elements, its part of the batch and of the outputs; the sum of the reports.
    fn each(
        self,
        rows: &Rows,
        mut block: impl FnMut(
            std::ops::Range<usize>,
            std::ops::Range<usize>,
            &Batch<'_>,
            Outputs<'_>,
        ) -> std::result::Result<LossReport, surprisal::Error>,
    ) -> Result<LossReport> {
        let run = || {
            let Self { loss, batch, mut outputs } = self;
            if let [_] = rows.starts[..] {
                let (range, elements) = rows.blocks().next().expect("there is one");
                return block(range, elements, batch, outputs);
            }
            // What a mean divides by is that of all blocks; and everything is checked before the first is written.
            let denominator = loss.prepare(batch, rows.len(), rows.vocab)?;
            outputs.check(rows.len())?;
            let batch = batch.denominator(denominator);
            let mut report = LossReport::default();
            for (range, elements) in rows.blocks() {
                let (now, later) = outputs.split_at(range.len());
                outputs = later;
                let part = batch.row_range(range.clone());
                report = report.merge(block(range, elements, &part, now)?);
            }
            Ok(report)
        };
        run().map_err(Error::wrap)
    }
}
