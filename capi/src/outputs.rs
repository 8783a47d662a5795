//! What a call writes per row when asked.

use core::ptr;

use surprisal::Outputs;
use surprisal::objective::TokenTerm;

use crate::memory::{Checked, Memory, Output};
use crate::place::Place;
use crate::stats::{surprisal_stats, surprisal_term};
use crate::status::{Failure, surprisal_status};
use crate::versioned::{Versioned, versioned};

/// Per-row outputs of a call. Begin with `SURPRISAL_OUTPUTS_INIT`. Each array has one entry for each row of the whole batch; a call writes those of
/// its matrix's rows. NULL means that an output is not wanted.
///
/// Ignored rows get `SURPRISAL_STATS_EMPTY`, a term of zeros, 0, `UINT32_MAX` (argmax) and 0 (correct).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_outputs {
    /// `sizeof(surprisal_outputs)`.
    pub struct_size: usize,
    /// Row statistics.
    pub stats: *mut surprisal_stats,
    /// Loss and gradient coefficient.
    pub terms: *mut surprisal_term,
    /// Each token's weighted loss, before the reduction divides it.
    pub losses: *mut f32,
    /// -ln p of the target, in nats.
    pub nll: *mut f32,
    /// ln p of the target, in nats.
    pub log_probs: *mut f32,
    /// Entropy of the row, in nats. Costs another walk over the row while it is in cache.
    pub entropy: *mut f32,
    /// The objective's weight -d loss / d ln p, without token weight and reduction: p for dft, 1 for sft.
    pub weights: *mut f32,
    /// Index of the largest logit; the first among equals.
    pub argmax: *mut u32,
    /// 1 where the target has the largest logit (ties count), else 0.
    pub correct: *mut u8,
}

versioned!(surprisal_outputs: "outputs", {
    struct_size: size_of::<surprisal_outputs>(),
    stats: ptr::null_mut(),
    terms: ptr::null_mut(),
    losses: ptr::null_mut(),
    nll: ptr::null_mut(),
    log_probs: ptr::null_mut(),
    entropy: ptr::null_mut(),
    weights: ptr::null_mut(),
    argmax: ptr::null_mut(),
    correct: ptr::null_mut(),
});

/// Fills outputs with their initial values, as `SURPRISAL_OUTPUTS_INIT` does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_outputs_init(
    outputs: *mut surprisal_outputs,
    struct_size: usize,
) -> surprisal_status {
    // SAFETY: the C caller passes `struct_size` bytes of its own.
    unsafe { surprisal_outputs::init(outputs, struct_size) }
}

/// A caller's outputs, those of the call's rows, declared.
#[derive(Default)]
pub(crate) struct OutputsInput<'call> {
    pub(crate) stats: Option<Output<'call, surprisal::RowStats>>,
    pub(crate) terms: Option<Output<'call, TokenTerm>>,
    pub(crate) losses: Option<Output<'call, f32>>,
    pub(crate) nll: Option<Output<'call, f32>>,
    pub(crate) log_probs: Option<Output<'call, f32>>,
    pub(crate) entropy: Option<Output<'call, f32>>,
    pub(crate) weights: Option<Output<'call, f32>>,
    pub(crate) argmax: Option<Output<'call, u32>>,
    pub(crate) correct: Option<Output<'call, u8>>,
}

impl<'call> OutputsInput<'call> {
    /// Reads a caller's outputs and declares the entries of a matrix's rows. NULL asks for nothing.
    ///
    /// # Safety
    /// As [`Memory::read_struct`], and as [`Memory::output`] for the entries of the rows of every array.
    pub(crate) unsafe fn read(
        outputs: *const surprisal_outputs,
        place: &Place,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        if outputs.is_null() {
            return Ok(Self::default());
        }
        let rows = &place.range();
        // SAFETY: passed on; the layouts of statistics and terms are those of the core (asserted in `stats`).
        unsafe {
            let o = memory.read_struct(surprisal_outputs::NAME, outputs)?;
            Ok(Self {
                stats: memory.optional_rows_output("stats", o.stats.cast(), rows)?,
                terms: memory.optional_rows_output("terms", o.terms.cast(), rows)?,
                losses: memory.optional_rows_output("losses", o.losses, rows)?,
                nll: memory.optional_rows_output("nll", o.nll, rows)?,
                log_probs: memory.optional_rows_output("log_probs", o.log_probs, rows)?,
                entropy: memory.optional_rows_output("entropy", o.entropy, rows)?,
                weights: memory.optional_rows_output("weights", o.weights, rows)?,
                argmax: memory.optional_rows_output("argmax", o.argmax, rows)?,
                correct: memory.optional_rows_output("correct", o.correct, rows)?,
            })
        }
    }

    /// The outputs.
    pub(crate) fn get(self, checked: &Checked) -> Outputs<'call> {
        let mut outputs = Outputs::new();
        if let Some(stats) = self.stats {
            outputs = outputs.stats(stats.get(checked));
        }
        if let Some(terms) = self.terms {
            outputs = outputs.terms(terms.get(checked));
        }
        if let Some(losses) = self.losses {
            outputs = outputs.losses(losses.get(checked));
        }
        if let Some(nll) = self.nll {
            outputs = outputs.nll(nll.get(checked));
        }
        if let Some(log_probs) = self.log_probs {
            outputs = outputs.log_probs(log_probs.get(checked));
        }
        if let Some(entropy) = self.entropy {
            outputs = outputs.entropy(entropy.get(checked));
        }
        if let Some(weights) = self.weights {
            outputs = outputs.weights(weights.get(checked));
        }
        if let Some(argmax) = self.argmax {
            outputs = outputs.argmax(argmax.get(checked));
        }
        if let Some(correct) = self.correct {
            outputs = outputs.correct(correct.get(checked));
        }
        outputs
    }
}
