//! What a call on a range of rows must know of the whole batch: counted once, carried by the caller.

use core::ptr;

use surprisal::{Denominator, Reduction};

use crate::batch::surprisal_batch;
use crate::batch_input::BatchInput;
use crate::choices::{reduction_value, surprisal_reduction};
use crate::detail::{finish, surprisal_error_detail};
use crate::loss::{LossInput, surprisal_loss};
use crate::memory::{Checked, Input, Memory};
use crate::status::Failure;
use crate::status::surprisal_status::{self, SURPRISAL_ERROR_SHAPE};

/// What the means of a loss divide by, for calls on ranges of a batch's rows: counted once for the whole batch by
/// `surprisal_loss_denominator` and handed to each of them by `batch.denominator`. An output that needs no initial value. The fields are the
/// library's: a caller copies the struct as a whole, and keeps the array that it names.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_denominator {
    /// What the loss of every token is divided by; for the mean of the sequences, the number of sequences that have tokens.
    pub value: f64,
    /// For the mean of the sequences, the caller's array: the tokens of each.
    pub sequence_tokens: *const u32,
    /// Entries of `sequence_tokens`.
    pub sequence_count: usize,
    /// What it was counted for.
    pub reduction: reduction_value,
    /// Zero.
    pub reserved: [u32; 7],
}

const NAME: &str = "denominator";

/// Counts the denominators of a whole batch, for calls on ranges of its rows. Looks at every row's target and weight, and at no
/// `batch.denominator`. `vocab_total` is the whole vocabulary.
///
/// `sequence_tokens` has one entry a sequence and is written for `SURPRISAL_REDUCTION_MEAN_SEQUENCES` alone, else it may be NULL; it must live as long as `out`
/// is used. Objectives of group scope need no denominator: their terms hold it.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_loss_denominator(
    loss: *const surprisal_loss,
    batch: *const surprisal_batch,
    vocab_total: usize,
    sequence_tokens: *mut u32,
    out: *mut surprisal_denominator,
    detail: *mut surprisal_error_detail,
) -> surprisal_status {
    let call = |mut memory: Memory| {
        // SAFETY: the C caller's structs and arrays.
        let (loss, batch, tokens, out) = unsafe {
            let loss = LossInput::read(loss, vocab_total, &mut memory)?;
            let batch = BatchInput::whole(batch, &mut memory)?;
            let count =
                if loss.reduction == Reduction::MeanSequences { batch.sequence_count } else { 0 };
            let tokens = memory.output("sequence_tokens", sequence_tokens, count)?;
            (loss, batch, tokens, memory.output("out", out, 1)?)
        };
        if vocab_total == 0 {
            return Err(surprisal::Error::EmptyVocab.into());
        }
        let checked = memory.check()?;
        let (batch, tokens) = (batch.get(&checked)?, tokens.get(&checked));
        let (value, tokens) = loss.get(&checked).denominator(&batch, tokens)?.parts();
        let reduction = surprisal_reduction::number(loss.reduction);
        out.get(&checked).fill(surprisal_denominator {
            value,
            sequence_tokens: tokens.map_or(ptr::null(), <[u32]>::as_ptr),
            sequence_count: tokens.map_or(0, <[u32]>::len),
            reduction,
            reserved: [0; 7],
        });
        Ok(())
    };
    // SAFETY: the C caller's struct.
    unsafe { finish(detail, call) }
}

/// A caller's denominator whose array is declared.
pub(crate) struct DenominatorInput<'call> {
    value: f64,
    sequence_tokens: Option<Input<'call, u32>>,
}

impl<'call> DenominatorInput<'call> {
    /// Reads a caller's denominator for a loss and a batch of so many sequences, and declares its array. `None` for NULL, and for reductions that
    /// need none.
    ///
    /// # Safety
    /// As [`Memory::input`], for the struct and its array.
    pub(crate) unsafe fn read(
        denominator: *const surprisal_denominator,
        loss: &LossInput<'_>,
        sequence_count: usize,
        memory: &mut Memory,
    ) -> Result<Option<Self>, Failure> {
        let of_sequences = loss.reduction == Reduction::MeanSequences;
        let needed = matches!(loss.reduction, Reduction::MeanTokens | Reduction::MeanWeights);
        if denominator.is_null() || !(needed || of_sequences) {
            return Ok(None);
        }
        // SAFETY: passed on.
        let d = unsafe { memory.input_struct(NAME, denominator) }?;
        if d.reduction != surprisal_reduction::number(loss.reduction) {
            let failure = Failure::option(NAME, "is of another reduction");
            return Err(failure.value(f64::from(d.reduction)));
        }
        let sequences = d.sequence_count;
        if sequences != if of_sequences { sequence_count } else { 0 } {
            let message = "has not as many sequences as the batch";
            let failure = Failure::new(SURPRISAL_ERROR_SHAPE, NAME, message);
            return Err(failure.value(sequences as f64));
        }
        // SAFETY: passed on.
        let tokens = unsafe { memory.input("sequence_tokens", d.sequence_tokens, sequences) }?;
        Ok(Some(Self { value: d.value, sequence_tokens: of_sequences.then_some(tokens) }))
    }

    /// The denominator.
    pub(crate) fn get(&self, checked: &Checked) -> Denominator<'call> {
        let tokens = self.sequence_tokens.as_ref().map(|tokens| tokens.get(checked));
        Denominator::from_parts(self.value, tokens)
    }
}
