// All stages, a row at a time: its second reading finds it in cache. Rows of logits and results begin with a packet and share none.

// As many rows as a workgroup has: GROUP / LANES, LANES at least 32.
var<workgroup> shared_rows: array<RowGrad, 8>;

@compute @workgroup_size(256)
fn fused(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    if totals.refused != 0u {
        return;
    }
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
        let output = finished(row_inputs[params.first_row + row], shared_parts[local], array<f32, 4>());
        row_outputs[params.first_row + row] = output;
        // The barrier orders workgroup memory alone: what the others need of the row goes through it.
        shared_rows[slot] = grad_of(output);
    }
    workgroupBarrier();
    if !inside {
        return;
    }
    let grad = shared_rows[slot];
    let size = packet_size(RESULT);
    let first = (params.result_start + row * params.result_stride) / size;
    for (var packet = lane; packet * size < params.vocab; packet += LANES) {
        if (packet + 1u) * size <= params.vocab {
            store_packet(first + packet, whole_packet(grad, row, packet * size));
        } else {
            store_packet(first + packet, last_packet(first + packet, grad, row, packet * size));
        }
    }
}
