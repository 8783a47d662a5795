// The steps: sums, and what is made of them.

struct Gathered {
    sum: vec2<f32>,
    largest: f32,
    count: u32,
    unknown: u32,
}

var<workgroup> gathered: array<Gathered, GROUP>;

// What all lanes gathered, for each of them.
fn gather(mine: Gathered, local: u32) -> Gathered {
    gathered[local] = mine;
    workgroupBarrier();
    for (var width = GROUP / 2u; width > 0u; width /= 2u) {
        if local < width {
            let a = gathered[local];
            let b = gathered[local + width];
            gathered[local] = Gathered(together(a.sum, b.sum), max(a.largest, b.largest), a.count + b.count, a.unknown | b.unknown);
        }
        workgroupBarrier();
    }
    let all = gathered[0];
    workgroupBarrier();
    return all;
}

// The result of a step of all units or, of the top share, of each unit to all tokens that it stands for.
fn spread(result: u32, local: u32) {
    let is_top = step.statistic == 5u;
    // What lanes have written, for all of them.
    storageBarrier();
    if step.over == 3u {
        let run = run_of(step.sequences, local);
        for (var s = run.x; s < run.y; s++) {
            let first = first_of_sequence(s);
            for (var row = first; row < sequence_start(s + 1u); row++) {
                tokens[row].values[step.index] = select(result, tokens[first].values[step.index], is_top);
            }
        }
        return;
    }
    let run = run_of(step.rows, local);
    for (var row = run.x; row < run.y; row++) {
        let head = head_of(group_of(row));
        if is_active(row) && row != head {
            tokens[row].values[step.index] = select(result, tokens[head].values[step.index], is_top);
        }
    }
}

@compute @workgroup_size(256)
fn group_step(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let segment = workgroup_of(group, groups);
    let run = run_of(unit_count(segment), local);
    var mine = Gathered(vec2<f32>(), LOWEST, 0u, 0u);
    for (var i = run.x; i < run.y; i++) {
        let row = unit(segment, i);
        if row != NONE {
            let bits = value_of(row, NONE, 0.0);
            tokens[row].values[step.index] = bits;
            mine.count += 1u;
            if bits == NAN_BITS {
                mine.unknown = 1u;
            } else {
                mine.sum = plus(mine.sum, bitcast<f32>(bits));
                mine.largest = max(mine.largest, bitcast<f32>(bits));
            }
        }
    }
    let all = gather(mine, local);
    var result = 0u;
    switch step.statistic {
        case 0u: { result = bitcast<u32>(all.sum.x + all.sum.y); }
        case 1u: { result = bitcast<u32>((all.sum.x + all.sum.y) / f32(max(all.count, 1u))); }
        case 2u, 6u: {
            let empty = select(0u, step.sequences - all.count, step.statistic == 6u && step.over == 3u);
            let middle = (max(all.count + empty, 1u) - 1u) / 2u;
            result = bits_of(key_of_rank(segment, run, middle, empty, local).x);
        }
        case 5u: {
            let top = clamp(u32(ceil(step.share * f32(all.count))), 1u, max(all.count, 1u));
            mark_top(segment, run, top, local);
        }
        default: { result = log_of_sum(segment, run, all, local); }
    }
    if all.unknown != 0u && step.statistic != 2u && step.statistic != 6u {
        result = NAN_BITS;
    }
    if step.statistic != 5u {
        for (var i = run.x; i < run.y; i++) {
            let row = unit(segment, i);
            if row != NONE {
                tokens[row].values[step.index] = result;
            }
        }
    }
    if step.over == 3u || step.over == 4u {
        spread(result, local);
    }
}

// ln of the sum, or of the mean, of e^x.
fn log_of_sum(segment: u32, run: vec2<u32>, all: Gathered, local: u32) -> u32 {
    var mine = Gathered(vec2<f32>(), LOWEST, 0u, 0u);
    for (var i = run.x; i < run.y; i++) {
        let row = unit(segment, i);
        if row != NONE {
            let x = bitcast<f32>(tokens[row].values[step.index]);
            mine.sum = plus(mine.sum, exp(clamp(x - all.largest, VANISHED, 0.0)));
        }
    }
    let sum = gather(mine, local).sum;
    let divisor = select(1.0, f32(max(all.count, 1u)), step.statistic == 4u);
    return bitcast<u32>(all.largest + logarithm((sum.x + sum.y) / divisor));
}

// The sum of a sequence's values in its pairs.
@compute @workgroup_size(256)
fn group_pairs(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let segment = workgroup_of(group, groups);
    var own = NONE;
    if segment < step.sequences {
        own = first_of_sequence(segment);
    }
    let run = run_of(step.pairs, local);
    var mine = Gathered(vec2<f32>(), LOWEST, 0u, 0u);
    for (var i = run.x; i < run.y && own != NONE; i++) {
        let chosen = pair_ids[step.pairs_start + 2u * i];
        let rejected = pair_ids[step.pairs_start + 2u * i + 1u];
        if chosen == segment || rejected == segment {
            let is_chosen = chosen == segment;
            let partner = first_of_sequence(min(select(chosen, rejected, is_chosen), step.sequences - 1u));
            let bits = value_of(own, partner, select(-1.0, 1.0, is_chosen));
            mine.unknown |= select(0u, 1u, bits == NAN_BITS);
            mine.sum = plus(mine.sum, select(bitcast<f32>(bits), 0.0, bits == NAN_BITS));
        }
    }
    let all = gather(mine, local);
    let result = select(bitcast<u32>(all.sum.x + all.sum.y), NAN_BITS, all.unknown != 0u);
    if own == NONE {
        return;
    }
    for (var row = own + local; row < sequence_start(segment + 1u); row += GROUP) {
        if is_active(row) {
            tokens[row].values[step.index] = result;
        }
    }
}
