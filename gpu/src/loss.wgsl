// The three stages on a device. Generated and appended are `objective`, with `struct Token`, and the bindings of logits and results, with
// `result_packet` and `store_packet`.
//
// Logits are read in packets of 16 bytes: 4 f32, or 8 elements of 16 bits. A row may begin anywhere in a packet. Statistics belong to a row, so a
// packet with a row boundary is read twice; the gradient belongs to a packet, which one invocation writes, so no two rows meet in a word.
//
// WGSL may assume that there is neither NaN nor infinity. So both are told by their bits, and "nothing yet" is a finite number.

// Elements: 0 f32, 1 bf16, 2 f16.
override LOGITS: u32 = 0u;
override RESULT: u32 = 0u;
// Invocations that share a row; rows of a workgroup are GROUP / LANES.
override LANES: u32 = 256u;
const GROUP: u32 = 256u;

const LOWEST: f32 = -3.0e38;
const LARGEST: f32 = 3.0e38;
const INFINITY_BITS: u32 = 0x7f800000u;
const NAN_BITS: u32 = 0x7fc00000u;
const IGNORED: u32 = 0xffffffffu;
// ln p of an impossible target: finite, so that a weight that vanishes there wins over it.
const IMPOSSIBLE: f32 = -1.0e18;

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
    packets: u32,
    logit_scale: f32,
    // 0 for none.
    softcap: f32,
    label_smoothing: f32,
    z_loss: f32,
    // Label smoothing over the whole vocabulary.
    smoothing_per_class: f32,
    class_weight_sum: f32,
    pad_0: u32,
    pad_1: u32,
}

// Layout of `RowInput` in layout.rs.
struct RowInput {
    target_id: u32,
    token_weight: f32,
    // Of the reduction.
    scale: f32,
    // Of the target.
    class_weight: f32,
    ref_log_p: f32,
    old_log_p: f32,
    advantage: f32,
    pad: f32,
}

// Statistics of a part of a row. Layout of `Part` in layout.rs.
struct Part {
    // LOWEST where there is no logit.
    max: f32,
    // Sum of exp(z - max) but for one element that attains the maximum, whose 1 would swallow a small rest.
    rest: f32,
    // Of exp(z - max) (z - max).
    sum_exp_logits: f32,
    // Of w (max - z), and of w: a common offset of the logits costs no digits.
    below_max: f32,
    weight: f32,
    target_logit: f32,
    argmax: u32,
    // Whether NaN or +inf was seen.
    invalid: u32,
}

// What a row leaves. Layout of `RowOutput` in layout.rs.
struct RowOutput {
    stats: Part,
    state: u32,
    // Multiplier of exp(z - max), with the logit scale.
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
    pad: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(3) var<storage, read> row_inputs: array<RowInput>;
@group(0) @binding(4) var<storage, read_write> parts: array<Part>;
@group(0) @binding(5) var<storage, read_write> row_outputs: array<RowOutput>;
@group(0) @binding(6) var<storage, read> class_weights: array<f32>;

// Functions that objectives use, finite everywhere.

fn exponential(x: f32) -> f32 {
    return exp(min(x, 88.0));
}

fn exponential_minus_1(x: f32) -> f32 {
    let series = x * (1.0 + x * (0.5 + x * (0.16666667 + x * (0.041666668 + x * (0.008333334 + x * 0.0013888889)))));
    return select(exponential(x) - 1.0, series, abs(x) < 0.35);
}

fn logarithm(x: f32) -> f32 {
    return log(clamp(x, 1.1754944e-38, LARGEST));
}

// ln(1 + x) for x >= 0.
fn logarithm_plus_1(x: f32) -> f32 {
    let s = x / (2.0 + x);
    let q = s * s;
    let series = 2.0 * s * (1.0 + q * (0.33333334 + q * (0.2 + q * (0.14285715 + q * (0.11111111 + q * 0.09090909)))));
    return select(log(1.0 + x), series, x < 0.5);
}

fn power(x: f32, exponent: f32) -> f32 {
    return select(0.0, pow(max(x, 1.1754944e-38), exponent), x > 0.0);
}

// Elements.

fn packet_size(kind: u32) -> u32 {
    return select(8u, 4u, kind == 0u);
}

fn half_to_float(half_word: u32) -> f32 {
    if LOGITS == 1u {
        return bitcast<f32>(half_word << 16u);
    }
    // binary16: exponent and mantissa in the places that f32 has for them; the product moves the bias.
    let magnitude = half_word & 0x7fffu;
    let sign = (half_word & 0x8000u) << 16u;
    let finite = bitcast<u32>(bitcast<f32>(magnitude << 13u) * 5.192296858534828e33);
    let special = (magnitude << 13u) | INFINITY_BITS;
    return bitcast<f32>(select(finite, special, magnitude >= 0x7c00u) | sign);
}

// One lane of a packet of logits.
fn element(packet: vec4<u32>, lane: u32) -> f32 {
    if LOGITS == 0u {
        return bitcast<f32>(packet[lane]);
    }
    let word = packet[lane >> 1u];
    return half_to_float(select(word & 0xffffu, word >> 16u, (lane & 1u) == 1u));
}

// A result rounded once, to nearest, ties to even; in the low bits.
fn rounded(value: f32, invalid: bool) -> u32 {
    let bits = bitcast<u32>(value);
    if RESULT == 0u {
        return select(bits, NAN_BITS, invalid);
    }
    if RESULT == 1u {
        return select((bits + ((bits >> 16u) & 1u) + 0x7fffu) >> 16u, 0x7fc0u, invalid);
    }
    let sign = (bits & 0x80000000u) >> 16u;
    let magnitude = bits & 0x7fffffffu;
    let normal = (magnitude + ((magnitude >> 13u) & 1u) + 0xc8000fffu) >> 13u;
    let subnormal = bitcast<u32>(bitcast<f32>(magnitude) + 0.5) - 0x3f000000u;
    let finite = select(normal, subnormal, magnitude < 0x38800000u);
    return select(select(0x7c00u, finite, magnitude < 0x477ff000u) | sign, 0x7e00u, invalid);
}

// Puts a rounded result into a lane of a packet.
fn with_element(packet: vec4<u32>, lane: u32, bits: u32) -> vec4<u32> {
    var changed = packet;
    if RESULT == 0u {
        changed[lane] = bits;
    } else {
        let word = changed[lane >> 1u];
        changed[lane >> 1u] = select((word & 0xffff0000u) | bits, (word & 0xffffu) | (bits << 16u), (lane & 1u) == 1u);
    }
    return changed;
}

// Whether a logit, by its bits, leaves its row without a softmax: NaN, or +inf unless it is capped.
fn is_invalid(bits: u32) -> bool {
    let is_nan = (bits & 0x7fffffffu) > INFINITY_BITS;
    return is_nan || (bits == INFINITY_BITS && params.softcap == 0.0);
}

// tanh of a soft-cap's argument; beyond 15 it is 1 in f32.
fn capped(z: f32) -> f32 {
    return tanh(clamp(params.logit_scale * z / params.softcap, -15.0, 15.0));
}

// The transformed logit.
fn transformed(z: f32) -> f32 {
    if params.softcap > 0.0 {
        return params.softcap * capped(z);
    }
    return clamp(params.logit_scale * max(z, LOWEST), LOWEST, LARGEST);
}

// Its derivative, relative to the logit scale: 4e / (1+e)^2 without cancellation.
fn slope(z: f32) -> f32 {
    if params.softcap > 0.0 {
        let decay = exp(-2.0 * min(abs(params.logit_scale * z / params.softcap), 60.0));
        return 4.0 * decay / ((1.0 + decay) * (1.0 + decay));
    }
    return 1.0;
}

fn class_weight(column: u32) -> f32 {
    if params.class_weights == 0u {
        return 1.0;
    }
    return class_weights[params.vocab_start + column];
}

// Stage 1.

fn empty_part() -> Part {
    return Part(LOWEST, 0.0, 0.0, 0.0, 0.0, 0.0, IGNORED, 0u);
}

// Statistics relative to another maximum, which belongs to others: nothing is left out of the rest.
fn rebased(part: Part, largest: f32) -> Part {
    var moved = part;
    if part.max > LOWEST {
        let shift = part.max - largest;
        let decay = exp(shift);
        moved.rest = (part.rest + 1.0) * decay;
        moved.sum_exp_logits = part.sum_exp_logits * decay + select(0.0, moved.rest * shift, decay > 0.0);
        moved.below_max = part.below_max - part.weight * select(0.0, shift, part.weight > 0.0);
    }
    moved.max = largest;
    return moved;
}

fn merged(a: Part, b: Part) -> Part {
    // A tie goes to the first class.
    let b_leads = b.max > a.max || (b.max == a.max && b.argmax < a.argmax);
    var leader = a;
    var other = b;
    if b_leads {
        leader = b;
        other = a;
    }
    other = rebased(other, leader.max);
    leader.rest += other.rest;
    leader.sum_exp_logits += other.sum_exp_logits;
    leader.below_max += other.below_max;
    leader.weight += other.weight;
    leader.target_logit += other.target_logit;
    leader.invalid |= other.invalid;
    return leader;
}

var<workgroup> shared_parts: array<Part, GROUP>;

fn workgroup_of(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    return group.y * groups.x + group.x;
}

// Statistics of this invocation's packets: those of one lane, of one split of a row.
fn lane_part(row: u32, split: u32, lane: u32) -> Part {
    var part = empty_part();
    let size = packet_size(LOGITS);
    let input_target = row_inputs[params.first_row + row].target_id;
    let start = params.logits_start + row * params.logits_stride;
    let end = start + params.vocab;
    let first = start / size;
    let last = (end - 1u) / size;
    let target_element = start + (input_target - params.vocab_start);
    let in_shard = input_target >= params.vocab_start && input_target - params.vocab_start < params.vocab;
    for (var packet = first + split * LANES + lane; packet <= last; packet += params.splits * LANES) {
        let words = logits[packet];
        let base = packet * size;
        var largest = part.max;
        var values: array<f32, 8>;
        for (var i = 0u; i < size; i++) {
            let index = base + i;
            let inside = index >= start && index < end;
            let z = element(words, i);
            if inside && is_invalid(bitcast<u32>(z)) {
                part.invalid = 1u;
            }
            values[i] = select(LOWEST, transformed(z), inside);
            if inside && values[i] > largest {
                largest = values[i];
                part.argmax = index - start + params.vocab_start;
            }
            if inside && in_shard && index == target_element {
                part.target_logit = values[i];
            }
        }
        if largest > part.max {
            part = rebased(part, largest);
        }
        for (var i = 0u; i < size; i++) {
            let index = base + i;
            if index < start || index >= end {
                continue;
            }
            let x = values[i] - largest;
            // The leader is the 1 that the rest leaves out.
            if values[i] > LOWEST && index - start + params.vocab_start != part.argmax {
                let e = exp(x);
                part.rest += e;
                part.sum_exp_logits += e * x;
            }
            if params.label_smoothing > 0.0 {
                let w = class_weight(index - start);
                part.below_max -= select(0.0, w * x, w > 0.0);
                part.weight += w;
            }
        }
    }
    return part;
}

// The statistics of all lanes of a row together, in the first of them. Every invocation of the workgroup takes part.
fn reduce_lanes(part: Part, local: u32) {
    let lane = local % LANES;
    shared_parts[local] = part;
    workgroupBarrier();
    for (var width = LANES / 2u; width > 0u; width /= 2u) {
        if lane < width {
            shared_parts[local] = merged(shared_parts[local], shared_parts[local + width]);
        }
        workgroupBarrier();
    }
}

@compute @workgroup_size(256)
fn row_stats(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let lane = local % LANES;
    let slot = workgroup_of(group, groups) * (GROUP / LANES) + local / LANES;
    let row = slot / params.splits;
    let split = slot % params.splits;
    var part = empty_part();
    if row < params.rows && row_inputs[params.first_row + row].target_id != IGNORED {
        part = lane_part(row, split, lane);
    }
    reduce_lanes(part, local);
    if row < params.rows && lane == 0u {
        parts[(params.first_row + row) * params.splits + split] = shared_parts[local];
    }
}

// Stage 2.

fn is_invalid_row(stats: Part) -> bool {
    return stats.invalid != 0u || stats.max <= LOWEST;
}

// 0 wins over everything.
fn weigh(weight: f32, value: f32) -> f32 {
    return select(weight * value, 0.0, weight == 0.0);
}

// What the dense extras cost, before token weight and reduction.
fn dense_loss(stats: Part, ln_sum: f32) -> f32 {
    var loss = 0.0;
    if params.label_smoothing > 0.0 {
        loss += params.smoothing_per_class * (params.class_weight_sum * ln_sum + stats.below_max);
    }
    if params.z_loss > 0.0 {
        let lse = stats.max + ln_sum;
        loss += params.z_loss * lse * lse;
    }
    return loss;
}

fn finished(input: RowInput, stats: Part) -> RowOutput {
    var row: RowOutput;
    row.stats = stats;
    row.target_id = input.target_id;
    row.state = ZERO;
    if input.target_id == IGNORED {
        return row;
    }
    if is_invalid_row(stats) {
        row.state = INVALID;
        return row;
    }
    let ln_sum = logarithm_plus_1(stats.rest);
    row.nll = (stats.max - stats.target_logit) + ln_sum;
    let log_p = -row.nll;
    let token = Token(max(log_p, IMPOSSIBLE), input.ref_log_p, input.old_log_p, input.advantage);
    let outcome = objective(token);
    row.infinite = select(0u, 1u, abs(outcome.x) > 1.0e12);
    row.weight = 0.0 - outcome.y;
    let of_objective = input.class_weight * (1.0 - params.label_smoothing);
    let of_extras = select(1.0, row.weight, params.extras_scale == 1u);
    let dense = weigh(of_extras, dense_loss(stats, ln_sum));
    row.loss = weigh(input.token_weight, weigh(of_objective, outcome.x) + dense);
    row.coef = weigh(input.scale * input.token_weight * of_objective, row.weight);
    row.dense = input.scale * input.token_weight * of_extras;
    if row.coef == 0.0 && row.dense == 0.0 {
        return row;
    }
    row.state = ACTIVE;
    row.uniform = row.dense * params.smoothing_per_class;
    var extra = row.uniform * params.class_weight_sum;
    if params.z_loss > 0.0 {
        extra += row.dense * 2.0 * params.z_loss * (stats.max + ln_sum);
    }
    let p = exp(log_p);
    row.target_entry = row.coef * exponential_minus_1(log_p) + extra * p - row.uniform * input.class_weight;
    row.factor = (row.coef + extra) / (1.0 + stats.rest) * params.logit_scale;
    row.target_entry *= params.logit_scale;
    row.uniform *= params.logit_scale;
    return row;
}

@compute @workgroup_size(256)
fn token_terms(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = workgroup_of(group, groups) * GROUP + local;
    if row >= params.rows {
        return;
    }
    let index = params.first_row + row;
    var stats = parts[index * params.splits];
    for (var split = 1u; split < params.splits; split++) {
        stats = merged(stats, parts[index * params.splits + split]);
    }
    row_outputs[index] = finished(row_inputs[index], stats);
}

// Stage 3.

// What the gradient needs of a row.
struct RowGrad {
    state: u32,
    max: f32,
    factor: f32,
    uniform: f32,
    target_entry: f32,
    // Column of the target, which may lie in another shard.
    column: u32,
}

fn row_grad(row: u32) -> RowGrad {
    let index = params.first_row + row;
    return RowGrad(
        row_outputs[index].state,
        row_outputs[index].stats.max,
        row_outputs[index].factor,
        row_outputs[index].uniform,
        row_outputs[index].target_entry,
        row_outputs[index].target_id - params.vocab_start,
    );
}

// The gradient's entry of a column, rounded.
fn gradient(row: RowGrad, column: u32, z: f32) -> u32 {
    if row.state == ZERO {
        return 0u;
    }
    let value = transformed(z);
    let e = select(0.0, exp(min(value - row.max, 0.0)), value > LOWEST);
    var entry = e * row.factor;
    if row.uniform != 0.0 {
        entry -= row.uniform * class_weight(column);
    }
    return rounded(select(entry, row.target_entry, column == row.column) * slope(z), row.state == INVALID);
}

// The logit at a row and a column.
fn logit(row: u32, column: u32) -> f32 {
    let size = packet_size(LOGITS);
    let index = params.logits_start + row * params.logits_stride + column;
    return element(logits[index / size], index % size);
}

// The results of a packet that lies in one row, from `column` on, and whose logits make a packet too.
fn whole_packet(row: RowGrad, column: u32, source: vec4<u32>) -> vec4<u32> {
    var words = vec4<u32>();
    for (var i = 0u; i < packet_size(RESULT); i++) {
        words = with_element(words, i, gradient(row, column + i, element(source, i)));
    }
    return words;
}

// Element by element: padding and the elements of other chunks keep what they had.
fn mixed_packet(packet: u32) -> vec4<u32> {
    let size = packet_size(RESULT);
    var words = result_packet(packet);
    for (var i = 0u; i < size; i++) {
        let index = packet * size + i;
        if index < params.result_start {
            continue;
        }
        let row = (index - params.result_start) / params.result_stride;
        let column = (index - params.result_start) % params.result_stride;
        if row < params.rows && column < params.vocab {
            words = with_element(words, i, gradient(row_grad(row), column, logit(row, column)));
        }
    }
    return words;
}

@compute @workgroup_size(256)
fn logits_grad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let size = packet_size(RESULT);
    let packet = params.result_start / size + workgroup_of(group, groups) * GROUP + local;
    if packet >= params.packets {
        return;
    }
    let index = packet * size;
    if index >= params.result_start {
        let row = (index - params.result_start) / params.result_stride;
        let column = (index - params.result_start) % params.result_stride;
        let source = params.logits_start + row * params.logits_stride + column;
        let whole = row < params.rows && column + size <= params.vocab;
        if whole && packet_size(LOGITS) == size && source % size == 0u {
            store_packet(packet, whole_packet(row_grad(row), column, logits[source / size]));
            return;
        }
    }
    store_packet(packet, mixed_packet(packet));
}

// All stages, a row at a time: its second reading finds it in cache. Rows of logits and results begin with a packet and share none.

var<workgroup> shared_rows: array<RowGrad, GROUP>;

@compute @workgroup_size(256)
fn fused(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let lane = local % LANES;
    let slot = local / LANES;
    let row = workgroup_of(group, groups) * (GROUP / LANES) + slot;
    let inside = row < params.rows;
    var part = empty_part();
    if inside && row_inputs[params.first_row + row].target_id != IGNORED {
        part = lane_part(row, 0u, lane);
    }
    reduce_lanes(part, local);
    if inside && lane == 0u {
        row_outputs[params.first_row + row] = finished(row_inputs[params.first_row + row], shared_parts[local]);
        shared_rows[slot] = row_grad(row);
    }
    workgroupBarrier();
    if !inside {
        return;
    }
    let grad = shared_rows[slot];
    let size = packet_size(RESULT);
    let first = (params.result_start + row * params.result_stride) / size;
    for (var packet = lane; packet * size < params.vocab; packet += LANES) {
        if packet_size(LOGITS) == size && (packet + 1u) * size <= params.vocab {
            let source = (params.logits_start + row * params.logits_stride) / size + packet;
            store_packet(first + packet, whole_packet(grad, packet * size, logits[source]));
        } else {
            store_packet(first + packet, mixed_packet(first + packet));
        }
    }
}
