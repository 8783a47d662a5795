//! Where a matrix lies in its batch and vocabulary.

use crate::memory::RowRange;
use crate::status::Failure;
use crate::status::surprisal_status::SURPRISAL_ERROR_SHAPE;

/// Where a matrix lies in its batch and vocabulary, with the defaults filled in.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    /// The matrix.
    pub(crate) argument: &'static str,
    pub(crate) rows: usize,
    pub(crate) vocab: usize,
    pub(crate) row_start: usize,
    pub(crate) rows_total: usize,
    pub(crate) vocab_start: usize,
    pub(crate) vocab_total: usize,
}

impl Place {
    /// The rows of the batch, of the call's batch-wide arrays.
    pub(crate) fn check_batch(&self, rows: usize) -> Result<(), Failure> {
        if self.rows_total == rows {
            return Ok(());
        }
        let message = "rows_total (or rows, where it is 0) differs from the batch's rows";
        let failure = Failure::new(SURPRISAL_ERROR_SHAPE, self.argument, message);
        Err(failure.value(self.rows_total as f64))
    }

    /// The rows of the batch that a call on this matrix works on. They have been checked.
    pub(crate) fn range(&self) -> RowRange {
        RowRange { start: self.row_start, len: self.rows, total: self.rows_total }
    }

    /// Checks that a result has this shape, and this place in the batch and the vocabulary if it names one.
    pub(crate) fn check_result(
        &self,
        result: &Self,
        argument: &'static str,
    ) -> Result<(), Failure> {
        if (self.rows, self.vocab) != (result.rows, result.vocab) {
            let message = "differs from logits in rows or vocab";
            return Err(Failure::new(SURPRISAL_ERROR_SHAPE, argument, message));
        }
        let place = |p: &Self| [(p.row_start, p.rows_total), (p.vocab_start, p.vocab_total)];
        let ([rows, columns], [own_rows, own_columns]) = (place(result), place(self));
        if result.rows != result.rows_total && rows != own_rows {
            return Err(Failure::other_place(argument, "rows").value(result.row_start as f64));
        }
        if result.vocab != result.vocab_total && columns != own_columns {
            return Err(Failure::other_place(argument, "vocab").value(result.vocab_start as f64));
        }
        Ok(())
    }
}
