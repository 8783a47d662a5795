//! What the caller knows of each row of a batch.

use core::ptr;

use surprisal::{Batch, Pair};

use crate::memory::{Checked, Input, Memory};
use crate::status::Failure;
use crate::status::surprisal_status::{self, SURPRISAL_ERROR_EXTENT, SURPRISAL_ERROR_VALUE};
use crate::versioned::{Versioned, versioned};

/// A preference pair: two sequences of the batch, by their index.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_pair {
    /// The preferred sequence.
    pub chosen: usize,
    /// The other one.
    pub rejected: usize,
}

const _: () = assert!(
    size_of::<surprisal_pair>() == size_of::<Pair>()
        && core::mem::offset_of!(surprisal_pair, rejected) == core::mem::offset_of!(Pair, rejected)
);

/// Targets and side inputs of a whole batch, one entry a row unless said otherwise. Begin with `SURPRISAL_BATCH_INIT`. NULL means that an
/// input is not given; the table of objectives says which need one.
///
/// A row is a token position (B*T flattened) and its target the id that the position predicts: already aligned, unlike the unshifted labels
/// of some frameworks. A row whose target is `ignore_index` has loss 0 and gradient exactly 0, its logits are not read, its entries in the
/// other arrays are not looked at, and it counts nowhere. Any other target outside the vocabulary is an error.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct surprisal_batch {
    /// `sizeof(surprisal_batch)`.
    pub struct_size: usize,
    /// Rows of the batch.
    pub rows: usize,
    /// Target ids; either these or `targets_i64`.
    pub targets_i32: *const i32,
    /// Target ids; either these or `targets_i32`.
    pub targets_i64: *const i64,
    /// The target id that marks a row to skip, -100 by default.
    pub ignore_index: i64,
    /// Weight of each token, finite and not negative; multiplies loss and gradient.
    pub token_weights: *const f32,
    /// ln p of each target under a frozen reference model, at most 1; -inf is allowed.
    pub ref_log_probs: *const f32,
    /// ln p of each target under the policy that sampled it, at most 1; -inf is allowed.
    pub old_log_probs: *const f32,
    /// Advantage of each token, finite.
    pub advantages: *const f32,
    /// Group id of each token, below `rows` (sft-go).
    pub groups: *const u32,
    /// Number of sequences.
    pub sequence_count: usize,
    /// Cumulative row offsets of the sequences, `sequence_count + 1` entries: 0, ..., rows. Either these or `cu_seqlens_i64`.
    pub cu_seqlens_i32: *const i32,
    /// Cumulative row offsets of the sequences; either these or `cu_seqlens_i32`.
    pub cu_seqlens_i64: *const i64,
    /// Preference pairs (dpo).
    pub pairs: *const surprisal_pair,
    /// Number of preference pairs.
    pub pair_count: usize,
    /// 1 for each sequence to keep, 0 for the others (rft); one entry a sequence.
    pub keep: *const u8,
}

versioned!(surprisal_batch: "batch", surprisal_batch {
    struct_size: size_of::<surprisal_batch>(),
    rows: 0,
    targets_i32: ptr::null(),
    targets_i64: ptr::null(),
    ignore_index: -100,
    token_weights: ptr::null(),
    ref_log_probs: ptr::null(),
    old_log_probs: ptr::null(),
    advantages: ptr::null(),
    groups: ptr::null(),
    sequence_count: 0,
    cu_seqlens_i32: ptr::null(),
    cu_seqlens_i64: ptr::null(),
    pairs: ptr::null(),
    pair_count: 0,
    keep: ptr::null(),
});

/// Fills a batch with its initial values, as `SURPRISAL_BATCH_INIT` does.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn surprisal_batch_init(
    batch: *mut surprisal_batch,
    struct_size: usize,
) -> surprisal_status {
    // SAFETY: the C caller passes `struct_size` bytes of its own.
    unsafe { surprisal_batch::init(batch, struct_size) }
}

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

/// A caller's batch whose arrays are declared.
pub(crate) struct BatchInput<'call> {
    pub(crate) rows: usize,
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
}

impl<'call> BatchInput<'call> {
    /// Reads a caller's batch and declares its arrays.
    ///
    /// # Safety
    /// As [`Memory::read_struct`], and as [`Memory::input`] for every array.
    pub(crate) unsafe fn read(
        batch: *const surprisal_batch,
        memory: &mut Memory,
    ) -> Result<Self, Failure> {
        // SAFETY: passed on.
        let b = unsafe { memory.read_struct(surprisal_batch::NAME, batch) }?;
        let ids = (b.targets_i32, b.targets_i64);
        // SAFETY: passed on.
        let targets = unsafe { declare_ids(memory, "targets", ids, b.rows) }?;
        let offsets = (b.cu_seqlens_i32, b.cu_seqlens_i64);
        let sequences = if offsets.0.is_null() && offsets.1.is_null() && b.sequence_count == 0 {
            None
        } else {
            let too_many = Failure::new(SURPRISAL_ERROR_EXTENT, "sequence_count", "overflows");
            let count = b.sequence_count.checked_add(1).ok_or(too_many)?;
            // SAFETY: passed on.
            Some(unsafe { declare_ids(memory, "cu_seqlens", offsets, count) }?)
        };
        if b.pairs.is_null() && b.pair_count > 0 {
            return Err(Failure::missing("pairs"));
        }
        // SAFETY: passed on; the two pair types have the same layout (asserted above).
        unsafe {
            Ok(Self {
                rows: b.rows,
                targets,
                ignore_index: b.ignore_index,
                token_weights: memory.optional_input("token_weights", b.token_weights, b.rows)?,
                ref_log_probs: memory.optional_input("ref_log_probs", b.ref_log_probs, b.rows)?,
                old_log_probs: memory.optional_input("old_log_probs", b.old_log_probs, b.rows)?,
                advantages: memory.optional_input("advantages", b.advantages, b.rows)?,
                groups: memory.optional_input("groups", b.groups, b.rows)?,
                sequences,
                pairs: memory.optional_input("pairs", b.pairs.cast(), b.pair_count)?,
                keep: memory.optional_input("keep", b.keep, b.sequence_count)?,
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
            batch = batch.keep(flags(keep.get(checked))?);
        }
        Ok(batch)
    }
}

/// Declares ids that are given as one of two types.
///
/// # Safety
/// As [`Memory::input`].
unsafe fn declare_ids<'call>(
    memory: &mut Memory,
    argument: &'static str,
    (narrow, wide): (*const i32, *const i64),
    len: usize,
) -> Result<Ids<'call>, Failure> {
    // SAFETY: passed on.
    match unsafe {
        (memory.optional_input(argument, narrow, len)?, memory.optional_input(argument, wide, len)?)
    } {
        (Some(ids), None) => Ok(Ids::I32(ids)),
        (None, Some(ids)) => Ok(Ids::I64(ids)),
        (Some(_), Some(_)) => {
            Err(Failure::option(argument, "is given as i32 and as i64: which one counts?"))
        }
        // SAFETY: passed on; NULL is refused unless there are no elements.
        (None, None) => unsafe { memory.input(argument, narrow, len) }.map(Ids::I32),
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
