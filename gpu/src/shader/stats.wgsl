// Stage 1: statistics of every row.

fn empty_part() -> Part {
    return Part(LOWEST, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, IGNORED, 0u);
}

// Statistics relative to a larger maximum.
fn rebased(part: Part, largest: f32) -> Part {
    var moved = part;
    if part.max == largest {
        return moved;
    }
    let x = (part.max - largest) * params.spread;
    let shift = max(x, VANISHED);
    let decay = exp(shift);
    moved.max = largest;
    moved.others = part.others * decay;
    // Its leader leads no more.
    moved.rest = moved.others;
    moved.sum_exp_logits = (part.sum_exp_logits + part.others * shift) * decay;
    moved.sum_exp_squared = part.sum_exp_squared * decay * decay;
    moved.below_max = lowered(part.below_max, part.weight, x);
    return moved;
}

// What lies below the maximum, with a weight's share at an exponent x.
fn lowered(below_max: f32, weight: f32, x: f32) -> f32 {
    return min(below_max + select(0.0, -weight * x, weight > 0.0), LARGEST);
}

fn merged(a: Part, b: Part) -> Part {
    let largest = max(a.max, b.max);
    var both = rebased(a, largest);
    let other = rebased(b, largest);
    // A tie goes to the first class.
    if b.max > a.max || (b.max == a.max && b.argmax < a.argmax) {
        both.argmax = b.argmax;
        both.rest = both.others + b.rest;
    } else {
        both.rest += other.others;
    }
    both.others += other.others;
    both.sum_exp_logits += other.sum_exp_logits;
    both.sum_exp_squared += other.sum_exp_squared;
    both.below_max = min(both.below_max + other.below_max, LARGEST);
    both.weight += other.weight;
    both.target_logit += other.target_logit;
    both.invalid |= other.invalid;
    return both;
}

// A part that grows; `lost` is what rounding took from its `others`.
struct Growing {
    part: Part,
    lost: f32,
}

fn sum_of(values: vec4<f32>) -> f32 {
    return (values.x + values.y) + (values.z + values.w);
}

// With four logits more, of the columns from `first` on as far as the row has them.
fn with_quad(before: Growing, bits: vec4<u32>, first: u32, target_column: u32) -> Growing {
    var part = before.part;
    var lost = before.lost;
    // Columns before the row wrap around.
    let columns = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u);
    let inside = columns < vec4<u32>(params.vocab);
    if any(inside & are_invalid(bits)) {
        part.invalid = 1u;
    }
    let levels = select(vec4<f32>(LOWEST), mapped(bits).level, inside);
    let largest = max(max(levels.x, levels.y), max(levels.z, levels.w));
    if largest > part.max {
        part = rebased(part, largest);
        lost = 0.0;
        let tied = levels == vec4<f32>(largest);
        part.argmax = params.vocab_start + select(select(select(columns.w, columns.z, tied.z), columns.y, tied.y), columns.x, tied.x);
    }
    let at_target = inside & (columns == vec4<u32>(target_column));
    if any(at_target) {
        part.target_logit = sum_of(select(vec4<f32>(0.0), levels, at_target));
    }
    let counted = inside & !at_target & (levels > vec4<f32>(LOWEST));
    let distances = (levels - part.max) * params.spread;
    let x = max(distances, vec4<f32>(VANISHED));
    let e = select(vec4<f32>(0.0), exp(x), counted);
    let more = sum_of(e) - lost;
    let others = kept(part.others + more);
    lost = kept(others - part.others) - more;
    part.others = others;
    if params.moments != 0u {
        let leader = columns + vec4<u32>(params.vocab_start) == vec4<u32>(part.argmax);
        part.rest += sum_of(select(e, vec4<f32>(0.0), leader));
        part.sum_exp_logits += sum_of(e * x);
        part.sum_exp_squared += sum_of(e * e);
    }
    if params.label_smoothing > 0.0 {
        let weights = select(vec4<f32>(0.0), class_weights_of(min(columns, vec4<u32>(params.vocab - 1u))), inside);
        part.weight += sum_of(weights);
        for (var i = 0u; i < 4u; i++) {
            part.below_max = lowered(part.below_max, weights[i], distances[i]);
        }
    }
    return Growing(part, lost);
}

// Statistics of this invocation's packets: those of one lane, of one split of a row.
fn lane_part(row: u32, split: u32, lane: u32) -> Part {
    let size = packet_size(LOGITS);
    let target_column = row_inputs[params.first_row + row].target_id - params.vocab_start;
    let start = params.logits_start + row * params.logits_stride;
    let last = (start + params.vocab - 1u) / size;
    var growing = Growing(empty_part(), 0.0);
    for (var packet = start / size + split * LANES + lane; packet <= last; packet += params.splits * LANES) {
        let words = logits[packet];
        let column = packet * size - start;
        growing = with_quad(growing, quad_of(words, false), column, target_column);
        if LOGITS != 0u {
            growing = with_quad(growing, quad_of(words, true), column + 4u, target_column);
        }
    }
    return growing.part;
}

var<workgroup> shared_parts: array<Part, GROUP>;

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
