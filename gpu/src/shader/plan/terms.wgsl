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
