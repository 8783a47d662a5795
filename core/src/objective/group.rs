//! What a group pass may look at: the batch's log-probabilities and side inputs, never its logits.

use core::ops::Range;

use super::{TokenTerm, order};
use crate::batch::{Batch, Pair};

/// The least ln p that an objective sees: finite, so that weights which vanish there win over it.
pub(crate) const LOG_P_MIN: f64 = -1e300;

/// What a group pass leaves for a token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Scalars {
    values: [f64; 2],
    /// 1 for a token that takes part.
    counts: f64,
}

impl Scalars {
    /// A token that does not take part: it is treated like an ignored row.
    pub const DROPPED: Self = Self { values: [0.0; 2], counts: 0.0 };

    /// A token that takes part, with what [`Token::shared`](super::Token::shared) will hold.
    #[must_use]
    pub const fn of(values: [f64; 2]) -> Self {
        Self { values, counts: 1.0 }
    }

    /// What the token will see.
    #[must_use]
    pub const fn values(&self) -> [f64; 2] {
        self.values
    }

    /// Whether the token takes part.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.counts != 0.0
    }
}

/// What objectives of a sequence, a pair or the whole batch do between statistics and terms: over log-probabilities, never over logits.
pub trait GroupPass: Sync {
    /// Leaves scalars for every row; before that, `scalars` holds [`Scalars::DROPPED`] and may serve as scratch, one entry a row. Ignored rows
    /// stay ignored whatever is written there. Returns the temperature that was found, for the report.
    fn run(&self, group: &Group<'_>, scalars: &mut [Scalars]) -> Option<f64>;
}

/// A batch after stage 1, as the group pass of an objective sees it.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// ln p of every row's target, in the place of its loss.
    pub(crate) log_p: &'a [TokenTerm],
    pub(crate) batch: &'a Batch<'a>,
}

impl<'a> Group<'a> {
    /// ln p of the target of an active row; at least −1e300.
    #[must_use]
    pub fn log_p(&self, row: usize) -> f64 {
        self.log_p.get(row).map_or(f64::NAN, |term| floor_log_p(term.loss))
    }

    /// ln p of the target under the reference model; 0 where none was given.
    #[must_use]
    pub fn ref_log_p(&self, row: usize) -> f64 {
        self.batch.ref_log_p(row)
    }

    /// ln p of the target under the sampling policy; 0 where none was given.
    #[must_use]
    pub fn old_log_p(&self, row: usize) -> f64 {
        self.batch.old_log_p(row)
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

    /// An extra input of the caller's; NaN where none has this name.
    #[must_use]
    pub fn extra(&self, name: &str, row: usize) -> f64 {
        self.batch.extra_of(name).map_or(f64::NAN, |values| self.batch.entry(values, row))
    }

    /// Rows that are not ignored.
    pub fn active_rows(&self) -> impl Iterator<Item = usize> + Clone + '_ {
        self.active_in(0..self.log_p.len())
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
    pub fn per_sequence(&self, scalars: &mut [Scalars], value: impl Fn(Range<usize>) -> Scalars) {
        for rows in self.sequences() {
            let value = value(rows.clone());
            scalars.get_mut(rows).unwrap_or_default().fill(value);
        }
    }

    /// The lower median of at most `scratch.len()` values, as `torch.median`; `None` of none. NaN counts as the largest.
    pub fn lower_median(
        &self,
        scratch: &mut [Scalars],
        values: impl Iterator<Item = f64>,
    ) -> Option<f64> {
        let mut count = 0_usize;
        for (slot, value) in scratch.iter_mut().zip(values) {
            slot.values[0] = order::nan_last(value);
            count += 1;
        }
        let middle = count.checked_sub(1)? / 2;
        let keys = scratch.iter().take(count).map(|slot| order::key(slot.values[0]));
        order::select(keys, middle).map(|(key, _)| order::value(key))
    }
}

pub(crate) fn floor_log_p(log_p: f64) -> f64 {
    if log_p < LOG_P_MIN { LOG_P_MIN } else { log_p }
}
