//! What a call writes per row when asked, and its workspace.

use core::ptr;

use surprisal::Outputs;
use surprisal::objective::TokenTerm;

use crate::matrix::Place;
use crate::memory::{Checked, Memory, Output};
use crate::stats::{surprisal_stats, surprisal_term};
use crate::status::{Failure, surprisal_status};
use crate::versioned::{Versioned, versioned};

/// Per-row outputs of a call. Begin with `SURPRISAL_OUTPUTS_INIT`. Each array but `scratch` has one entry for each row of the whole batch; a call
/// writes those of its matrix's rows. NULL means that an output is not wanted.
///
/// Ignored rows get `SURPRISAL_STATS_EMPTY`, a term of zeros, 0, `UINT32_MAX` (argmax) and 0 (correct).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_outputs {
    /// `sizeof(surprisal_outputs)`.
    pub struct_size: usize,
    /// Row statistics; objectives of a sequence or the batch need them as workspace.
    pub stats: *mut surprisal_stats,
    /// Loss and gradient coefficient; objectives of a sequence or the batch need them as workspace.
    pub terms: *mut surprisal_term,
    /// -ln p of the target, in nats.
    pub nll: *mut f32,
    /// ln p of the target, in nats.
    pub log_probs: *mut f32,
    /// Entropy of the row, in nats. Costs a second pass over the row while it is in cache.
    pub entropy: *mut f32,
    /// The objective's weight -d loss / d ln p, without token weight and reduction: p for dft, 1 for sft.
    pub weights: *mut f32,
    /// Index of the largest logit; the first among equals.
    pub argmax: *mut u32,
    /// 1 where the target has the largest logit (ties count), else 0.
    pub correct: *mut u8,
    /// Workspace of `scratch_len` entries, at least `vocab` of them, so that no exponential is computed twice. It speeds up 16-bit gradients
    /// (f32 ones need none) and changes no bit of a result. What it holds afterwards means nothing. Calls at the same time need one each, and so
    /// structs of their own.
    pub scratch: *mut f32,
    /// Entries of `scratch`; 0 with NULL. More than `vocab` are of no further use.
    pub scratch_len: usize,
}

versioned!(surprisal_outputs: "outputs" then scratch, surprisal_outputs {
    struct_size: size_of::<surprisal_outputs>(),
    stats: ptr::null_mut(),
    terms: ptr::null_mut(),
    nll: ptr::null_mut(),
    log_probs: ptr::null_mut(),
    entropy: ptr::null_mut(),
    weights: ptr::null_mut(),
    argmax: ptr::null_mut(),
    correct: ptr::null_mut(),
    scratch: ptr::null_mut(),
    scratch_len: 0,
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

impl surprisal_outputs {
    /// Copies a caller's struct and declares it, not its arrays. NULL asks for nothing.
    ///
    /// # Safety
    /// As [`Memory::read_struct`].
    pub(crate) unsafe fn copy(outputs: *const Self, memory: &mut Memory) -> Result<Self, Failure> {
        if outputs.is_null() {
            return Ok(Self::INIT);
        }
        // SAFETY: passed on.
        unsafe { memory.read_struct(Self::NAME, outputs) }
    }
}

/// A caller's outputs, those of the call's rows, declared.
#[derive(Default)]
pub(crate) struct OutputsInput<'call> {
    pub(crate) stats: Option<Output<'call, surprisal::RowStats>>,
    pub(crate) terms: Option<Output<'call, TokenTerm>>,
    pub(crate) nll: Option<Output<'call, f32>>,
    pub(crate) log_probs: Option<Output<'call, f32>>,
    pub(crate) entropy: Option<Output<'call, f32>>,
    pub(crate) weights: Option<Output<'call, f32>>,
    pub(crate) argmax: Option<Output<'call, u32>>,
    pub(crate) correct: Option<Output<'call, u8>>,
    scratch: Option<Output<'call, f32>>,
}

impl<'call> OutputsInput<'call> {
    /// Reads a caller's outputs and declares the entries of a matrix's rows, and the scratch. NULL asks for nothing.
    ///
    /// # Safety
    /// As [`Memory::read_struct`], and as [`Memory::output`] for every array.
    pub(crate) unsafe fn read(
        outputs: *const surprisal_outputs,
        place: &Place,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on.
        unsafe {
            let o = surprisal_outputs::copy(outputs, memory)?;
            let rows = Self::of_rows(&o, place, memory)?;
            // A pointer without entries is too short an array, not none.
            let is_given = !o.scratch.is_null() || o.scratch_len > 0;
            let scratch = is_given.then(|| memory.output("scratch", o.scratch, o.scratch_len));
            Ok(Self { scratch: scratch.transpose()?, ..rows })
        }
    }

    /// Declares the entries of a matrix's rows alone.
    ///
    /// # Safety
    /// As [`Memory::output`] for every array but the scratch.
    pub(crate) unsafe fn of_rows(
        o: &surprisal_outputs,
        place: &Place,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on; the layouts of statistics and terms are those of the core (asserted in `stats`).
        unsafe {
            Ok(Self {
                stats: place.output(memory, "stats", o.stats.cast())?,
                terms: place.output(memory, "terms", o.terms.cast())?,
                nll: place.output(memory, "nll", o.nll)?,
                log_probs: place.output(memory, "log_probs", o.log_probs)?,
                entropy: place.output(memory, "entropy", o.entropy)?,
                weights: place.output(memory, "weights", o.weights)?,
                argmax: place.output(memory, "argmax", o.argmax)?,
                correct: place.output(memory, "correct", o.correct)?,
                scratch: None,
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
        if let Some(scratch) = self.scratch {
            outputs = outputs.scratch(scratch.get(checked));
        }
        outputs
    }
}

impl Place {
    /// Declares the entries of this matrix's rows of a batch-wide array to write; `None` for NULL.
    ///
    /// # Safety
    /// As [`Memory::output`], for the entries of the rows.
    pub(crate) unsafe fn output<'call, T>(
        &self,
        memory: &mut Memory,
        argument: &'static str,
        batch_wide: *mut T,
    ) -> Result<Option<Output<'call, T>>, Failure> {
        if batch_wide.is_null() {
            return Ok(None);
        }
        let pointer = Memory::entry(argument, batch_wide, self.row_start)?;
        // SAFETY: passed on; the pointer came from a mutable one.
        unsafe { memory.output(argument, pointer.cast_mut(), self.rows) }.map(Some)
    }
}
