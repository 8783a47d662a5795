// Group objectives: the steps of their plan over all rows, a workgroup a segment; then stage 2. Appended where the objective has a plan.
//
// A token's entry holds bits, so that a NaN is told from a number without arithmetic on it. Lanes take units in contiguous runs: sums and ties are
// those of the same order every time.

const NONE: u32 = 0xffffffffu;

// Layout of `Step` in layout.rs.
struct Step {
    // Which step of the plan.
    index: u32,
    // 0 sum, 1 mean, 2 lower median, 3 log-sum-exp, 4 log-mean-exp, 5 top share.
    statistic: u32,
    // 0 sequence, 1 group, 2 batch, 3 sequences, 4 groups, 5 pairs.
    over: u32,
    share: f32,
    rows: u32,
    sequences: u32,
    pairs: u32,
    // Where offsets, group ids and pairs lie in what is bound, in words.
    sequences_start: u32,
    sequences_words: u32,
    groups_start: u32,
    pairs_start: u32,
}

// What the plan leaves for a token: the bits of its shared values, and of the temperature.
struct Shared {
    values: array<u32, 4>,
    tau: u32,
}

@group(0) @binding(8) var<storage, read_write> tokens: array<Shared>;
// The first token of each group, negated bit by bit, and 0 for none.
@group(0) @binding(9) var<storage, read_write> heads: array<atomic<u32>>;
@group(0) @binding(10) var<uniform> step: Step;
@group(0) @binding(11) var<storage, read> sequence_ids: array<u32>;
@group(0) @binding(12) var<storage, read> group_ids: array<u32>;
@group(0) @binding(13) var<storage, read> pair_ids: array<u32>;

fn is_active(row: u32) -> bool {
    return row_inputs[row].target_id != IGNORED;
}

fn sequence_start(sequence: u32) -> u32 {
    return min(sequence_ids[step.sequences_start + sequence * step.sequences_words], step.rows);
}

fn first_of_sequence(sequence: u32) -> u32 {
    for (var row = sequence_start(sequence); row < sequence_start(sequence + 1u); row++) {
        if is_active(row) {
            return row;
        }
    }
    return NONE;
}

fn group_of(row: u32) -> u32 {
    return min(group_ids[step.groups_start + row], step.rows - 1u);
}

fn head_of(group: u32) -> u32 {
    return ~atomicLoad(&heads[group]);
}

// Statistics of every row, and no result of any step yet.
@compute @workgroup_size(256)
fn group_start(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = workgroup_of(group, groups) * GROUP + local;
    if row >= params.rows {
        return;
    }
    row_outputs[row].stats = merged_parts(row);
    tokens[row] = Shared();
}

// The first token of every group.
@compute @workgroup_size(256)
fn group_heads(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = workgroup_of(group, groups) * GROUP + local;
    if row < step.rows && is_active(row) {
        atomicMax(&heads[group_of(row)], ~row);
    }
}

// Which facts of a token are NaN: 1 its softmax, 2 << k what step k left, 32 << k what it left for the partner.
fn unknown_of(row: u32, partner: u32) -> u32 {
    let stats = row_outputs[row].stats;
    var unknown = select(0u, 1u, stats.invalid != 0u || stats.max <= LOWEST);
    for (var k = 0u; k < 4u; k++) {
        unknown |= select(0u, 2u << k, tokens[row].values[k] == NAN_BITS);
        if partner != NONE {
            unknown |= select(0u, 32u << k, tokens[partner].values[k] == NAN_BITS);
        }
    }
    return unknown;
}

fn shared_of(row: u32) -> array<f32, 4> {
    let bits = tokens[row].values;
    return array<f32, 4>(bitcast<f32>(bits[0]), bitcast<f32>(bits[1]), bitcast<f32>(bits[2]), bitcast<f32>(bits[3]));
}

fn group_token(row: u32, partner: u32, side: f32) -> Token {
    let stats = row_outputs[row].stats;
    var token = token_of(row_inputs[row], stats, softmax_of(stats));
    token.planned = shared_of(row);
    if partner != NONE {
        token.partner = shared_of(partner);
    }
    token.side = side;
    return token;
}

// The value of the step for a token, as bits.
fn value_of(row: u32, partner: u32, side: f32) -> u32 {
    if (unknown_of(row, partner) & step_uses(step.index)) != 0u {
        return NAN_BITS;
    }
    return bitcast<u32>(step_value(step.index, group_token(row, partner, side)));
}

// Units: what a segment puts together.
fn unit_count(segment: u32) -> u32 {
    switch step.over {
        case 0u: { return select(0u, sequence_start(segment + 1u) - sequence_start(segment), segment < step.sequences); }
        case 3u: { return step.sequences; }
        default: { return step.rows; }
    }
}

// The token that stands for a unit, if there is one.
fn unit(segment: u32, index: u32) -> u32 {
    var row = index;
    var found = true;
    switch step.over {
        case 0u: { row = sequence_start(segment) + index; }
        case 1u: { found = group_of(index) == segment; }
        case 3u: { return first_of_sequence(index); }
        case 4u: { return head_of(index); }
        default: {}
    }
    return select(NONE, row, found && is_active(row));
}

// A number that orders like a value, NaN as the largest.
fn key_of(bits: u32) -> u32 {
    let ordered = select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
    return select(ordered, 0xffffffffu, bits == NAN_BITS);
}

fn bits_of(key: u32) -> u32 {
    let bits = select(~key, key & 0x7fffffffu, (key & 0x80000000u) != 0u);
    return select(bits, NAN_BITS, key == 0xffffffffu);
}

struct Gathered {
    sum: vec2<f32>,
    largest: f32,
    count: u32,
    unknown: u32,
}

var<workgroup> gathered: array<Gathered, GROUP>;

fn plus(sum: vec2<f32>, x: f32) -> vec2<f32> {
    let total = kept(sum.x + x);
    let part = kept(total - sum.x);
    return vec2<f32>(total, sum.y + ((sum.x - kept(total - part)) + (x - part)));
}

// What all lanes gathered, for each of them.
fn gather(mine: Gathered, local: u32) -> Gathered {
    gathered[local] = mine;
    workgroupBarrier();
    for (var width = GROUP / 2u; width > 0u; width /= 2u) {
        if local < width {
            let a = gathered[local];
            let b = gathered[local + width];
            let sum = plus(a.sum, b.sum.x) + vec2<f32>(0.0, b.sum.y);
            gathered[local] = Gathered(sum, max(a.largest, b.largest), a.count + b.count, a.unknown | b.unknown);
        }
        workgroupBarrier();
    }
    let all = gathered[0];
    workgroupBarrier();
    return all;
}

var<workgroup> bins: array<atomic<u32>, GROUP>;
// The key so far, and how many come before it.
var<workgroup> selected: vec2<u32>;

// Units of a lane: a run of them.
fn run_of(count: u32, local: u32) -> vec2<u32> {
    let each = (count + GROUP - 1u) / GROUP;
    return min(vec2<u32>(local * each, (local + 1u) * each), vec2<u32>(count));
}

fn key_at(row: u32) -> u32 {
    let key = key_of(tokens[row].values[step.index]);
    // The largest first, where the top is wanted.
    return select(key, ~key, step.statistic == 5u);
}

// The key of this rank, and how many equal ones come before it.
fn key_of_rank(segment: u32, run: vec2<u32>, rank: u32, local: u32) -> vec2<u32> {
    if local == 0u {
        selected = vec2<u32>(0u, rank);
    }
    workgroupBarrier();
    for (var shift = 32u; shift > 0u;) {
        shift -= 8u;
        let found = selected.x;
        atomicStore(&bins[local], 0u);
        workgroupBarrier();
        for (var i = run.x; i < run.y; i++) {
            let row = unit(segment, i);
            if row != NONE {
                let key = key_at(row);
                // Shifted twice: by 32 is not allowed.
                if (((key ^ found) >> shift) >> 8u) == 0u {
                    atomicAdd(&bins[(key >> shift) & 0xffu], 1u);
                }
            }
        }
        workgroupBarrier();
        if local == 0u {
            var before = selected.y;
            var bin = 0u;
            for (; bin < 255u && before >= atomicLoad(&bins[bin]); bin++) {
                before -= atomicLoad(&bins[bin]);
            }
            selected = vec2<u32>(found | (bin << shift), before);
        }
        workgroupBarrier();
    }
    let result = selected;
    workgroupBarrier();
    return result;
}

// 1 for the first so many of the order, 0 for the others.
fn mark_top(segment: u32, run: vec2<u32>, top: u32, local: u32) {
    let last = key_of_rank(segment, run, top - 1u, local);
    // Equal ones in the runs of the lanes before.
    var equal = 0u;
    for (var i = run.x; i < run.y; i++) {
        let row = unit(segment, i);
        equal += select(0u, 1u, row != NONE && key_at(min(row, step.rows - 1u)) == last.x);
    }
    atomicStore(&bins[local], equal);
    workgroupBarrier();
    var before = 0u;
    for (var lane = 0u; lane < local; lane++) {
        before += atomicLoad(&bins[lane]);
    }
    workgroupBarrier();
    for (var i = run.x; i < run.y; i++) {
        let row = unit(segment, i);
        if row != NONE {
            let key = key_at(row);
            let tie = key == last.x && before <= last.y;
            before += select(0u, 1u, key == last.x);
            tokens[row].values[step.index] = select(0u, ONE_BITS, key < last.x || tie);
        }
    }
}

const ONE_BITS: u32 = 0x3f800000u;

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
        case 2u: {
            let middle = (max(all.count, 1u) - 1u) / 2u;
            result = bits_of(key_of_rank(segment, run, middle, local).x);
        }
        case 5u: {
            let top = clamp(u32(ceil(step.share * f32(all.count))), 1u, max(all.count, 1u));
            mark_top(segment, run, top, local);
        }
        default: { result = log_of_sum(segment, run, all, local); }
    }
    if all.unknown != 0u && step.statistic != 2u {
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

// Stage 2 with what the plan left; the temperature that it found.
@compute @workgroup_size(256)
fn group_terms(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = workgroup_of(group, groups) * GROUP + local;
    if row >= params.rows {
        return;
    }
    let input = row_inputs[row];
    var output = finished(input, row_outputs[row].stats, shared_of(row));
    if input.target_id != IGNORED {
        let unknown = unknown_of(row, NONE);
        let tau = bitcast<u32>(temperature(group_token(row, NONE, 0.0)));
        tokens[row].tau = select(tau, NAN_BITS, (unknown & TEMPERATURE_USES) != 0u);
        if (unknown & LOSS_USES) != 0u && input.token_weight >= 0.0 {
            output.state = INVALID;
        }
    }
    row_outputs[row] = output;
}
