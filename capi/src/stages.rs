//! The three stages by themselves: for vocabulary shards, and for objectives of a group over a caller's threads.

use surprisal::RowStats;
use surprisal::objective::TokenTerm;

use crate::batch::{BatchInput, surprisal_batch};
use crate::detail::{finish, surprisal_error_detail};
use crate::logits::{surprisal_logits, surprisal_logits_mut};
use crate::loss::{LossInput, surprisal_loss};
use crate::matrix::{Matrix, Operands, Place, with_logits, with_result};
use crate::memory::{Input, Memory};
use crate::report::surprisal_report;
use crate::stats::{surprisal_stats, surprisal_term};
use crate::status::Failure;
use crate::status::surprisal_status::{self, SURPRISAL_ERROR_SHAPE};

/// Stage 1: statistics of the matrix's rows, of whole rows or of a vocabulary shard.
///
/// `stats` has one entry for each row of the whole batch; those of the matrix's rows are written. A target outside the shard contributes 0 to
/// `target_logit`. Merge shards with `surprisal_stats_merge`.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_row_stats(
    loss: *const surprisal_loss,
    batch: *const surprisal_batch,
    logits: *const surprisal_logits,
    stats: *mut surprisal_stats,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs and arrays; the layouts agree (asserted in `stats`).
        let (matrix, loss, batch, stats) = unsafe {
            let matrix = Matrix::read(logits, "logits", &mut memory)?;
            let loss = LossInput::read(loss, matrix.place.vocab_total, &mut memory)?;
            let batch = BatchInput::read(batch, &mut memory)?;
            matrix.place.check_batch(batch.rows)?;
            let stats = matrix.place.output::<RowStats>(&mut memory, "stats", stats.cast())?;
            (matrix, loss, batch, stats.ok_or(Failure::missing("stats"))?)
        };
        // SAFETY: the C caller's matrix.
        let logits = unsafe { matrix.input("logits", &mut memory) }?;
        let checked = memory.check()?;
        let batch = matrix.place.of(batch.get(&checked)?);
        let (loss, stats) = (loss.get(&checked), stats.get(&checked));
        with_logits!(logits.view(&checked)?, |z| loss.row_stats(z, &batch, stats)?);
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Stage 2: the group pass, the denominators, and the term of each of `rows` rows from `row_start` on, from merged statistics.
///
/// `stats` and `terms` have one entry for each row of the whole batch; those of the range are read and written. Objectives of a sequence or
/// the batch need all rows at once; it takes some hundred nanoseconds a row. `vocab_total` is the whole vocabulary.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_token_terms(
    loss: *const surprisal_loss,
    batch: *const surprisal_batch,
    vocab_total: usize,
    row_start: usize,
    rows: usize,
    stats: *const surprisal_stats,
    terms: *mut surprisal_term,
    report: *mut surprisal_report,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs and arrays; the layouts agree (asserted in `stats`).
        let (loss, batch, place, stats, terms, report) = unsafe {
            let loss = LossInput::read(loss, vocab_total, &mut memory)?;
            let batch = BatchInput::read(batch, &mut memory)?;
            let place = part_of(&batch, row_start, rows)?;
            let stats = place.input::<RowStats>(&mut memory, "stats", stats.cast())?;
            let terms = place.output::<TokenTerm>(&mut memory, "terms", terms.cast())?;
            (
                loss,
                batch,
                place,
                stats,
                terms.ok_or(Failure::missing("terms"))?,
                memory.write_struct(report)?,
            )
        };
        let checked = memory.check()?;
        let batch = place.of(batch.get(&checked)?);
        let (stats, terms) = (stats.get(&checked), terms.get(&checked));
        report.write(loss.get(&checked).token_terms(stats, &batch, vocab_total, terms)?.into());
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Stage 3: the gradient of the matrix's rows, of whole rows or of a vocabulary shard, from merged statistics and terms.
///
/// `dlogits[j] = coef (p[j] - [j = target])`, with the dense extras. `stats` and `terms` have one entry for each row of the whole batch; those
/// of the matrix's rows are read.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_logits_grad(
    loss: *const surprisal_loss,
    batch: *const surprisal_batch,
    logits: *const surprisal_logits,
    stats: *const surprisal_stats,
    terms: *const surprisal_term,
    dlogits: *const surprisal_logits_mut,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs and arrays; the layouts agree (asserted in `stats`).
        let (matrix, result, loss, batch, stats, terms) = unsafe {
            let matrix = Matrix::read(logits, "logits", &mut memory)?;
            let result = Matrix::read(dlogits.cast(), "dlogits", &mut memory)?;
            let loss = LossInput::read(loss, matrix.place.vocab_total, &mut memory)?;
            let batch = BatchInput::read(batch, &mut memory)?;
            matrix.place.check_batch(batch.rows)?;
            let stats = matrix.place.input::<RowStats>(&mut memory, "stats", stats.cast())?;
            let terms = matrix.place.input::<TokenTerm>(&mut memory, "terms", terms.cast())?;
            (matrix, result, loss, batch, stats, terms)
        };
        // SAFETY: the C caller's matrices.
        let operands = unsafe { Operands::declare(&matrix, &result, "dlogits", &mut memory) }?;
        let checked = memory.check()?;
        let batch = matrix.place.of(batch.get(&checked)?);
        let (loss, stats, terms) = (loss.get(&checked), stats.get(&checked), terms.get(&checked));
        match operands {
            Operands::Split(logits, dlogits) => {
                with_result!(logits.view(&checked)?, dlogits.view(&checked)?, |z, dz| loss
                    .logits_grad(z, &batch, stats, terms, dz)?);
            }
            Operands::InPlace(logits) => {
                with_logits!(logits.view(&checked)?, |z| loss
                    .logits_grad_in_place(z, &batch, stats, terms)?);
            }
        }
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// The rows of a range as a matrix would have them.
fn part_of(batch: &BatchInput, row_start: usize, rows: usize) -> Result<Place, Failure> {
    if row_start.checked_add(rows).is_none_or(|end| end > batch.rows) {
        let message = "row_start + rows is beyond the batch's rows";
        let failure = Failure::new(SURPRISAL_ERROR_SHAPE, "row_start", message);
        return Err(failure.value(row_start as f64));
    }
    let rows_total = batch.rows;
    Ok(Place { rows, vocab: 0, row_start, rows_total, vocab_start: 0, vocab_total: 0 })
}

impl Place {
    /// Declares the entries of this matrix's rows of a batch-wide array to read.
    ///
    /// # Safety
    /// As [`Memory::input`], for the entries of the rows.
    unsafe fn input<'call, T>(
        &self,
        memory: &mut Memory,
        argument: &'static str,
        batch_wide: *const T,
    ) -> Result<Input<'call, T>, Failure> {
        if batch_wide.is_null() {
            return Err(Failure::missing(argument));
        }
        let pointer = Memory::entry(argument, batch_wide, self.row_start)?;
        // SAFETY: passed on.
        unsafe { memory.input(argument, pointer, self.rows) }
    }
}
