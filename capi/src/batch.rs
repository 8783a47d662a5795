//! What the caller knows of each row of a batch.

use core::ptr;

use surprisal::Pair;

use crate::denominator::surprisal_denominator;
use crate::status::surprisal_status;
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

/// The value of `SURPRISAL_IGNORE_INDEX` in the header.
pub(crate) const IGNORE_INDEX: i64 = -100;

/// Targets and side inputs of a whole batch, one entry a row unless said otherwise. Begin with `SURPRISAL_BATCH_INIT`. NULL means that an
/// input is not given; the table of objectives says which need one.
///
/// A row is a token position (B*T flattened) and its target the id that the position predicts: already aligned, unlike the unshifted labels
/// of some frameworks. A row whose target is `ignore_index` has loss 0 and gradient exactly 0, its logits are not read, its entries in the
/// other arrays are not looked at, and it counts nowhere. Any other target outside the vocabulary is an error.
///
/// A call on a range of the rows looks at the entries of its own rows and at no others, which may be being written meanwhile. Sequences, pairs and
/// keep flags are those of the whole batch for every call.
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
    /// What `surprisal_loss_denominator` counted, for calls on a range of the rows where the reduction is a mean over tokens, weights or
    /// sequences; other calls do not look at it.
    pub denominator: *const surprisal_denominator,
}

versioned!(surprisal_batch: "batch", {
    struct_size: size_of::<surprisal_batch>(),
    rows: 0,
    targets_i32: ptr::null(),
    targets_i64: ptr::null(),
    ignore_index: IGNORE_INDEX,
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
    denominator: ptr::null(),
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
