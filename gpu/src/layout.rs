//! The structs that the shader and the host share, field by field. A test compares them with what naga makes of the shader.

use bytemuck::{Pod, Zeroable};
use surprisal::objective::{EXTRA_INPUTS, STEPS};

/// A target that is ignored.
pub(crate) const IGNORED: u32 = u32::MAX;
/// In place of −∞.
pub(crate) const LOWEST: f32 = -3.0e38;
/// In place of +∞.
pub(crate) const LARGEST: f32 = 3.0e38;
/// ln p of an impossible token.
pub(crate) const IMPOSSIBLE: f32 = -1.0e18;

/// Uniforms of a dispatch.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Params {
    pub(crate) rows: u32,
    pub(crate) vocab: u32,
    pub(crate) first_row: u32,
    pub(crate) splits: u32,
    pub(crate) logits_start: u32,
    pub(crate) logits_stride: u32,
    pub(crate) result_start: u32,
    pub(crate) result_stride: u32,
    pub(crate) vocab_start: u32,
    pub(crate) class_weights: u32,
    pub(crate) extras_scale: u32,
    pub(crate) moments: u32,
    pub(crate) logit_scale: f32,
    pub(crate) softcap: f32,
    pub(crate) spread: f32,
    pub(crate) label_smoothing: f32,
    pub(crate) smoothing_per_class: f32,
    pub(crate) class_weight_sum: f32,
    pub(crate) z_loss: f32,
    pub(crate) zero: u32,
}

/// What stage 2 is given of a row.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct RowInput {
    pub(crate) target_id: u32,
    pub(crate) token_weight: f32,
    pub(crate) scale: f32,
    pub(crate) class_weight: f32,
    pub(crate) ref_log_p: f32,
    pub(crate) old_log_p: f32,
    pub(crate) advantage: f32,
    pub(crate) extra: [f32; EXTRA_INPUTS],
}

/// Statistics of a row or of a part of it.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Part {
    pub(crate) max: f32,
    pub(crate) others: f32,
    pub(crate) rest: f32,
    pub(crate) sum_exp_logits: f32,
    pub(crate) sum_exp_squared: f32,
    pub(crate) below_max: f32,
    pub(crate) weight: f32,
    pub(crate) target_logit: f32,
    pub(crate) argmax: u32,
    pub(crate) invalid: u32,
}

/// What a row leaves.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct RowOutput {
    pub(crate) stats: Part,
    pub(crate) state: u32,
    pub(crate) factor: f32,
    pub(crate) uniform: f32,
    pub(crate) target_entry: f32,
    pub(crate) target_id: u32,
    pub(crate) loss: f32,
    pub(crate) coef: f32,
    pub(crate) dense: f32,
    pub(crate) nll: f32,
    pub(crate) weight: f32,
    pub(crate) infinite: u32,
}

impl RowOutput {
    /// What a row leaves that is ignored.
    pub(crate) fn ignored() -> Self {
        let zero: Self = Zeroable::zeroed();
        let stats = Part { max: LOWEST, argmax: IGNORED, ..zero.stats };
        Self { stats, state: ZERO, target_id: IGNORED, ..zero }
    }
}

/// Uniforms of what checks and counts a batch.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BatchParams {
    pub(crate) rows: u32,
    pub(crate) start: u32,
    pub(crate) words: u32,
    pub(crate) field: u32,
    pub(crate) rule: u32,
    pub(crate) slot: u32,
    pub(crate) vocab: u32,
    pub(crate) ignore_low: u32,
    pub(crate) ignore_high: u32,
    pub(crate) ignores: u32,
    pub(crate) has_class_weights: u32,
    pub(crate) sequences: u32,
    pub(crate) pairs: u32,
    pub(crate) pairs_start: u32,
    pub(crate) selection: u32,
    pub(crate) step: u32,
    pub(crate) reduction: u32,
    pub(crate) grouped: u32,
    pub(crate) reduction_by: f32,
    pub(crate) grad_scale: f32,
    pub(crate) zero: u32,
}

/// Arguments that may be refused on the device.
pub(crate) const SLOTS: usize = 16;

/// What is known of a batch as a whole. Rows are negated bit by bit: the largest is the first row, and 0 none.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Totals {
    pub(crate) refused: u32,
    pub(crate) factor: f32,
    pub(crate) divisor: f32,
    pub(crate) loss: f32,
    pub(crate) tokens: u32,
    pub(crate) correct: u32,
    pub(crate) invalid: u32,
    pub(crate) infinite: u32,
    pub(crate) tau: f32,
    pub(crate) sequences: u32,
    /// Sums, and what their rounding lost.
    pub(crate) loss_sum: [f32; 2],
    pub(crate) nll_sum: [f32; 2],
    pub(crate) weight_sum: [f32; 2],
    pub(crate) scaled: [f32; 2],
    pub(crate) bad: [u32; SLOTS],
}

impl Totals {
    /// Of rows whose inputs hold their scale already.
    pub(crate) fn of_host() -> Self {
        Self { factor: 1.0, ..Self::default() }
    }
}

/// Uniforms of a step of a plan.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Step {
    pub(crate) index: u32,
    pub(crate) statistic: u32,
    pub(crate) over: u32,
    pub(crate) share: f32,
    pub(crate) rows: u32,
    pub(crate) sequences: u32,
    pub(crate) pairs: u32,
    pub(crate) sequences_start: u32,
    pub(crate) sequences_words: u32,
    pub(crate) groups_start: u32,
    pub(crate) pairs_start: u32,
}

/// What a plan leaves for a token, as bits.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Shared {
    pub(crate) values: [u32; STEPS],
    pub(crate) tau: u32,
}

/// Uniforms of a product.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct ProductParams {
    pub(crate) m: u32,
    pub(crate) n: u32,
    pub(crate) k: u32,
    pub(crate) add: u32,
    pub(crate) a_kind: u32,
    pub(crate) b_kind: u32,
    pub(crate) a_start: u32,
    pub(crate) a_row: u32,
    pub(crate) a_col: u32,
    pub(crate) b_start: u32,
    pub(crate) b_row: u32,
    pub(crate) b_col: u32,
    pub(crate) c_start: u32,
    pub(crate) c_row: u32,
    pub(crate) c_col: u32,
}

/// Uniforms of rows that are gathered or scattered.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct RowsParams {
    pub(crate) kind: u32,
    pub(crate) rows: u32,
    pub(crate) columns: u32,
    pub(crate) first_row: u32,
    pub(crate) first_slot: u32,
    pub(crate) start: u32,
    pub(crate) stride: u32,
    pub(crate) words: u32,
    pub(crate) pitch: u32,
}

/// Uniforms of a bias and of its gradient.
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct BiasParams {
    pub(crate) rows: u32,
    pub(crate) columns: u32,
    pub(crate) start: u32,
    pub(crate) stride: u32,
    pub(crate) bias_start: u32,
}

/// States of a row.
pub(crate) const ACTIVE: u32 = 0;
pub(crate) const ZERO: u32 = 1;
pub(crate) const INVALID: u32 = 2;

#[cfg(test)]
mod tests;
