// Rows that stay with the invocations from the statistics to the gradient, so that each logit is read once.

// Blocks that an invocation holds: as many as a row has, or none where it is too long, or asked for what needs the registers.
override HELD: u32 = 0u;

// Not an array, whose elements a compiler might keep in memory.
struct Held {
    b0: Packets,
    b1: Packets,
    b2: Packets,
    b3: Packets,
    b4: Packets,
    b5: Packets,
    b6: Packets,
    b7: Packets,
}

fn held_block(row: Row, number: u32, lane: u32) -> Packets {
    if number >= HELD || !row.is_read {
        return Packets();
    }
    return row_packets(row, number, lane);
}

// All are asked for before the first is needed.
fn held_row(row: Row, lane: u32) -> Held {
    return Held(
        held_block(row, 0u, lane),
        held_block(row, 1u, lane),
        held_block(row, 2u, lane),
        held_block(row, 3u, lane),
        held_block(row, 4u, lane),
        held_block(row, 5u, lane),
        held_block(row, 6u, lane),
        held_block(row, 7u, lane),
    );
}

fn with_held(before: Growing, row: Row, number: u32, lane: u32, packets: Packets) -> Growing {
    if number >= HELD {
        return before;
    }
    return with_packets(before, row, number, lane, packets);
}

fn held_growth(row: Row, lane: u32, held: Held) -> Growing {
    var growing = ungrown();
    if row.is_read {
        growing = with_held(growing, row, 0u, lane, held.b0);
        growing = with_held(growing, row, 1u, lane, held.b1);
        growing = with_held(growing, row, 2u, lane, held.b2);
        growing = with_held(growing, row, 3u, lane, held.b3);
        growing = with_held(growing, row, 4u, lane, held.b4);
        growing = with_held(growing, row, 5u, lane, held.b5);
        growing = with_held(growing, row, 6u, lane, held.b6);
        growing = with_held(growing, row, 7u, lane, held.b7);
    }
    return growing;
}

// Packets of logits and of results have as many elements, and both begin with their row.
fn write_held_block(grad: RowGrad, to: Target, place: Place, number: u32, held: Packets) {
    if number >= HELD {
        return;
    }
    let packets = to.first + number * (span() / packet_size(RESULT));
    if is_plain(grad, to, place.row, packets) {
        write_block(grad, to, place, packets, block_of(held), true);
    } else {
        write_block(grad, to, place, packets, block_of(held), false);
    }
}

fn write_held(grad: RowGrad, place: Place, held: Held) {
    let to = target_of(place.row);
    if grad.state != ACTIVE {
        fill_row(constant_entry(grad), to, place);
        return;
    }
    write_held_block(grad, to, place, 0u, held.b0);
    write_held_block(grad, to, place, 1u, held.b1);
    write_held_block(grad, to, place, 2u, held.b2);
    write_held_block(grad, to, place, 3u, held.b3);
    write_held_block(grad, to, place, 4u, held.b4);
    write_held_block(grad, to, place, 5u, held.b5);
    write_held_block(grad, to, place, 6u, held.b6);
    write_held_block(grad, to, place, 7u, held.b7);
}
