// Order statistics: a key of 32 bits, found byte by byte.

// A number that orders like a value, NaN as the largest.
fn key_of(bits: u32) -> u32 {
    let ordered = select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u);
    return select(ordered, 0xffffffffu, bits == NAN_BITS);
}

fn bits_of(key: u32) -> u32 {
    let bits = select(~key, key & 0x7fffffffu, (key & 0x80000000u) != 0u);
    return select(bits, NAN_BITS, key == 0xffffffffu);
}

var<workgroup> bins: array<atomic<u32>, GROUP>;
// The key so far, and how many come before it.
var<workgroup> selected: vec2<u32>;

fn key_at(row: u32) -> u32 {
    let key = key_of(tokens[row].values[step.index]);
    // The largest first, where the top is wanted.
    return select(key, ~key, step.statistic == 5u);
}

// The key of this rank among those of the units and so many of 0, and how many equal ones come before it.
fn key_of_rank(segment: u32, run: vec2<u32>, rank: u32, zeros: u32, local: u32) -> vec2<u32> {
    if local == 0u {
        selected = vec2<u32>(0u, rank);
    }
    workgroupBarrier();
    for (var shift = 32u; shift > 0u;) {
        shift -= 8u;
        let found = selected.x;
        atomicStore(&bins[local], 0u);
        workgroupBarrier();
        for (var i = run.x; i < run.y; i++) {
            let row = unit(segment, i);
            if row != NONE {
                let key = key_at(row);
                // Shifted twice: by 32 is not allowed.
                if (((key ^ found) >> shift) >> 8u) == 0u {
                    atomicAdd(&bins[(key >> shift) & 0xffu], 1u);
                }
            }
        }
        if local == 0u && (((key_of(0u) ^ found) >> shift) >> 8u) == 0u {
            atomicAdd(&bins[(key_of(0u) >> shift) & 0xffu], zeros);
        }
        workgroupBarrier();
        if local == 0u {
            var before = selected.y;
            var bin = 0u;
            for (; bin < 255u && before >= atomicLoad(&bins[bin]); bin++) {
                before -= atomicLoad(&bins[bin]);
            }
            selected = vec2<u32>(found | (bin << shift), before);
        }
        workgroupBarrier();
    }
    let result = selected;
    workgroupBarrier();
    return result;
}

// 1 for the first so many of the order, 0 for the others.
fn mark_top(segment: u32, run: vec2<u32>, top: u32, local: u32) {
    let last = key_of_rank(segment, run, top - 1u, 0u, local);
    // Equal ones in the runs of the lanes before.
    var equal = 0u;
    for (var i = run.x; i < run.y; i++) {
        let row = unit(segment, i);
        equal += select(0u, 1u, row != NONE && key_at(min(row, step.rows - 1u)) == last.x);
    }
    atomicStore(&bins[local], equal);
    workgroupBarrier();
    var before = 0u;
    for (var lane = 0u; lane < local; lane++) {
        before += atomicLoad(&bins[lane]);
    }
    workgroupBarrier();
    for (var i = run.x; i < run.y; i++) {
        let row = unit(segment, i);
        if row != NONE {
            let key = key_at(row);
            let tie = key == last.x && before <= last.y;
            before += select(0u, 1u, key == last.x);
            tokens[row].values[step.index] = select(0u, ONE_BITS, key < last.x || tie);
        }
    }
}

const ONE_BITS: u32 = 0x3f800000u;
