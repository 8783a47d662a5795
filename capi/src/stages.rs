//! The three stages by themselves: for vocabulary shards, and for objectives of group scope over a caller's threads.

use surprisal::RowStats;
use surprisal::objective::TokenTerm;

use crate::batch::surprisal_batch;
use crate::batch_input::BatchInput;
use crate::detail::{finish, surprisal_error_detail};
use crate::logits::{surprisal_logits, surprisal_logits_mut};
use crate::loss::{LossInput, surprisal_loss};
use crate::matrix::{Matrix, Operands, with_logits, with_result};
use crate::memory::Memory;
use crate::report::surprisal_report;
use crate::stats::{surprisal_stats, surprisal_term};
use crate::status::surprisal_status;
use crate::workspace::{WorkspaceInput, surprisal_workspace};

/// Stage 1: statistics of the matrix's rows, of whole rows or of a vocabulary shard.
///
/// `stats` has one entry for each row of the whole batch; those of the matrix's rows are written. A target outside the shard contributes 0 to
/// `target_logit`. `loss.moments` asks for the sums of entropy and p^2. Merge shards with `surprisal_stats_merge`.
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
        let (matrix, loss, stats, batch) = unsafe {
            let matrix = Matrix::read(logits, &mut memory)?;
            let loss = LossInput::read(loss, matrix.place.vocab_total, &mut memory)?;
            let batch = BatchInput::of_matrix(batch, &matrix.place, None, &mut memory)?;
            let stats = stats.cast::<RowStats>();
            (matrix, loss, memory.rows_output("stats", stats, &batch.rows)?, batch)
        };
        // SAFETY: the C caller's matrix.
        let logits = unsafe { matrix.input("logits", &mut memory) }?;
        let checked = memory.check()?;
        let (loss, batch) = (loss.get(&checked), batch.get(&checked)?);
        let stats = stats.get(&checked);
        with_logits!(logits.view(&checked)?, |z| loss.row_stats(z, &batch, stats)?);
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// Stage 2: the plan, the denominators, and the term of each of `rows` rows from `row_start` on, from merged statistics.
///
/// `stats` and `terms` have one entry for each row of the whole batch; those of the range are read and written. Objectives of group scope need all
/// rows at once, and a workspace; it takes some hundred nanoseconds a row. Others need none: `workspace` may be NULL. `vocab_total` is the whole
/// vocabulary. A range of rows takes a `batch.denominator` where the reduction is a mean over tokens, weights or sequences.
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
    workspace: *const surprisal_workspace,
    report: *mut surprisal_report,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs and arrays; the layouts agree (asserted in `stats`).
        let (loss, batch, stats, terms, workspace, report) = unsafe {
            let loss = LossInput::read(loss, vocab_total, &mut memory)?;
            let batch = BatchInput::part(batch, row_start, rows, &loss, &mut memory)?;
            let stats = memory.rows_input::<RowStats>("stats", stats.cast(), &batch.rows)?;
            let terms = memory.rows_output::<TokenTerm>("terms", terms.cast(), &batch.rows)?;
            // Without logits there is no use for a row of them.
            let workspace = WorkspaceInput::read(workspace, &loss, rows, 0, &mut memory)?;
            (loss, batch, stats, terms, workspace, memory.output("report", report, 1)?)
        };
        let checked = memory.check()?;
        let (loss, batch) = (loss.get(&checked), batch.get(&checked)?);
        let (stats, terms) = (stats.get(&checked), terms.get(&checked));
        let workspace = workspace.get(&checked);
        let found = loss.token_terms(stats, &batch, vocab_total, terms, workspace)?;
        report.get(&checked).fill(found.into());
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
            let matrix = Matrix::read(logits, &mut memory)?;
            let result = Matrix::read_mut(dlogits, "dlogits", &mut memory)?;
            let loss = LossInput::read(loss, matrix.place.vocab_total, &mut memory)?;
            let batch = BatchInput::of_matrix(batch, &matrix.place, None, &mut memory)?;
            let stats = memory.rows_input::<RowStats>("stats", stats.cast(), &batch.rows)?;
            let terms = memory.rows_input::<TokenTerm>("terms", terms.cast(), &batch.rows)?;
            (matrix, result, loss, batch, stats, terms)
        };
        // SAFETY: the C caller's matrices.
        let operands = unsafe { Operands::declare(&matrix, &result, "dlogits", &mut memory) }?;
        let checked = memory.check()?;
        let (loss, batch) = (loss.get(&checked), batch.get(&checked)?);
        let (stats, terms) = (stats.get(&checked), terms.get(&checked));
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
