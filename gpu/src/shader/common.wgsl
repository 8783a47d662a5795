// What all stages share: constants, the structs of layout.rs, bindings. Generated and appended are the bindings of logits and results, with
// `result_packet` and `store_packet`, and the functions that are written once in Rust: `objective`, `term_of`, `coefs_of`.
//
// Logits are read in packets of 16 bytes: 4 f32, or 8 elements of 16 bits. A row may begin anywhere in a packet. Statistics belong to a row, so a
// packet with a row boundary is read twice; the gradient belongs to a packet, which one invocation writes, so no two rows meet in a word.
//
// WGSL may assume that there is neither NaN nor infinity, take subnormals for 0, round to either neighbour, and reorder sums. So NaN and infinity are
// told by their bits, "nothing yet" is a finite number, what is stored in 16 bits is rounded by integers, and a difference that must be taken as it
// is written is `kept`.

// Elements: 0 f32, 1 bf16, 2 f16.
override LOGITS: u32 = 0u;
override RESULT: u32 = 0u;
// Invocations that share a row; rows of a workgroup are GROUP / LANES.
override LANES: u32 = 256u;
// What may be asked for: where it is not, it costs nothing. With these values every option works.
override SOFTCAP: bool = true;
override SMOOTHING: bool = true;
override MOMENTS: bool = true;

const LOWEST: f32 = -3.0e38;
const LARGEST: f32 = 3.0e38;
// ln p of an impossible target: finite, so that a weight that vanishes there wins over it.
const IMPOSSIBLE: f32 = -1.0e18;
// An exponent whose exponential is 0, and finite times 0.
const VANISHED: f32 = -1000.0;
// Bits in the place of a logit that is not there, those of -3.4e38: below LOWEST, so that nothing comes of it whatever the maximum.
const NOTHING: u32 = 0xff7fc99eu;

// States of a row.
const ACTIVE: u32 = 0u;
const ZERO: u32 = 1u;
const INVALID: u32 = 2u;

// Layout of `Params` in layout.rs.
struct Params {
    rows: u32,
    vocab: u32,
    // First row of the chunk among those of the call.
    first_row: u32,
    // Workgroups that share a row in `row_stats`.
    splits: u32,
    // Where the chunk's rows lie in the bound logits and results, in elements.
    logits_start: u32,
    logits_stride: u32,
    result_start: u32,
    result_stride: u32,
    // First class of the shard.
    vocab_start: u32,
    class_weights: u32,
    extras_scale: u32,
    // Whether entropy and sum of squares are asked for.
    moments: u32,
    logit_scale: f32,
    // 0 for none.
    softcap: f32,
    // What makes an exponent of a difference of levels: the logit scale, or 1 where the soft-cap has applied it.
    spread: f32,
    label_smoothing: f32,
    // Label smoothing over the whole vocabulary.
    smoothing_per_class: f32,
    class_weight_sum: f32,
    z_loss: f32,
    // 0, which no compiler knows.
    zero: u32,
}

// Layout of `RowInput` in layout.rs.
struct RowInput {
    target_id: u32,
    // Negative for a token that a plan has dropped.
    token_weight: f32,
    // Of the gradient: over the reduction's denominator.
    scale: f32,
    // Of the target.
    class_weight: f32,
    ref_log_p: f32,
    old_log_p: f32,
    advantage: f32,
    extra: array<f32, 4>,
}

// Statistics of a part of a row. The target is left out of the sums, so that what is left of p = 1 is one of them. Exponents are relative to the
// maximum. Layout of `Part` in layout.rs.
struct Part {
    // A level; LOWEST where there is no logit.
    max: f32,
    // Sum of e^x.
    others: f32,
    // The same without the leader (argmax), whose 1 swallows a small rest; of e^x x; of e^2x. Where the moments are asked for.
    rest: f32,
    sum_exp_logits: f32,
    sum_exp_squared: f32,
    // Of w (-x), and of w, over all classes: a common offset of the logits costs no digits.
    below_max: f32,
    weight: f32,
    // A level; 0 where the target is in another part.
    target_logit: f32,
    // The first class of the largest; IGNORED where another part has a larger one.
    argmax: u32,
    // Whether NaN or +inf was seen.
    invalid: u32,
}

// What a row leaves. Layout of `RowOutput` in layout.rs.
struct RowOutput {
    stats: Part,
    state: u32,
    // Multiplier of e^x, with the logit scale.
    factor: f32,
    // Subtracted everywhere, times the class weight.
    uniform: f32,
    // The target's entry before the slope of the soft-cap.
    target_entry: f32,
    target_id: u32,
    loss: f32,
    coef: f32,
    dense: f32,
    nll: f32,
    weight: f32,
    infinite: u32,
}

// What is known of the batch: the first words of `Totals` in layout.rs.
struct Totals {
    // Whether an entry of it was refused: then nothing is written.
    refused: u32,
    // What the scales of all rows are multiplied by.
    factor: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> row_inputs: array<RowInput>;
@group(0) @binding(4) var<storage, read_write> parts: array<Part>;
@group(0) @binding(5) var<storage, read_write> row_outputs: array<RowOutput>;
@group(0) @binding(6) var<storage, read> class_weights: array<f32>;
@group(0) @binding(7) var<storage, read> totals: Totals;
