// Stage 3: the gradient, a packet an invocation.

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

fn grad_of(output: RowOutput) -> RowGrad {
    return RowGrad(
        output.state,
        output.stats.max,
        output.factor,
        output.uniform,
        output.target_entry,
        output.target_id - params.vocab_start,
    );
}

fn row_grad(row: u32) -> RowGrad {
    return grad_of(row_outputs[params.first_row + row]);
}

// Entries of the gradient at four columns with these logits, rounded.
fn gradient(row: RowGrad, columns: vec4<u32>, bits: vec4<u32>) -> vec4<u32> {
    if row.state == ZERO {
        return vec4<u32>();
    }
    let z = mapped(bits);
    let x = clamp((z.level - row.max) * params.spread, vec4<f32>(VANISHED), vec4<f32>(0.0));
    var entries = select(vec4<f32>(0.0), exp(x) * row.factor, z.level > vec4<f32>(LOWEST));
    if row.uniform != 0.0 {
        entries -= row.uniform * class_weights_of(columns);
    }
    entries = select(entries, vec4<f32>(row.target_entry), columns == vec4<u32>(row.column));
    return rounded(RESULT, entries * z.slope, row.state == INVALID);
}

// The results of a packet that lies in one row, from a column on.
fn whole_packet(grad: RowGrad, row: u32, column: u32) -> vec4<u32> {
    let source = params.logits_start + row * params.logits_stride + column;
    let columns = vec4<u32>(column) + vec4<u32>(0u, 1u, 2u, 3u);
    let low = gradient(grad, columns, logit_quad(source));
    if RESULT == 0u {
        return low;
    }
    return packed(low, gradient(grad, columns + vec4<u32>(4u), logit_quad(source + 4u)));
}

// A packet with one entry more in a lane.
fn with_entry(packet: vec4<u32>, lane: u32, grad: RowGrad, row: u32, column: u32) -> vec4<u32> {
    let bits = logit(params.logits_start + row * params.logits_stride + column);
    return with_element(packet, lane, gradient(grad, vec4<u32>(column), vec4<u32>(bits)).x);
}

// The results of a row's last packet, from a column on: padding keeps what it had.
fn last_packet(packet: u32, grad: RowGrad, row: u32, column: u32) -> vec4<u32> {
    var words = result_packet(packet);
    for (var i = 0u; column + i < params.vocab; i++) {
        words = with_entry(words, i, grad, row, column + i);
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
            words = with_entry(words, i, row_grad(row), row, column);
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
    if packet >= params.packets || totals.refused != 0u {
        return;
    }
    let index = packet * size;
    if index >= params.result_start {
        let row = (index - params.result_start) / params.result_stride;
        let column = (index - params.result_start) % params.result_stride;
        if row < params.rows && column + size <= params.vocab {
            store_packet(packet, whole_packet(row_grad(row), row, column));
            return;
        }
    }
    store_packet(packet, mixed_packet(packet));
}
