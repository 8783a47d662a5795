// Group objectives: the steps of their plan over all rows, a workgroup a segment; then stage 2. Appended where the objective has a plan.
//
// A token's entry holds bits, so that a NaN is told from a number without arithmetic on it. Lanes take units in contiguous runs: sums and ties are
// those of the same order every time.

const NONE: u32 = 0xffffffffu;

// Layout of `Step` in layout.rs.
struct Step {
    // Which step of the plan.
    index: u32,
    // 0 sum, 1 mean, 2 lower median, 3 log-sum-exp, 4 log-mean-exp, 5 top share, 6 lower median where empty sequences count as 0.
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
