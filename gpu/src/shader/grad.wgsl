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

// Entries of the gradient at four columns with these logits, rounded.
fn gradient(row: RowGrad, columns: vec4<u32>, bits: vec4<u32>) -> vec4<u32> {
    if row.state == ZERO {
        return vec4<u32>();
    }
    let levels = level(bits);
    let x = clamp((levels - row.max) * params.spread, vec4<f32>(VANISHED), vec4<f32>(0.0));
    var entries = select(vec4<f32>(0.0), exp(x) * row.factor, levels > vec4<f32>(LOWEST));
    if row.uniform != 0.0 {
        entries -= row.uniform * class_weights_of(columns);
    }
    entries = select(entries, vec4<f32>(row.target_entry), columns == vec4<u32>(row.column));
    if params.softcap > 0.0 {
        entries *= slope(bits);
    }
    return rounded(RESULT, entries, row.state == INVALID);
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
            let z = logit(params.logits_start + row * params.logits_stride + column);
            words = with_element(words, i, gradient(row_grad(row), vec4<u32>(column), vec4<u32>(z)).x);
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
        if row < params.rows && column + size <= params.vocab {
            store_packet(packet, whole_packet(row_grad(row), row, column));
            return;
        }
    }
    store_packet(packet, mixed_packet(packet));
}
