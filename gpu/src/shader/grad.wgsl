// Stage 3: the gradient.

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
    let is_broken = is_nan(output.factor) || is_nan(output.uniform) || is_nan(output.target_entry);
    return RowGrad(
        select(output.state, INVALID, is_broken && output.state == ACTIVE),
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

// Entries of an active row at four columns with these logits; the target's among them where it may be. The power of 2 of -inf, or of the least number if
// that is what a device makes of it, is 0.
fn gradient(grad: RowGrad, columns: vec4<u32>, bits: vec4<u32>, may_be_target: bool) -> vec4<f32> {
    let z = mapped(bits);
    var entries = exp2((z.level - grad.max) * rate()) * grad.factor;
    if SMOOTHING && grad.uniform != 0.0 {
        entries = clamp(entries - grad.uniform * class_weights_of(columns), vec4<f32>(LOWEST), vec4<f32>(LARGEST));
    }
    if may_be_target {
        entries = select(entries, vec4<f32>(grad.target_entry), columns == vec4<u32>(grad.column));
    }
    if SOFTCAP {
        entries *= z.slope;
    }
    return entries;
}

// The entry of any row at a column, rounded.
fn entry(grad: RowGrad, row: u32, column: u32) -> u32 {
    let bits = logit(params.logits_start + row * params.logits_stride + column);
    let entries = gradient(grad, vec4<u32>(column), vec4<u32>(bits), true);
    return select(constant_entry(grad), rounded_number(RESULT, entries).x, grad.state == ACTIVE);
}

// Every entry of a row that is not active, rounded.
fn constant_entry(grad: RowGrad) -> u32 {
    return select(0u, rounded(RESULT, vec4<f32>(), true).x, grad.state == INVALID);
}

// Where a row's packets lie that are all its own, and from which element on its logits are packets like these.
struct Target {
    first: u32,
    end: u32,
    // What must be added to an index among the results to have that of its logit.
    shift: u32,
}

fn target_of(row: u32) -> Target {
    let size = packet_size(RESULT);
    let start = params.result_start + row * params.result_stride;
    let shift = params.logits_start + row * params.logits_stride - start;
    return Target((start + size - 1u) / size, (start + params.vocab) / size, shift);
}

// The logits of a lane's share of the block of results that begins with a packet; nothing is read that lies behind the last quad.
fn source_block(to: Target, packet: u32, lane: u32, last: u32) -> Block {
    let quads = packet_size(RESULT) / 4u;
    let first = (packet * packet_size(RESULT) + to.shift) / 4u;
    let quad = first + lane * quads;
    if (LOGITS == 0u) == (RESULT == 0u) {
        return block_of(logits_packets(first / quads + lane, last / quads));
    }
    if LOGITS == 0u {
        let other = min(quad + 2u * LANES, last);
        return Block(logits[quad], logits[quad + 1u], logits[other], logits[other + 1u]);
    }
    return Block(
        half_packet(quad),
        half_packet(min(quad + LANES, last)),
        half_packet(min(quad + 2u * LANES, last)),
        half_packet(min(quad + 3u * LANES, last)),
    );
}

fn half_packet(quad: u32) -> vec4<u32> {
    return quad_of(logits[quad / 2u], quad % 2u == 1u);
}

// Whether the logits of every packet of results are whole quads and, if both have 16 bits, a packet.
fn is_even(to: Target) -> bool {
    return to.shift % select(8u, 4u, LOGITS == 0u || RESULT == 0u) == 0u;
}

// A lane's share of the packets that are all the row's own.
fn write_row(grad: RowGrad, place: Place) {
    let to = target_of(place.row);
    if grad.state != ACTIVE {
        fill_row(constant_entry(grad), to, place);
    } else if is_even(to) {
        write_blocks(grad, to, place);
    } else {
        write_packets(grad, to, place);
    }
}

fn fill_row(entry: u32, to: Target, place: Place) {
    let words = vec4<u32>(select(entry | (entry << 16u), entry, RESULT == 0u));
    for (var packet = to.first + place.split * LANES + place.lane; packet < to.end; packet += params.splits * LANES) {
        store_packet(packet, words);
    }
}

fn write_blocks(grad: RowGrad, to: Target, place: Place) {
    let size = packet_size(RESULT);
    let last = (to.end * size + to.shift) / 4u - 1u;
    for (var number = place.split; to.first + number * (span() / size) < to.end; number += params.splits) {
        let packets = to.first + number * (span() / size);
        if is_plain(grad, to, place.row, packets) {
            write_block(grad, to, place, packets, source_block(to, packets, place.lane, IGNORED), true);
        } else {
            write_block(grad, to, place, packets, source_block(to, packets, place.lane, last), false);
        }
    }
}

// The column of a packet of results.
fn column_of(packet: u32, row: u32) -> u32 {
    return packet * packet_size(RESULT) - (params.result_start + row * params.result_stride);
}

// Whether the block of results that begins with a packet is whole, and without the target.
fn is_plain(grad: RowGrad, to: Target, row: u32, packet: u32) -> bool {
    return packet + span() / packet_size(RESULT) <= to.end && grad.column - column_of(packet, row) >= span();
}

// Writes a lane's share of the block of results that begins with a packet.
fn write_block(grad: RowGrad, to: Target, place: Place, packets: u32, bits: Block, plain: bool) {
    let packet = packets + place.lane;
    let end = select(to.end, IGNORED, plain);
    let columns = columns_of(column_of(packet, place.row), RESULT);
    let a = gradient(grad, columns.a, bits.a, !plain);
    let b = gradient(grad, columns.b, bits.b, !plain);
    let c = gradient(grad, columns.c, bits.c, !plain);
    let d = gradient(grad, columns.d, bits.d, !plain);
    if RESULT == 0u {
        store_before(end, packet, bitcast<vec4<u32>>(a));
        store_before(end, packet + LANES, bitcast<vec4<u32>>(b));
        store_before(end, packet + 2u * LANES, bitcast<vec4<u32>>(c));
        store_before(end, packet + 3u * LANES, bitcast<vec4<u32>>(d));
    } else {
        store_before(end, packet, packed(a, b));
        store_before(end, packet + LANES, packed(c, d));
    }
}

fn store_before(end: u32, packet: u32, words: vec4<u32>) {
    if packet < end || end == IGNORED {
        store_packet(packet, words);
    }
}

// Where logits and results lie differently among their packets.
fn write_packets(grad: RowGrad, to: Target, place: Place) {
    for (var packet = to.first + place.split * LANES + place.lane; packet < to.end; packet += params.splits * LANES) {
        let source = packet * packet_size(RESULT) + to.shift;
        let columns = columns_of(column_of(packet, place.row), RESULT);
        let low = gradient(grad, columns.a, logit_quad(source), true);
        if RESULT == 0u {
            store_packet(packet, bitcast<vec4<u32>>(low));
        } else {
            store_packet(packet, packed(low, gradient(grad, columns.b, logit_quad(source + 4u), true)));
        }
    }
}

// The results of a row's last packet, where it begins in the row and ends behind it: padding keeps what it had.
fn last_packet(packet: u32, grad: RowGrad, row: u32) -> vec4<u32> {
    let column = column_of(packet, row);
    var words = result_packet(packet);
    for (var i = 0u; column + i < params.vocab; i++) {
        words = with_element(words, i, entry(grad, row, column + i));
    }
    return words;
}

// Element by element, from a row on: padding and the elements of other chunks keep what they had.
fn mixed_packet(packet: u32, first_row: u32) -> vec4<u32> {
    let size = packet_size(RESULT);
    var row = first_row;
    // Before the first row it wraps around.
    var column = column_of(packet, row);
    var words = result_packet(packet);
    for (var i = 0u; i < size; i++) {
        if row < params.rows && column < params.vocab {
            words = with_element(words, i, entry(row_grad(row), row, column));
        }
        column++;
        if column == params.result_stride {
            column = 0u;
            row++;
        }
    }
    return words;
}

// Packets that begin in a row and are not all its own, three at most, each by an invocation: the one where the row ends, the one where the next row
// begins and, of the first row, the one where it begins itself.
fn write_edges(row: u32, lane: u32) {
    let size = packet_size(RESULT);
    let start = params.result_start + row * params.result_stride;
    let end = start + params.vocab;
    let next = start + params.result_stride;
    if lane == 0u && end % size != 0u && end / size * size >= start {
        store_packet(end / size, mixed_packet(end / size, row));
    }
    if lane == 1u && next % size != 0u && next / size * size >= end && row + 1u < params.rows {
        store_packet(next / size, mixed_packet(next / size, row));
    }
    if lane == 2u && start % size != 0u && row == 0u {
        store_packet(start / size, mixed_packet(start / size, row));
    }
}

@compute @workgroup_size(256)
fn logits_grad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let place = place_of(workgroup_of(group, groups), local);
    if place.row >= params.rows || totals.refused != 0u {
        return;
    }
    write_row(row_grad(place.row), place);
    if place.split == 0u {
        write_edges(place.row, place.lane);
    }
}
