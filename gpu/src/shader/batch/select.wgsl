// Which tokens of a batch take part, and what a token of a sequence counts.

fn sequence_start(sequence: u32) -> u32 {
    return min(entries[batch.start + sequence * batch.words], batch.rows);
}

fn is_paired(sequence: u32) -> bool {
    var found = false;
    for (var i = 0u; i < 2u * batch.pairs; i++) {
        found = found || pairs[batch.pairs_start + i] == sequence;
    }
    return found;
}

// Drops the tokens of sequences that do not take part. `pairs` are the keep flags where those decide.
@compute @workgroup_size(256)
fn select_sequences(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let sequence = workgroup_of(group, groups) * GROUP + local;
    if sequence >= batch.sequences {
        return;
    }
    var takes_part = false;
    if batch.selection == 1u {
        takes_part = pairs[batch.pairs_start + sequence] != 0u;
    } else {
        takes_part = is_paired(sequence);
    }
    if !takes_part {
        for (var row = sequence_start(sequence); row < sequence_start(sequence + 1u); row++) {
            drop(row);
        }
    }
}

// Drops the tokens to which a step did not give more than 0.
@compute @workgroup_size(256)
fn select_tokens(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = workgroup_of(group, groups) * GROUP + local;
    if row < batch.rows {
        let bits = tokens[5u * row + batch.step];
        if bits == 0u || bits > INFINITY_BITS {
            drop(row);
        }
    }
}

// Mean of means: a token's scale is over the tokens of its sequence.
@compute @workgroup_size(256)
fn share_sequences(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let sequence = workgroup_of(group, groups) * GROUP + local;
    if sequence >= batch.sequences {
        return;
    }
    let first = sequence_start(sequence);
    let end = sequence_start(sequence + 1u);
    var count = 0u;
    for (var row = first; row < end; row++) {
        count += select(0u, 1u, counts(row));
    }
    if count == 0u {
        return;
    }
    atomicAdd(&totals.sequences, 1u);
    for (var row = first; row < end; row++) {
        put(row, SCALE, 1.0 / f32(count));
    }
}
