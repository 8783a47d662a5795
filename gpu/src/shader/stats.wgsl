// Stage 1: statistics of every row.

// A part that grows. Exponents are of 2.
struct Growing {
    max: f32,
    // Of e^x, where the moments are asked for without the largest, of which there are so many.
    sum: f32,
    leaders: f32,
    // What rounding took from the sum.
    lost: f32,
    sum_exp_logits: f32,
    sum_exp_squared: f32,
    below_max: f32,
    weight: f32,
    // The block with the first of the largest.
    best: u32,
    // The largest bits as numbers with a sign and without: +inf and NaN show in the first, NaN with a sign in the second.
    signed_bits: i32,
    unsigned_bits: u32,
}

fn ungrown() -> Growing {
    return Growing(LOWEST, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, IGNORED, 0, 0u);
}

fn sum_of(values: vec4<f32>) -> f32 {
    return (values.x + values.y) + (values.z + values.w);
}

fn largest_of(values: vec4<f32>) -> f32 {
    return max(max(values.x, values.y), max(values.z, values.w));
}

// With a block more of the row, whose columns begin with this one.
fn with_block(before: Growing, number: u32, bits: Block, first: u32, target_column: u32) -> Growing {
    var now = before;
    let signed_bits = max(max(bitcast<vec4<i32>>(bits.a), bitcast<vec4<i32>>(bits.b)), max(bitcast<vec4<i32>>(bits.c), bitcast<vec4<i32>>(bits.d)));
    now.signed_bits = max(max(max(max(now.signed_bits, signed_bits.x), signed_bits.y), signed_bits.z), signed_bits.w);
    let unsigned_bits = max(max(bits.a, bits.b), max(bits.c, bits.d));
    now.unsigned_bits = max(max(max(max(now.unsigned_bits, unsigned_bits.x), unsigned_bits.y), unsigned_bits.z), unsigned_bits.w);
    let a = levels_of(bits.a);
    let b = levels_of(bits.b);
    let c = levels_of(bits.c);
    let d = levels_of(bits.d);
    let largest = largest_of(max(max(a, b), max(c, d)));
    now.best = select(before.best, number, largest > before.max);
    now.max = max(before.max, largest);
    let distance = (before.max - now.max) * rate();
    let decay = exp2(distance);
    if MOMENTS {
        let shift = max(distance, VANISHED);
        let others = before.sum + before.leaders;
        now.sum_exp_logits = (before.sum_exp_logits + others * shift) * decay;
        now.sum_exp_squared = before.sum_exp_squared * decay * decay;
        now.sum = select(before.sum, others, shift < 0.0) * decay;
        now.leaders = select(before.leaders, 0.0, shift < 0.0);
        now = with_moments(with_moments(now, a), b);
        now = with_moments(with_moments(now, c), d);
    } else {
        now.sum = before.sum * decay;
    }
    if SMOOTHING && params.label_smoothing > 0.0 {
        now.below_max = lowered(before.below_max, before.weight, (before.max - now.max) * params.spread);
        let columns = columns_of(first, LOGITS);
        now = with_weights(with_weights(now, a, columns.a, target_column), b, columns.b, target_column);
        now = with_weights(with_weights(now, c, columns.c, target_column), d, columns.d, target_column);
    }
    let more = sum_of((counted(a, now.max) + counted(b, now.max)) + (counted(c, now.max) + counted(d, now.max))) - before.lost * decay;
    let sum = now.sum;
    now.sum = kept(sum + more);
    now.lost = kept(now.sum - sum) - more;
    return now;
}

// The terms of `Growing.sum`. Nothing is below every maximum by so much that its power of 2 is 0, also where the product overflows.
fn counted(levels: vec4<f32>, largest: f32) -> vec4<f32> {
    let x = (levels - largest) * rate();
    if MOMENTS {
        return select(vec4<f32>(0.0), exp2(x), x < vec4<f32>(0.0));
    }
    return exp2(x);
}

fn with_moments(before: Growing, levels: vec4<f32>) -> Growing {
    var now = before;
    let x = max((levels - now.max) * rate(), vec4<f32>(VANISHED));
    let e = exp2(x);
    now.leaders += sum_of(select(vec4<f32>(0.0), vec4<f32>(1.0), x >= vec4<f32>(0.0)));
    now.sum_exp_logits += sum_of(e * x);
    now.sum_exp_squared += sum_of(e * e);
    return now;
}

fn with_weights(before: Growing, levels: vec4<f32>, columns: vec4<u32>, target_column: u32) -> Growing {
    var now = before;
    let inside = (columns < vec4<u32>(params.vocab)) & (columns != vec4<u32>(target_column));
    let weights = select(vec4<f32>(0.0), class_weights_of(min(columns, vec4<u32>(params.vocab - 1u))), inside);
    let x = (levels - now.max) * params.spread;
    now.weight += sum_of(weights);
    now.below_max = lowered(now.below_max, weights.x, x.x);
    now.below_max = lowered(now.below_max, weights.y, x.y);
    now.below_max = lowered(now.below_max, weights.z, x.z);
    now.below_max = lowered(now.below_max, weights.w, x.w);
    return now;
}

// Where a row lies, and its target's column, which may be in another shard.
struct Row {
    start: u32,
    target_column: u32,
    // Whether there is a row, and it has a target.
    is_read: bool,
}

// The first column of a block, of all lanes; before the row it wraps around.
fn block_column(row: Row, number: u32) -> u32 {
    return number * span() - row.start % packet_size(LOGITS);
}

// A lane's share of a block of the row, with what lies around the row.
fn row_packets(row: Row, number: u32, lane: u32) -> Packets {
    let size = packet_size(LOGITS);
    return logits_packets((row.start + block_column(row, number)) / size + lane, (row.start + params.vocab - 1u) / size);
}

// The same without the target and what is not of the row.
fn row_block(row: Row, number: u32, lane: u32, packets: Packets) -> Block {
    let size = packet_size(LOGITS);
    let column = block_column(row, number);
    var bits = block_of(packets);
    let is_whole = column < params.vocab && column + span() <= params.vocab;
    if !is_whole || row.target_column - column < span() {
        let columns = columns_of(column + lane * size, LOGITS);
        bits.a = trimmed(bits.a, columns.a, row.target_column);
        bits.b = trimmed(bits.b, columns.b, row.target_column);
        bits.c = trimmed(bits.c, columns.c, row.target_column);
        bits.d = trimmed(bits.d, columns.d, row.target_column);
    }
    return bits;
}

fn trimmed(bits: vec4<u32>, columns: vec4<u32>, target_column: u32) -> vec4<u32> {
    let is_out = (columns >= vec4<u32>(params.vocab)) | (columns == vec4<u32>(target_column));
    return select(bits, vec4<u32>(NOTHING), is_out);
}

// What works on a row: one of the workgroups that share it, and a lane of it.
struct Place {
    row: u32,
    split: u32,
    lane: u32,
}

fn place_of(group: u32, local: u32) -> Place {
    var slot = group;
    if LANES < GROUP {
        slot = group * (GROUP / LANES) + local / LANES;
    }
    if params.splits == 1u {
        return Place(slot, 0u, local % LANES);
    }
    return Place(slot / params.splits, slot % params.splits, local % LANES);
}

fn row_of(place: Place) -> Row {
    if place.row >= params.rows {
        return Row(0u, IGNORED, false);
    }
    let target_id = row_inputs[params.first_row + place.row].target_id;
    let start = params.logits_start + place.row * params.logits_stride;
    return Row(start, target_id - params.vocab_start, target_id != IGNORED);
}

fn with_packets(before: Growing, row: Row, number: u32, lane: u32, packets: Packets) -> Growing {
    let first = block_column(row, number) + lane * packet_size(LOGITS);
    return with_block(before, number, row_block(row, number, lane, packets), first, row.target_column);
}

// Every `splits`-th block of the row.
fn lane_growth(row: Row, place: Place) -> Growing {
    var growing = ungrown();
    if !row.is_read {
        return growing;
    }
    let end = params.vocab + row.start % packet_size(LOGITS);
    for (var number = place.split; number * span() < end; number += params.splits) {
        growing = with_packets(growing, row, number, place.lane, row_packets(row, number, place.lane));
    }
    return growing;
}

// Which logits leave their row without a softmax: NaN, and +inf unless it is capped.
fn is_invalid(signed_bits: i32, unsigned_bits: u32) -> bool {
    let most = select(i32(INFINITY_BITS) - 1, i32(INFINITY_BITS), params.softcap > 0.0);
    return signed_bits > most || unsigned_bits > (0x80000000u | INFINITY_BITS);
}

// A lane's statistics, relative to the largest logit of all lanes.
fn grown_part(growing: Growing, largest: f32, row: Row, lane: u32) -> Part {
    var part = empty_part();
    part.max = growing.max;
    part.others = growing.sum + growing.leaders;
    part.rest = growing.sum + max(growing.leaders - 1.0, 0.0);
    part.sum_exp_logits = growing.sum_exp_logits * 0.6931472;
    part.sum_exp_squared = growing.sum_exp_squared;
    part.below_max = growing.below_max;
    part.weight = growing.weight;
    part.invalid = select(0u, 1u, is_invalid(growing.signed_bits, growing.unsigned_bits));
    if growing.max == largest && growing.best != IGNORED {
        part.argmax = params.vocab_start + leader_of(row, growing.best, lane);
    }
    return rebased(part, largest);
}

// The column of the largest logit of a lane's share of a block, the first among equals. The block is read once more, which costs less than to carry
// columns along.
fn leader_of(row: Row, number: u32, lane: u32) -> u32 {
    let bits = row_block(row, number, lane, row_packets(row, number, lane));
    let columns = columns_of(block_column(row, number) + lane * packet_size(LOGITS), LOGITS);
    let a = levels_of(bits.a);
    let b = levels_of(bits.b);
    let c = levels_of(bits.c);
    let d = levels_of(bits.d);
    let largest = vec4<f32>(largest_of(max(max(a, b), max(c, d))));
    let none = vec4<u32>(IGNORED);
    let first = min(select(none, columns.a, a == largest), select(none, columns.b, b == largest));
    let second = min(select(none, columns.c, c == largest), select(none, columns.d, d == largest));
    let least = min(first, second);
    return min(min(least.x, least.y), min(least.z, least.w));
}

// What the target adds to the statistics of its row: its level, and its share of the smoothing.
fn target_part(row: Row) -> Part {
    var part = empty_part();
    if row.target_column >= params.vocab {
        return part;
    }
    let bits = logit(row.start + row.target_column);
    part.max = max(levels_of(vec4<u32>(bits)).x, LOWEST);
    part.target_logit = part.max;
    part.invalid = select(0u, 1u, is_invalid(bitcast<i32>(bits), bits));
    if part.max > LOWEST {
        part.argmax = params.vocab_start + row.target_column;
    }
    if SMOOTHING && params.label_smoothing > 0.0 {
        part.weight = class_weights_of(vec4<u32>(row.target_column)).x;
    }
    return part;
}

// The statistics of a row, or of what a workgroup has of it, in its first lane, from what every lane has. Every invocation of the workgroup takes part.
fn part_of(place: Place, row: Row, growing: Growing, local: u32) -> Part {
    var target_alone = empty_part();
    if row.is_read && place.split == 0u && place.lane == 0u {
        target_alone = target_part(row);
    }
    let largest = row_maximum(max(growing.max, target_alone.max), local);
    var part = grown_part(growing, largest, row, place.lane);
    if place.split == 0u && place.lane == 0u {
        part = added(part, rebased(target_alone, largest));
    }
    return row_sum(part, local);
}

@compute @workgroup_size(256)
fn row_stats(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let place = place_of(workgroup_of(group, groups), local);
    let row = row_of(place);
    let part = part_of(place, row, lane_growth(row, place), local);
    if place.row < params.rows && place.lane == 0u {
        parts[(params.first_row + place.row) * params.splits + place.split] = part;
    }
}
