// Units: what a step puts together, segment by segment.

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

// Units of a lane: a run of them.
fn run_of(count: u32, local: u32) -> vec2<u32> {
    let each = (count + GROUP - 1u) / GROUP;
    return min(vec2<u32>(local * each, (local + 1u) * each), vec2<u32>(count));
}
