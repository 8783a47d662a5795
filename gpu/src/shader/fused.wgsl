// All stages, a row at a time: it is held, or its second reading finds it in cache. Rows of logits and results begin with a packet and share none.

// As many rows as a workgroup has: GROUP / LANES, LANES at least 32.
var<workgroup> shared_rows: array<RowGrad, 8>;

// Invocations of a workgroup: more than one row's where rows are short.
override WIDTH: u32 = max(LANES, GROUP);

@compute @workgroup_size(WIDTH)
fn fused(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    if totals.refused != 0u {
        return;
    }
    let place = place_of(workgroup_of(group, groups), local);
    let slot = local / LANES;
    let inside = place.row < params.rows;
    let row = row_of(place);
    let held = held_row(row, place.lane);
    var growing = held_growth(row, place.lane, held);
    if HELD == 0u {
        growing = lane_growth(row, place);
    }
    let part = part_of(place, row, growing, local);
    if inside && place.lane == 0u {
        let output = finished(row_inputs[params.first_row + place.row], part, array<f32, 4>());
        row_outputs[params.first_row + place.row] = output;
        // The barrier orders workgroup memory alone: what the others need of the row goes through it.
        shared_rows[slot] = grad_of(output);
    }
    workgroupBarrier();
    if !inside {
        return;
    }
    let grad = shared_rows[slot];
    if HELD == 0u {
        write_row(grad, place);
    } else {
        write_held(grad, place, held);
    }
    let end = target_of(place.row).end;
    if place.lane == 0u && params.vocab % packet_size(RESULT) != 0u {
        store_packet(end, last_packet(end, grad, place.row));
    }
}
