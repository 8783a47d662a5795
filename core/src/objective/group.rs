//! What a group pass may look at: the batch's log-probabilities and side inputs, never its logits.

use core::ops::Range;

use super::{TokenTerm, order};
use crate::batch::{Batch, Pair};
use crate::entry;
use crate::stats::RowStats;

/// The least ln p that an objective sees: finite, so that weights which vanish there win over it.
pub(crate) const LOG_P_MIN: f64 = -1e300;

/// A batch after stage 1, as the group pass of an objective sees it.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    pub(crate) stats: &'a [RowStats],
    pub(crate) batch: &'a Batch<'a>,
}

impl<'a> Group<'a> {
    /// ln p of the target of an active row; at least −1e300.
    #[must_use]
    pub fn log_p(&self, row: usize) -> f64 {
        self.stats.get(row).map_or(f64::NAN, |stats| floor_log_p(stats.log_prob()))
    }

    /// ln p of the target under the reference model; 0 where none was given.
    #[must_use]
    pub fn ref_log_p(&self, row: usize) -> f64 {
        side_log_p(self.batch.ref_log_probs, row)
    }

    /// ln p of the target under the sampling policy; 0 where none was given.
    #[must_use]
    pub fn old_log_p(&self, row: usize) -> f64 {
        side_log_p(self.batch.old_log_probs, row)
    }

    /// Group id of the token; 0 where none was given.
    #[must_use]
    pub fn group_id(&self, row: usize) -> usize {
        self.batch.group(row)
    }

    /// Whether the caller keeps a sequence.
    #[must_use]
    pub fn keeps(&self, sequence: usize) -> bool {
        self.batch.keeps(sequence)
    }

    /// The preference pairs.
    #[must_use]
    pub fn pairs(&self) -> &'a [Pair] {
        self.batch.pairs.unwrap_or_default()
    }

    /// Rows that are not ignored.
    pub fn active_rows(&self) -> impl Iterator<Item = usize> + Clone + '_ {
        self.active_in(0..self.stats.len())
    }

    /// Rows of a range that are not ignored.
    pub fn active_in(&self, rows: Range<usize>) -> impl Iterator<Item = usize> + Clone + '_ {
        rows.filter(|&row| self.batch.target(row).is_some())
    }

    /// Rows of a sequence; none where the batch has no such sequence.
    #[must_use]
    pub fn sequence(&self, sequence: usize) -> Range<usize> {
        self.batch.sequences.map_or(0..0, |sequences| sequences.rows(sequence))
    }

    /// The row ranges of all sequences.
    pub fn sequences(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        let count = self.batch.sequences.map_or(0, |sequences| sequences.len());
        (0..count).map(|sequence| self.sequence(sequence))
    }

    /// Mean of a value over the active rows of a range; `None` where there are none.
    pub fn mean(&self, rows: Range<usize>, value: impl Fn(usize) -> f64) -> Option<f64> {
        let (count, sum) =
            self.active_in(rows).fold((0_usize, 0.0), |(n, sum), row| (n + 1, sum + value(row)));
        (count > 0).then(|| sum / count as f64)
    }

    /// Gives every row of a sequence the same scalars.
    pub fn per_sequence(
        &self,
        terms: &mut [TokenTerm],
        scalars: impl Fn(Range<usize>) -> TokenTerm,
    ) {
        for rows in self.sequences() {
            let value = scalars(rows.clone());
            terms.get_mut(rows).unwrap_or_default().fill(value);
        }
    }

    /// The lower median of at most `scratch.len()` values, as `torch.median`; `None` of none. NaN counts as the largest.
    pub fn lower_median(
        &self,
        scratch: &mut [TokenTerm],
        values: impl Iterator<Item = f64>,
    ) -> Option<f64> {
        let mut count = 0_usize;
        for (slot, value) in scratch.iter_mut().zip(values) {
            slot.loss = order::nan_last(value);
            count += 1;
        }
        let middle = count.checked_sub(1)? / 2;
        let keys = scratch.iter().take(count).map(|slot| order::key(slot.loss));
        order::select(keys, middle).map(|(key, _)| order::value(key))
    }
}

pub(crate) fn floor_log_p(log_p: f64) -> f64 {
    if log_p < LOG_P_MIN { LOG_P_MIN } else { log_p }
}

#[inline]
pub(crate) fn side_log_p(values: Option<&[f32]>, row: usize) -> f64 {
    values.map_or(0.0, |values| floor_log_p(entry::read(values, row)))
}
