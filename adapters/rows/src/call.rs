//! The library's calls over rows that lie in blocks.

use std::ops::Range;

use surprisal::objective::Objective;
use surprisal::{
    Batch, Element, Error, Logits, LogitsMut, Loss, LossReport, Outputs, OwnedWorkspace,
};

use crate::Rows;

/// One call, whose logits are told by where their rows lie in a slice.
#[derive(Debug)]
pub struct Call<'c, 'a, O> {
    /// The loss.
    pub loss: &'c Loss<'a, O>,
    /// The batch, of all rows.
    pub batch: &'c Batch<'c>,
    /// Per-token outputs, of all rows.
    pub outputs: Outputs<'c>,
}

impl<O: Objective> Call<'_, '_, O> {
    /// Whether the rows can be told as they lie: an objective that must see the whole batch takes one block.
    #[must_use]
    pub fn takes(&self, rows: &Rows) -> bool {
        rows.starts.len() == 1 || self.loss.objective().group_plan().is_none()
    }

    /// The loss alone.
    ///
    /// # Errors
    /// As [`Loss::forward_with`]. Nothing has been written then.
    pub fn forward<T: Element>(self, z: &[T], rows: &Rows) -> Result<LossReport, Error> {
        let loss = self.loss;
        check_reach(z, rows)?;
        let mut workspace = OwnedWorkspace::new();
        self.each(rows, |_, elements, batch, outputs| {
            let z = Logits::strided(within(z, elements), rows.of_block, rows.vocab, rows.stride)?;
            loss.forward_with(z, batch, outputs, workspace.lend(rows.of_block, rows.vocab))
        })
    }

    /// Loss and gradient, which is written row after row: `dz` is `[rows.len(), rows.vocab]`.
    ///
    /// # Errors
    /// As [`Loss::forward_backward_with`]. Nothing has been written then.
    pub fn forward_backward<T: Element>(
        self,
        z: &[T],
        rows: &Rows,
        dz: &mut [T],
    ) -> Result<LossReport, Error> {
        let loss = self.loss;
        check_reach(z, rows)?;
        LogitsMut::new(dz, rows.len(), rows.vocab)?;
        let mut workspace = OwnedWorkspace::new();
        self.each(rows, |range, elements, batch, outputs| {
            let z = Logits::strided(within(z, elements), rows.of_block, rows.vocab, rows.stride)?;
            let dz = &mut dz[range.start * rows.vocab..range.end * rows.vocab];
            let dz = LogitsMut::new(dz, rows.of_block, rows.vocab)?;
            let workspace = workspace.lend(rows.of_block, rows.vocab);
            loss.forward_backward_with(z, batch, dz, outputs, workspace)
        })
    }

    /// Loss, and the gradient where the logits are.
    ///
    /// # Errors
    /// As [`Loss::forward_backward_in_place_with`]. Nothing has been written then.
    pub fn in_place<T: Element>(self, z: &mut [T], rows: &Rows) -> Result<LossReport, Error> {
        let loss = self.loss;
        check_reach(z, rows)?;
        let mut workspace = OwnedWorkspace::new();
        self.each(rows, |_, elements, batch, outputs| {
            let z = z.get_mut(elements).unwrap_or_default();
            let z = LogitsMut::strided(z, rows.of_block, rows.vocab, rows.stride)?;
            let workspace = workspace.lend(rows.of_block, rows.vocab);
            loss.forward_backward_in_place_with(z, batch, outputs, workspace)
        })
    }

    /// Calls `block` for every block, with its rows, its elements, its part of the batch and of the outputs; the sum of the reports.
    fn each(
        self,
        rows: &Rows,
        mut block: impl FnMut(
            Range<usize>,
            Range<usize>,
            &Batch<'_>,
            Outputs<'_>,
        ) -> Result<LossReport, Error>,
    ) -> Result<LossReport, Error> {
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
    }
}

/// Whether the slice reaches to the end of the last block.
fn check_reach<T: Element>(z: &[T], rows: &Rows) -> Result<(), Error> {
    let last = rows.blocks().map(|(_, elements)| elements).max_by_key(|elements| elements.end);
    let z = within(z, last.unwrap_or_default());
    Logits::strided(z, rows.of_block, rows.vocab, rows.stride).map(|_| ())
}

/// The elements of a block; none where the slice ends before them, which the views refuse.
fn within<T>(z: &[T], elements: Range<usize>) -> &[T] {
    z.get(elements).unwrap_or_default()
}
