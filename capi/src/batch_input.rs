//! A caller's batch inside the crate: read, its arrays declared, and made into the core's.

use surprisal::{Batch, Pair};

use crate::batch::surprisal_batch;
use crate::denominator::DenominatorInput;
use crate::loss::LossInput;
use crate::memory::{Checked, Input, Memory, RowRange};
use crate::place::Place;
use crate::status::Failure;
use crate::status::surprisal_status::{
    SURPRISAL_ERROR_EXTENT, SURPRISAL_ERROR_SHAPE, SURPRISAL_ERROR_VALUE,
};
use crate::versioned::Versioned;

/// Ids of one of two types.
enum Ids<'call> {
    I32(Input<'call, i32>),
    I64(Input<'call, i64>),
}

impl<'call> Ids<'call> {
    fn get(&self, checked: &Checked) -> surprisal::Ids<'call> {
        match self {
            Self::I32(ids) => ids.get(checked).into(),
            Self::I64(ids) => ids.get(checked).into(),
        }
    }
}

/// A caller's batch whose arrays are declared: those of an entry a row with the entries of the call's rows alone.
pub(crate) struct BatchInput<'call> {
    /// The rows of the call.
    pub(crate) rows: RowRange,
    pub(crate) sequence_count: usize,
    targets: Ids<'call>,
    ignore_index: i64,
    token_weights: Option<Input<'call, f32>>,
    ref_log_probs: Option<Input<'call, f32>>,
    old_log_probs: Option<Input<'call, f32>>,
    advantages: Option<Input<'call, f32>>,
    groups: Option<Input<'call, u32>>,
    sequences: Option<Ids<'call>>,
    pairs: Option<Input<'call, Pair>>,
    keep: Option<Input<'call, u8>>,
    denominator: Option<DenominatorInput<'call>>,
}

impl<'call> BatchInput<'call> {
    /// Reads a caller's batch and declares its arrays, for a call on all rows.
    ///
    /// # Safety
    /// As [`Memory::read_struct`], and as [`Memory::input`] for every array.
    pub(crate) unsafe fn whole(
        batch: *const surprisal_batch,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on.
        unsafe { Self::read(batch, |rows| Ok(RowRange::all(rows)), None, memory) }
    }

    /// The same, for a call on the rows of a matrix; with the denominator of a loss that looks for one.
    ///
    /// # Safety
    /// As [`BatchInput::whole`], for the entries of the rows.
    pub(crate) unsafe fn of_matrix(
        batch: *const surprisal_batch,
        place: &Place,
        loss: Option<&LossInput<'_>>,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        let range = |rows| place.check_batch(rows).map(|()| place.range());
        // SAFETY: passed on.
        unsafe { Self::read(batch, range, loss, memory) }
    }

    /// The same, for a call on `rows` rows from `row_start` on.
    ///
    /// # Safety
    /// As [`BatchInput::of_matrix`].
    pub(crate) unsafe fn part(
        batch: *const surprisal_batch,
        row_start: usize,
        rows: usize,
        loss: &LossInput<'_>,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        let message = "row_start + rows is beyond the batch's rows";
        let failure = Failure::new(SURPRISAL_ERROR_SHAPE, "row_start", message);
        let range =
            |total| RowRange::new(row_start, rows, total).ok_or(failure.value(row_start as f64));
        // SAFETY: passed on.
        unsafe { Self::read(batch, range, Some(loss), memory) }
    }

    /// # Safety
    /// As [`BatchInput::whole`], for the entries of the rows that `range` makes of the number of rows, and lie inside it.
    unsafe fn read(
        batch: *const surprisal_batch,
        range: impl FnOnce(usize) -> Result<RowRange, Failure>,
        loss: Option<&LossInput<'_>>,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on.
        let b = unsafe { memory.read_struct(surprisal_batch::NAME, batch) }?;
        let rows = &range(b.rows)?;
        let ids = (b.targets_i32, b.targets_i64);
        // SAFETY: passed on.
        let targets = unsafe { declare_ids(memory, "targets", ids, rows) }?;
        // SAFETY: passed on.
        let sequences = unsafe { declare_sequences(&b, memory) }?;
        if b.pairs.is_null() && b.pair_count > 0 {
            return Err(Failure::missing("pairs"));
        }
        let (count, known) = (b.sequence_count, b.denominator);
        // SAFETY: passed on; the two pair types have the same layout (asserted in `batch`).
        unsafe {
            Ok(Self {
                rows: *rows,
                sequence_count: count,
                targets,
                ignore_index: b.ignore_index,
                token_weights: memory.optional_rows_input(
                    "token_weights",
                    b.token_weights,
                    rows,
                )?,
                ref_log_probs: memory.optional_rows_input(
                    "ref_log_probs",
                    b.ref_log_probs,
                    rows,
                )?,
                old_log_probs: memory.optional_rows_input(
                    "old_log_probs",
                    b.old_log_probs,
                    rows,
                )?,
                advantages: memory.optional_rows_input("advantages", b.advantages, rows)?,
                groups: memory.optional_rows_input("groups", b.groups, rows)?,
                sequences,
                pairs: memory.optional_input("pairs", b.pairs.cast(), b.pair_count)?,
                keep: memory.optional_input("keep", b.keep, count)?,
                denominator: match loss {
                    Some(loss) if rows.is_part() => {
                        DenominatorInput::read(known, loss, count, memory)?
                    }
                    _ => None,
                },
            })
        }
    }

    /// The batch.
    pub(crate) fn get(&self, checked: &Checked) -> Result<Batch<'call>, Failure> {
        let mut batch = Batch::new(self.targets.get(checked)).ignore_index(self.ignore_index);
        if let Some(weights) = &self.token_weights {
            batch = batch.token_weights(weights.get(checked));
        }
        if let Some(log_probs) = &self.ref_log_probs {
            batch = batch.ref_log_probs(log_probs.get(checked));
        }
        if let Some(log_probs) = &self.old_log_probs {
            batch = batch.old_log_probs(log_probs.get(checked));
        }
        if let Some(advantages) = &self.advantages {
            batch = batch.advantages(advantages.get(checked));
        }
        if let Some(groups) = &self.groups {
            batch = batch.groups(groups.get(checked));
        }
        if let Some(sequences) = &self.sequences {
            batch = batch.sequences(sequences.get(checked));
        }
        if let Some(pairs) = &self.pairs {
            batch = batch.pairs(pairs.get(checked));
        }
        if let Some(keep) = &self.keep {
            // Only plans look at the flags, which are given the whole batch.
            let flags = if self.rows.is_part() { &[] } else { flags(keep.get(checked))? };
            batch = batch.keep(flags);
        }
        if let Some(denominator) = &self.denominator {
            batch = batch.denominator(denominator.get(checked));
        }
        if self.rows.is_part() {
            let RowRange { start, len, total } = self.rows;
            batch = batch.part_of(start..start.saturating_add(len), total);
        }
        Ok(batch)
    }
}

/// Declares the offsets of the sequences, all of them.
///
/// # Safety
/// As [`Memory::input`].
unsafe fn declare_sequences<'call>(
    b: &surprisal_batch,
    memory: &mut Memory,
) -> Result<Option<Ids<'call>>, Failure> {
    let offsets = (b.cu_seqlens_i32, b.cu_seqlens_i64);
    if offsets.0.is_null() && offsets.1.is_null() && b.sequence_count == 0 {
        return Ok(None);
    }
    let too_many = Failure::new(SURPRISAL_ERROR_EXTENT, "sequence_count", "overflows");
    let count = b.sequence_count.checked_add(1).ok_or(too_many)?;
    // SAFETY: passed on.
    unsafe { declare_ids(memory, "cu_seqlens", offsets, &RowRange::all(count)) }.map(Some)
}

/// Declares some of the ids that are given as one of two types.
///
/// # Safety
/// As [`Memory::input`], for those.
unsafe fn declare_ids<'call>(
    memory: &mut Memory,
    argument: &'static str,
    (narrow, wide): (*const i32, *const i64),
    range: &RowRange,
) -> Result<Ids<'call>, Failure> {
    // SAFETY: passed on.
    match unsafe {
        (
            memory.optional_rows_input(argument, narrow, range)?,
            memory.optional_rows_input(argument, wide, range)?,
        )
    } {
        (Some(ids), None) => Ok(Ids::I32(ids)),
        (None, Some(ids)) => Ok(Ids::I64(ids)),
        (Some(_), Some(_)) => {
            Err(Failure::option(argument, "is given as i32 and as i64: which one counts?"))
        }
        // SAFETY: passed on; NULL is refused unless there are no elements.
        (None, None) => unsafe { memory.input(argument, narrow, range.len) }.map(Ids::I32),
    }
}

/// Flags of the caller as `bool`, which only 0 and 1 are.
fn flags(bytes: &[u8]) -> Result<&[bool], Failure> {
    if let Some(index) = bytes.iter().position(|&byte| byte > 1) {
        let failure = Failure::new(SURPRISAL_ERROR_VALUE, "keep", "is neither 0 nor 1");
        let value = bytes.get(index).copied().map_or(f64::NAN, f64::from);
        return Err(failure.index(index).value(value));
    }
    // SAFETY: `bool` has the size and alignment of `u8`, and every byte is 0 or 1.
    Ok(unsafe { core::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len()) })
}
