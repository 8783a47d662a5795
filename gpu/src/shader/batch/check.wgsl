// Batches whose entries lie in buffers of the caller's: checked, brought to the rows, counted; and at the end the report. A module of its own, for
// all losses.

const LOWEST: f32 = -3.0e38;
const LARGEST: f32 = 3.0e38;
const IMPOSSIBLE: f32 = -1.0e18;
const INVALID: u32 = 2u;

// Words of a row's inputs (`RowInput`) and of its outputs (`RowOutput`), and where some of them lie.
const INPUT_WORDS: u32 = 11u;
const OUTPUT_WORDS: u32 = 21u;
const TARGET: u32 = 0u;
const TOKEN_WEIGHT: u32 = 1u;
const SCALE: u32 = 2u;
const CLASS_WEIGHT: u32 = 3u;
const MAX: u32 = 0u;
const TARGET_LOGIT: u32 = 7u;
const INVALID_STATS: u32 = 9u;
const STATE: u32 = 10u;
const LOSS: u32 = 15u;
const NLL: u32 = 18u;
const INFINITE: u32 = 20u;

// Layout of `BatchParams` in layout.rs.
struct BatchParams {
    rows: u32,
    // Where the first entry lies in the bound buffer, and from each to the next, in words.
    start: u32,
    words: u32,
    // The word of a row's inputs that an entry becomes, what is allowed there, and the slot of its errors.
    field: u32,
    rule: u32,
    slot: u32,
    vocab: u32,
    // The id that is ignored, as 64 bits, and whether there is one.
    ignore_low: u32,
    ignore_high: u32,
    ignores: u32,
    has_class_weights: u32,
    // Sequences and pairs, and where pairs lie.
    sequences: u32,
    pairs: u32,
    pairs_start: u32,
    // Which tokens take part: 0 all, 1 kept, 2 paired, 3 those to which a step gave more than 0.
    selection: u32,
    step: u32,
    reduction: u32,
    grouped: u32,
    reduction_by: f32,
    grad_scale: f32,
    zero: u32,
}

// Layout of `Totals` in layout.rs. Rows are negated bit by bit: the largest is the first row, and 0 none.
struct Totals {
    refused: atomic<u32>,
    // What gradients are multiplied by: the scale of the gradient over the divisor.
    factor: f32,
    divisor: f32,
    loss: f32,
    tokens: u32,
    correct: u32,
    invalid: u32,
    infinite: u32,
    tau: f32,
    sequences: atomic<u32>,
    loss_sum: array<f32, 2>,
    nll_sum: array<f32, 2>,
    weight_sum: array<f32, 2>,
    scaled: array<f32, 2>,
    bad: array<atomic<u32>, 16>,
}

@group(0) @binding(0) var<uniform> batch: BatchParams;
@group(0) @binding(1) var<storage, read> entries: array<u32>;
@group(0) @binding(2) var<storage, read> pairs: array<u32>;
@group(0) @binding(3) var<storage, read_write> row_inputs: array<u32>;
@group(0) @binding(4) var<storage, read> row_outputs: array<u32>;
@group(0) @binding(5) var<storage, read> tokens: array<u32>;
@group(0) @binding(6) var<storage, read> class_weights: array<f32>;
@group(0) @binding(7) var<storage, read_write> totals: Totals;

fn kept(x: f32) -> f32 {
    return bitcast<f32>(bitcast<u32>(x) ^ batch.zero);
}

fn refuse(row: u32) {
    atomicMax(&totals.bad[batch.slot], ~row);
    atomicMax(&totals.refused, 1u);
}

fn is_ignored(row: u32) -> bool {
    return row_inputs[row * INPUT_WORDS + TARGET] == IGNORED;
}

// A token that takes no part has a surprisal, and nothing else: its weight is negative.
fn drop(row: u32) {
    put(row, TOKEN_WEIGHT, -1.0);
}

fn counts(row: u32) -> bool {
    return !is_ignored(row) && input(row, TOKEN_WEIGHT) >= 0.0;
}

fn input(row: u32, field: u32) -> f32 {
    return bitcast<f32>(row_inputs[row * INPUT_WORDS + field]);
}

fn put(row: u32, field: u32, value: f32) {
    row_inputs[row * INPUT_WORDS + field] = bitcast<u32>(value);
}

// Targets, and what a row's inputs are without other columns.
@compute @workgroup_size(256)
fn targets(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = workgroup_of(group, groups) * GROUP + local;
    if row >= batch.rows {
        return;
    }
    let low = entries[batch.start + row * batch.words];
    // The sign, where there is no high word.
    var high = select(0u, 0xffffffffu, low >= 0x80000000u);
    if batch.words == 2u {
        high = entries[batch.start + row * batch.words + 1u];
    }
    for (var word = 0u; word < INPUT_WORDS; word++) {
        row_inputs[row * INPUT_WORDS + word] = 0u;
    }
    if batch.ignores != 0u && low == batch.ignore_low && high == batch.ignore_high {
        row_inputs[row * INPUT_WORDS + TARGET] = IGNORED;
        return;
    }
    if high != 0u || low >= batch.vocab {
        refuse(row);
        row_inputs[row * INPUT_WORDS + TARGET] = IGNORED;
        return;
    }
    row_inputs[row * INPUT_WORDS + TARGET] = low;
    put(row, TOKEN_WEIGHT, 1.0);
    put(row, SCALE, 1.0);
    var class_weight = 1.0;
    if batch.has_class_weights != 0u {
        class_weight = class_weights[low];
    }
    put(row, CLASS_WEIGHT, class_weight);
}

// Rules: 0 finite, 1 a weight, finite and not negative, 2 a log-probability, at most 1.
@compute @workgroup_size(256)
fn values(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = workgroup_of(group, groups) * GROUP + local;
    if row >= batch.rows || !counts(row) {
        return;
    }
    let bits = entries[batch.start + row * batch.words];
    let magnitude = bits & 0x7fffffffu;
    let is_negative = bits != magnitude;
    let is_finite = magnitude < INFINITY_BITS;
    let is_log_p = magnitude <= INFINITY_BITS && (is_negative || magnitude <= 0x3f800000u);
    let is_weight = is_finite && (!is_negative || magnitude == 0u);
    let allowed = (batch.rule == 0u && is_finite) || (batch.rule == 1u && is_weight) || (batch.rule == 2u && is_log_p);
    if !allowed {
        refuse(row);
        return;
    }
    let limited = min(magnitude, bitcast<u32>(LARGEST)) | (bits & 0x80000000u);
    var value = bitcast<f32>(limited);
    if batch.rule == 2u {
        value = max(value, IMPOSSIBLE);
    }
    put(row, batch.field, value);
}

// Offsets of sequences: from 0 up to the number of rows.
@compute @workgroup_size(256)
fn check_sequences(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = workgroup_of(group, groups) * GROUP + local;
    if index > batch.sequences {
        return;
    }
    let offset = entries[batch.start + index * batch.words];
    var least = 0u;
    if index > 0u {
        least = entries[batch.start + (index - 1u) * batch.words];
    }
    let is_end = index == batch.sequences;
    if offset < least || offset > batch.rows || (index == 0u && offset != 0u) || (is_end && offset != batch.rows) {
        refuse(index);
    }
}

// Both of a pair are sequences, and two.
@compute @workgroup_size(256)
fn check_pairs(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = workgroup_of(group, groups) * GROUP + local;
    if index >= batch.pairs {
        return;
    }
    let chosen = pairs[batch.pairs_start + 2u * index];
    let rejected = pairs[batch.pairs_start + 2u * index + 1u];
    if chosen >= batch.sequences || rejected >= batch.sequences || chosen == rejected {
        refuse(index);
    }
}

// Groups of tokens that count: ids below the number of rows.
@compute @workgroup_size(256)
fn check_groups(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = workgroup_of(group, groups) * GROUP + local;
    if row < batch.rows && counts(row) && entries[batch.start + row * batch.words] >= batch.rows {
        refuse(row);
    }
}
