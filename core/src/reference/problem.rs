//! What a call was given, after its checks: the plain data, by name, with the defaults filled in.

use core::ops::Range;

use super::row::Row;
use crate::batch::Batch;
use crate::entry;
use crate::error::{Argument, Error, check_len};
use crate::loss::{Extras, Loss};
use crate::objective::{Builtin, Objective};
use crate::reduction::Reduction;

/// The least ln p in sums over tokens: finite, so that a sequence with an impossible token has a mean, and a ratio of two such
/// sums a value.
const IMPOSSIBLE: f64 = -1e300;

/// All that a call knows besides the logits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Problem<'a> {
    pub(super) objective: &'a Builtin,
    pub(super) reduction: Reduction,
    pub(super) extras: &'a Extras<'a>,
    pub(super) batch: &'a Batch<'a>,
    pub(super) rows: usize,
    pub(super) vocab: usize,
}

/// A problem at some logits `[rows × vocab]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Model<'a> {
    pub(super) problem: &'a Problem<'a>,
    pub(super) logits: &'a [f64],
}

impl<'a> Problem<'a> {
    /// Makes the checks of the fast path, which are no arithmetic.
    pub(super) fn new(
        loss: &'a Loss<'_, Builtin>,
        rows: usize,
        vocab: usize,
        batch: &'a Batch<'_>,
    ) -> Result<Self, Error> {
        if vocab == 0 {
            return Err(Error::EmptyVocab);
        }
        let (objective, reduction, extras) = loss.parts();
        objective.check()?;
        extras.check(vocab)?;
        for &input in objective.inputs() {
            if let Some(missing) = batch.lacks(input) {
                return Err(Error::Missing(missing));
            }
        }
        reduction.check(objective, batch)?;
        batch.check(rows, vocab)?;
        batch.check_whole()?;
        Ok(Self { objective, reduction, extras, batch, rows, vocab })
    }

    /// Checks that a matrix has `rows × vocab` elements.
    pub(super) fn check_matrix(&self, argument: Argument, len: usize) -> Result<(), Error> {
        let expected = self.rows.checked_mul(self.vocab).ok_or(Error::Extent { argument })?;
        check_len(argument, len, expected)
    }

    /// The problem at these logits.
    pub(super) fn at(&'a self, logits: &'a [f64]) -> Model<'a> {
        Model { problem: self, logits }
    }

    /// Where a row lies in a matrix.
    pub(super) fn columns(&self, row: usize) -> Range<usize> {
        row * self.vocab..(row + 1) * self.vocab
    }

    /// The target of a row; `None` where the row is ignored.
    pub(super) fn target(&self, row: usize) -> Option<usize> {
        self.batch.target(row).and_then(|target| usize::try_from(target).ok())
    }

    pub(super) fn token_weight(&self, row: usize) -> f64 {
        self.batch.token_weights.map_or(1.0, |weights| entry::read(weights, row))
    }

    pub(super) fn class_weight(&self, class: usize) -> f64 {
        self.extras.class_weights.map_or(1.0, |weights| entry::read(weights, class))
    }

    pub(super) fn ref_log_p(&self, row: usize) -> f64 {
        self.batch.ref_log_probs.map_or(0.0, |values| entry::read(values, row))
    }

    pub(super) fn old_log_p(&self, row: usize) -> f64 {
        self.batch.old_log_probs.map_or(0.0, |values| entry::read(values, row))
    }

    pub(super) fn advantage(&self, row: usize) -> f64 {
        self.batch.advantages.map_or(0.0, |values| entry::read(values, row))
    }

    pub(super) fn group(&self, row: usize) -> usize {
        self.batch.group(row)
    }

    /// Number of sequences: the whole batch is one where the caller gave none.
    pub(super) fn sequences(&self) -> usize {
        self.batch.sequences.map_or(1, |sequences| sequences.len())
    }

    /// The rows of a sequence.
    pub(super) fn sequence(&self, sequence: usize) -> Range<usize> {
        self.batch.sequences.map_or(0..self.rows, |sequences| sequences.rows(sequence))
    }

    /// Mean of a value over the rows of a range that are not ignored; `None` where there are none.
    pub(super) fn mean(&self, rows: Range<usize>, value: impl Fn(usize) -> f64) -> Option<f64> {
        let (mut sum, mut count) = (0.0, 0_usize);
        for row in rows {
            if self.target(row).is_some() {
                sum += value(row);
                count += 1;
            }
        }
        if count == 0 { None } else { Some(sum / count as f64) }
    }
}

impl<'a> Model<'a> {
    pub(super) fn row(&self, row: usize) -> Row<'a> {
        Row {
            logits: self.logits.get(self.problem.columns(row)).unwrap_or_default(),
            scale: f64::from(self.problem.extras.logit_scale),
            cap: self.problem.extras.softcap.map(f64::from),
        }
    }

    /// ln p of the target: −∞ where it is impossible, NaN where the row has no softmax. The row is not ignored.
    pub(super) fn log_p(&self, row: usize) -> f64 {
        let Some(target) = self.problem.target(row) else { return f64::NAN };
        self.row(row).chosen(target).log_p
    }

    /// The same, finite (or NaN), for sums over tokens.
    pub(super) fn finite_log_p(&self, row: usize) -> f64 {
        finite(self.log_p(row))
    }
}

/// ln p, at least −1e300; NaN stays.
pub(super) fn finite(log_p: f64) -> f64 {
    if log_p < IMPOSSIBLE { IMPOSSIBLE } else { log_p }
}
