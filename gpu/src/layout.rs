//! The structs that the shader and the host share, field by field. A test compares them with what naga makes of the shader.

use bytemuck::{Pod, Zeroable};

/// A target that is ignored.
pub(crate) const IGNORED: u32 = u32::MAX;

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
    pub(crate) packets: u32,
    pub(crate) logit_scale: f32,
    pub(crate) softcap: f32,
    pub(crate) label_smoothing: f32,
    pub(crate) z_loss: f32,
    pub(crate) smoothing_per_class: f32,
    pub(crate) class_weight_sum: f32,
    pub(crate) pad: [u32; 2],
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
    pub(crate) pad: f32,
}

/// Statistics of a row or of a part of it.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Part {
    pub(crate) max: f32,
    pub(crate) rest: f32,
    pub(crate) sum_exp_logits: f32,
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
    pub(crate) pad: u32,
}

/// States of a row.
pub(crate) const ACTIVE: u32 = 0;
pub(crate) const ZERO: u32 = 1;
pub(crate) const INVALID: u32 = 2;
